"""Who may stake for which role, until when."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from k3s_daas.admin.amounts import format_moment
from k3s_daas.admin.changes import Change, Draft
from k3s_daas.contract import calls
from k3s_daas.contract.objects import ClusterState, GrantState
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.sui.ledger import ChainObject, OperatorLedger
from k3s_daas.sui.type_tags import StructTag

_FRAMEWORK = (2).to_bytes(32, "big")


async def list_grants(
    ledger: OperatorLedger, package_original: bytes, cluster: ClusterState
) -> list[GrantState]:
    """All grants of a cluster, by role and holder; expired ones stay until they are removed."""
    key = StructTag(package_original, "cluster", "GrantKey")
    value = StructTag(package_original, "cluster", "Grant")
    wanted = str(StructTag(_FRAMEWORK, "dynamic_field", "Field", (key, value)))
    fields = await ledger.list_dynamic_fields(cluster.grants)
    grants = [GrantState.decode(one) for one in fields if _is_field(one, wanted, cluster.grants)]
    return sorted(grants, key=lambda grant: (grant.role, grant.holder))


def _is_field(found: ChainObject, type_tag: str, parent: bytes) -> bool:
    return found.type_tag.replace(" ", "") == type_tag.replace(" ", "") and found.owner.address == parent


def plan_grant(
    roles: Collection[str], present: Sequence[GrantState], holder: bytes, role: str, expires_at_ms: int
) -> list[Change]:
    """Grants one of the `roles` until then, or moves a grant's end; nothing if it is so already.

    Raises `ConfigurationError` if there is no such role.
    """
    if role not in roles:
        known = ", ".join(sorted(roles)) or "none yet: run daas role apply"
        raise ConfigurationError(f"the cluster has no role {role!r}; it has: {known}")
    old = _find(present, holder, role)
    if old is not None and old.expires_at_ms == expires_at_ms:
        return []

    def add(draft: Draft) -> None:
        where = (draft.builder, draft.package, draft.cluster, draft.cap("access"))
        calls.grant(*where, holder=holder, role=role, expires_at_ms=expires_at_ms)

    until = format_moment(expires_at_ms)
    if old is not None:
        until += f" instead of {format_moment(old.expires_at_ms)}"
    return [Change(f"grant the role {role} to {to_hex(holder)} until {until}", "access", add)]


def plan_grant_removal(present: Sequence[GrantState], holder: bytes, role: str) -> list[Change]:
    """Takes a grant away, and with it the holder's commands in that role; nothing if there is none."""
    if _find(present, holder, role) is None:
        return []

    def remove(draft: Draft) -> None:
        where = (draft.builder, draft.package, draft.cluster, draft.cap("access"))
        calls.remove_grant(*where, holder=holder, role=role)

    return [Change(f"take the role {role} from {to_hex(holder)}", "access", remove)]


def _find(grants: Sequence[GrantState], holder: bytes, role: str) -> GrantState | None:
    return next((grant for grant in grants if (grant.holder, grant.role) == (holder, role)), None)
