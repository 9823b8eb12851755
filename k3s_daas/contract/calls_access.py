"""Calls about who may do what in a cluster: roles and grants.

`package` is the latest package id. `cap` is an owned `AccessCap`.
"""

from __future__ import annotations

from collections.abc import Sequence

from k3s_daas.contract import arguments
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.calls_cluster import administer
from k3s_daas.sui.transactions import Argument, PtbBuilder


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
    administer(builder, package, cluster, cap, "define_role", *values)


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
    administer(builder, package, cluster, cap, "add_rule", *values)


def remove_role(builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, name: str) -> None:
    """Removes a role: its seals can do nothing until a role of that name is defined again."""
    administer(builder, package, cluster, cap, "remove_role", arguments.string(builder, name))


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
    administer(builder, package, cluster, cap, "grant", *values)


def remove_grant(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, *, holder: bytes, role: str
) -> None:
    """Undoes `grant`."""
    values = [arguments.address(builder, holder), arguments.string(builder, role)]
    administer(builder, package, cluster, cap, "remove_grant", *values)
