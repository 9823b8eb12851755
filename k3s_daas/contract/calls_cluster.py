"""Calls of the administrator (module `cluster`): each adds Move calls to a transaction under construction.

`package` is the latest package id. `cap` is the owned `ClusterCap` (`builder.owned(ref)`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from k3s_daas.contract import arguments
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.sui.transactions import Argument, PtbBuilder

_MODULE = "cluster"


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for a whole cluster. Stake in MIST, times in ms, sizes in bytes of ciphertext.

    The contract bounds every field (abort `EInvalidPolicy`). The field order is the one of the Move struct.
    """

    min_write_stake: int
    unbonding_ms: int
    max_seal_ms: int
    max_start_ms: int
    max_finish_ms: int
    max_answer_ms: int
    response_ttl_ms: int
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
    """Replaces the policy; seals keep the unbonding period they were made with."""
    _administer(builder, package, cluster, cap, "set_policy", new_policy(builder, package, policy))


def pause(builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument) -> None:
    """Refuses every new command until `resume`."""
    _administer(builder, package, cluster, cap, "pause")


def resume(builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument) -> None:
    """Ends `pause`."""
    _administer(builder, package, cluster, cap, "resume")


def add_gateway(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, gateway: bytes
) -> None:
    """Lets the address submit commands."""
    _administer(builder, package, cluster, cap, "add_gateway", arguments.address(builder, gateway))


def remove_gateway(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, gateway: bytes
) -> None:
    """Undoes `add_gateway`."""
    _administer(builder, package, cluster, cap, "remove_gateway", arguments.address(builder, gateway))


def add_executor(
    builder: PtbBuilder,
    package: bytes,
    cluster: SharedRef,
    cap: Argument,
    *,
    executor: bytes,
    hpke_key: bytes,
) -> None:
    """Lets the address answer commands; `hpke_key` is announced on chain for its readers."""
    values = [arguments.address(builder, executor), arguments.byte_vector(builder, hpke_key)]
    _administer(builder, package, cluster, cap, "add_executor", *values)


def remove_executor(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, executor: bytes
) -> None:
    """Undoes `add_executor`."""
    _administer(builder, package, cluster, cap, "remove_executor", arguments.address(builder, executor))


def define_role(
    builder: PtbBuilder,
    package: bytes,
    cluster: SharedRef,
    cap: Argument,
    *,
    name: str,
    priority: int,
    stake: int,
    is_open: bool,
) -> None:
    """Creates a role, or replaces it: its rules are then empty. `is_open` lets everybody stake for it."""
    values = [
        arguments.string(builder, name),
        arguments.u8(builder, priority),
        arguments.u64(builder, stake),
        arguments.boolean(builder, is_open),
    ]
    _administer(builder, package, cluster, cap, "define_role", *values)


def add_rule(
    builder: PtbBuilder,
    package: bytes,
    cluster: SharedRef,
    cap: Argument,
    *,
    role: str,
    verbs: Sequence[str],
    api_groups: Sequence[str] = (),
    resources: Sequence[str] = (),
    namespaces: Sequence[str] = (),
    resource_names: Sequence[str] = (),
    non_resource_urls: Sequence[str] = (),
) -> None:
    """Appends a rule to a role. No namespaces means all of them and cluster scope."""
    lists = (verbs, api_groups, resources, namespaces, resource_names, non_resource_urls)
    values = [arguments.string(builder, role), *(arguments.strings(builder, texts) for texts in lists)]
    _administer(builder, package, cluster, cap, "add_rule", *values)


def grant(
    builder: PtbBuilder,
    package: bytes,
    cluster: SharedRef,
    cap: Argument,
    *,
    holder: bytes,
    role: str,
    expires_at_ms: int,
) -> None:
    """Lets an address stake for a role until `expires_at_ms`."""
    values = [
        arguments.address(builder, holder),
        arguments.string(builder, role),
        arguments.u64(builder, expires_at_ms),
    ]
    _administer(builder, package, cluster, cap, "grant", *values)


def remove_grant(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, *, holder: bytes, role: str
) -> None:
    """Undoes `grant`."""
    values = [arguments.address(builder, holder), arguments.string(builder, role)]
    _administer(builder, package, cluster, cap, "remove_grant", *values)


def _administer(
    builder: PtbBuilder,
    package: bytes,
    cluster: SharedRef,
    cap: Argument,
    function: str,
    *values: Argument,
) -> None:
    """Every administrative function takes `&mut Cluster` and `&ClusterCap` first."""
    builder.move_call(
        package, _MODULE, function, [arguments.shared(builder, cluster, mutable=True), cap, *values]
    )
