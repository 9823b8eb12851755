"""Whether a command may still run, as of now: pause, seal, session, grant, stake and role, from the chain's
objects.

The contract decided all of this when it accepted the command. Between that and now the cluster may have been
paused, the seal revoked, the grant removed, the role narrowed or the session closed, and none of them shall
wait for a queue.
"""

from __future__ import annotations

from k3s_daas.attributes import RequestAttributes
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.events import ApiRequested
from k3s_daas.contract.objects import ClusterState, GrantState, SealState
from k3s_daas.rbac import Role, url_matches
from k3s_daas.status import Cause, StatusError, from_abort

_CODES = {
    "EReservedNamespace": 203,
    "EVerbNeverAllowed": 204,
}
_FORBIDDEN_BY_ROLE = 202


def check_standing(
    requested: ApiRequested,
    attributes: RequestAttributes,
    cluster: ClusterState,
    seal: SealState,
    grant: GrantState | None,
    *,
    listener_namespace: str,
    now_ms: int,
) -> None:
    """Raises the `StatusError` that the contract's own refusal would become."""
    if cluster.paused:
        raise from_abort("cluster", 102)
    if requested.gateway not in cluster.gateways:
        raise from_abort("cluster", 109)
    _check_seal(requested, attributes, seal, now_ms)
    role = cluster.roles.get(requested.role)
    if role is None:
        raise from_abort("cluster", 106)
    if not role.open:
        _check_grant(grant, now_ms)
    _check_role(role, attributes, cluster.listener_namespace)
    # The namespace this process was told is its own counts as well, whatever the chain says.
    _check_role(role, attributes, listener_namespace)
    if not attributes.is_read:
        required = max(cluster.policy.min_write_stake, role.stake)
        if seal.stake < required:
            raise from_abort("seal", 307, stake_mist=seal.stake, required_mist=required)


def _check_seal(requested: ApiRequested, attributes: RequestAttributes, seal: SealState, now_ms: int) -> None:
    if seal.revoked:
        raise from_abort("seal", 305)
    if now_ms >= seal.expires_at_ms:
        raise from_abort("seal", 306)
    if seal.owner != requested.requester:
        raise _new_owner()
    session = seal.sessions.get(requested.session_key)
    if session is None:
        raise from_abort("seal", 311)
    # Against the time of acceptance: a session may run out while its command is on the way.
    if requested.accepted_at_ms >= session.expires_at_ms:
        raise from_abort("seal", 312)
    if not session.reaches(attributes):
        raise from_abort("seal", 323, namespaces=", ".join(session.namespaces))
    if session.read_only and not attributes.is_read:
        raise from_abort("seal", 313)


def _new_owner() -> StatusError:
    return StatusError(
        403,
        "Forbidden",
        "the seal has another owner by now, so the command was not run: its new owner may open a session",
        causes=(Cause("NewOwner", "the seal was given away after the command was accepted"),),
    )


def _check_grant(grant: GrantState | None, now_ms: int) -> None:
    if grant is None:
        raise from_abort("seal", 303)
    if now_ms >= grant.expires_at_ms:
        raise from_abort("seal", 304)


def _check_role(role: Role, attributes: RequestAttributes, namespace: str) -> None:
    admission = role.admits(attributes, namespace)
    if not admission.allowed:
        raise from_abort(
            "role",
            _CODES.get(admission.abort or "", _FORBIDDEN_BY_ROLE),
            role=role.name,
            verb=attributes.verb,
            resource=attributes.combined_resource or "this path",
        )


def mismatch(requested: ApiRequested, attributes: RequestAttributes) -> StatusError | None:
    """403 if the decrypted request is not the authorised one, else None."""
    authorised = requested.attributes
    if attributes.is_resource_request:
        same = authorised == OnChainAttributes.of(attributes, "")
    else:
        pattern = authorised.non_resource_url
        same = (
            not authorised.resource
            and authorised.verb == attributes.verb
            and bool(pattern)
            and url_matches(pattern, attributes.decoded_path)
        )
    if same:
        return None
    return StatusError(
        403,
        "Forbidden",
        "the request is not the one that the contract authorised, so it was not run: ask the operator",
        causes=(Cause("AttributeMismatch", "method, path and query differ from the authorised attributes"),),
    )
