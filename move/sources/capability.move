/// Who may do what to a cluster: one capability for each duty, so that a key in daily use need not be able to do more
/// than its duty.
///
/// A capability names its cluster and is good for no other. Those of single duties can be revoked by id: the cluster
/// keeps the ids of the live ones. The `ClusterCap` cannot be revoked: whoever holds it is the administrator.
module k3s_daas::capability;

// === Structs ===

/// Issues and revokes the others; policy, resumption, migration and slashing.
public struct ClusterCap has key, store {
    id: UID,
    cluster: ID,
}

/// Stops new commands, and cannot undo it: for whoever watches, alarms included.
public struct PauseCap has key, store {
    id: UID,
    cluster: ID,
}

/// Gateways and executors.
public struct MemberCap has key, store {
    id: UID,
    cluster: ID,
}

/// Roles, grants and the revocation of seals.
public struct AccessCap has key, store {
    id: UID,
    cluster: ID,
}

// === Method Aliases ===

public use fun cluster_cap_cluster as ClusterCap.cluster;
public use fun pause_cap_cluster as PauseCap.cluster;
public use fun member_cap_cluster as MemberCap.cluster;
public use fun access_cap_cluster as AccessCap.cluster;

// === Public-Package Functions ===

public(package) fun new_cluster_cap(cluster: ID, ctx: &mut TxContext): ClusterCap {
    ClusterCap { id: object::new(ctx), cluster }
}

public(package) fun new_pause_cap(cluster: ID, ctx: &mut TxContext): PauseCap {
    PauseCap { id: object::new(ctx), cluster }
}

public(package) fun new_member_cap(cluster: ID, ctx: &mut TxContext): MemberCap {
    MemberCap { id: object::new(ctx), cluster }
}

public(package) fun new_access_cap(cluster: ID, ctx: &mut TxContext): AccessCap {
    AccessCap { id: object::new(ctx), cluster }
}

public(package) fun cluster_cap_cluster(self: &ClusterCap): ID { self.cluster }

public(package) fun pause_cap_cluster(self: &PauseCap): ID { self.cluster }

public(package) fun member_cap_cluster(self: &MemberCap): ID { self.cluster }

public(package) fun access_cap_cluster(self: &AccessCap): ID { self.cluster }
