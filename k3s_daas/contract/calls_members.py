"""Calls about who serves a cluster: gateways and executors, and the keys that bodies are sealed for.

`package` is the latest package id. `cap` is an owned `MemberCap`.
"""

from __future__ import annotations

from k3s_daas.contract import arguments
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.calls_cluster import administer
from k3s_daas.sui.transactions import Argument, PtbBuilder


def add_gateway(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, gateway: bytes
) -> None:
    """Lets the address submit commands."""
    administer(builder, package, cluster, cap, "add_gateway", arguments.address(builder, gateway))


def remove_gateway(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, gateway: bytes
) -> None:
    """Undoes `add_gateway`."""
    administer(builder, package, cluster, cap, "remove_gateway", arguments.address(builder, gateway))


def add_executor(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, executor: bytes
) -> None:
    """Registers the address; commands are assigned to it once it has announced a key."""
    administer(builder, package, cluster, cap, "add_executor", arguments.address(builder, executor))


def remove_executor(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument, executor: bytes
) -> None:
    """Undoes `add_executor`."""
    administer(builder, package, cluster, cap, "remove_executor", arguments.address(builder, executor))


def announce_key(
    builder: PtbBuilder,
    package: bytes,
    cluster: SharedRef,
    *,
    hpke_key: bytes,
    generation: int,
    signature: bytes,
) -> None:
    """Announces the key that bodies are sealed for from now on; the sender must be a registered executor.

    `generation` is the present one + 1; `signature` is over `k3s_daas.contract.keys.announcement`.
    """
    call_arguments = [
        arguments.shared(builder, cluster, mutable=True),
        arguments.byte_vector(builder, hpke_key),
        arguments.u64(builder, generation),
        arguments.byte_vector(builder, signature),
    ]
    builder.move_call(package, "cluster", "announce_key", call_arguments)
