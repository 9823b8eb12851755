"""Who serves a cluster: gateways and executors."""

from __future__ import annotations

from k3s_daas.admin.changes import Change, Draft
from k3s_daas.contract import calls
from k3s_daas.contract.objects import ClusterState
from k3s_daas.ids import to_hex


def plan_gateway(cluster: ClusterState, gateway: bytes, *, registered: bool) -> list[Change]:
    """Registers a gateway, or removes it; nothing if it is so already."""
    if (gateway in cluster.gateways) == registered:
        return []
    call = calls.add_gateway if registered else calls.remove_gateway
    verb = "let submit commands" if registered else "let submit no more commands"

    def change(draft: Draft) -> None:
        call(draft.builder, draft.package, draft.cluster, draft.cap("member"), gateway)

    return [Change(f"{verb}: the gateway {to_hex(gateway)}", "member", change)]


def plan_executor(cluster: ClusterState, executor: bytes, *, registered: bool) -> list[Change]:
    """The same for an executor. It serves from the first key on that it announces."""
    if (executor in cluster.executors) == registered:
        return []
    call = calls.add_executor if registered else calls.remove_executor
    verb = "let answer commands" if registered else "assign no more commands to"

    def change(draft: Draft) -> None:
        call(draft.builder, draft.package, draft.cluster, draft.cap("member"), executor)

    return [Change(f"{verb}: the executor {to_hex(executor)}", "member", change)]
