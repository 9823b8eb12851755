"""Calls about a cluster as a whole: each adds Move calls to a transaction under construction.

`package` is the latest package id. `cap` is an owned capability (`builder.owned(ref)`): the `ClusterCap`, or
for `pause` a `PauseCap`.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Literal

from k3s_daas.contract import arguments
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.sui.transactions import Argument, PtbBuilder

_MODULE = "cluster"

Duty = Literal["pause", "member", "access"]
"""What a capability is for: pausing; gateways and executors; roles, grants and revoking seals."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for a whole cluster. Stake and deposits in MIST, times in ms, sizes in bytes of ciphertext.

    The contract bounds every field (abort `EInvalidPolicy`). The field order is the one of the Move struct.
    """

    min_write_stake: int
    unbonding_ms: int
    max_slash_bps: int
    """Ten-thousandths of what was staked on a seal and not withdrawn."""
    max_seal_ms: int
    max_start_ms: int
    max_finish_ms: int
    max_answer_ms: int
    read_ttl_ms: int
    write_ttl_ms: int
    ttl_per_priority_ms: int
    max_ttl_ms: int
    commands_per_minute: int
    deposit_per_day: int
    max_inline_bytes: int


def new_policy(builder: PtbBuilder, package: bytes, policy: Policy) -> Argument:
    """Makes the Move value of a policy."""
    values = [arguments.u64(builder, value) for value in astuple(policy)]
    return builder.move_call(package, _MODULE, "new_policy", values)


def create_cluster(
    builder: PtbBuilder, package: bytes, *, name: str, listener_namespace: str, policy: Policy, admin: bytes
) -> None:
    """Creates and shares a cluster and gives its `ClusterCap` to the address `admin`."""
    policy_value = new_policy(builder, package, policy)
    call_arguments = [
        arguments.string(builder, name),
        arguments.string(builder, listener_namespace),
        policy_value,
    ]
    cap = builder.move_call(package, _MODULE, "create", call_arguments)
    builder.transfer([cap], admin)


def set_policy(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, policy: Policy
) -> None:
    """Replaces the policy; seals keep the unbonding period and the slashing bound they were made with."""
    administer(builder, package, cluster, cap, "set_policy", new_policy(builder, package, policy))


def pause(builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument) -> None:
    """Refuses every new command until `resume`. `cap` is a `PauseCap`, which cannot undo it."""
    administer(builder, package, cluster, cap, "pause")


def resume(builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument) -> None:
    """Ends `pause`."""
    administer(builder, package, cluster, cap, "resume")


def migrate(builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument) -> None:
    """Raises the cluster to the version of `package`: from then on only that package serves it."""
    administer(builder, package, cluster, cap, "migrate")


def issue_capability(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, duty: Duty, *, recipient: bytes
) -> None:
    """Makes the capability for one duty and gives it to the address `recipient`."""
    issued = administer(builder, package, cluster, cap, f"issue_{duty}_cap")
    builder.transfer([issued], recipient)


def revoke_capability(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, capability: bytes
) -> None:
    """Makes the issued capability with this object id worthless, whoever holds it."""
    administer(builder, package, cluster, cap, "revoke_capability", arguments.address(builder, capability))


def administer(
    builder: PtbBuilder,
    package: bytes,
    cluster: SharedRef,
    cap: Argument,
    function: str,
    *values: Argument,
) -> Argument:
    """A call of the module `cluster` that takes `&mut Cluster` and a capability first."""
    return builder.move_call(
        package, _MODULE, function, [arguments.shared(builder, cluster, mutable=True), cap, *values]
    )
