"""A cluster as its operator wants to see it: one text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k3s_daas.admin.administrator import capability_cluster, power_of
from k3s_daas.admin.amounts import format_amount
from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.policy_file import show_policy
from k3s_daas.admin.roles import describe_rule
from k3s_daas.contract.keys import announcement
from k3s_daas.contract.objects import ClusterState, ExecutorState
from k3s_daas.errors import SealedDataError, WireFormatError
from k3s_daas.ids import to_hex
from k3s_daas.sealing import SealingPublicKey
from k3s_daas.sui.digests import address_of
from k3s_daas.sui.ledger import ChainObject, OperatorLedger
from k3s_daas.sui.signers import SIGNATURE_BYTES, verify_personal_message


async def describe(ledger: OperatorLedger, deployment: Deployment, cluster: ClusterState) -> str:
    """Policy, members, roles, pause, versions and keys, by name. Raises `LedgerError`."""
    package = await ledger.get_package(deployment.package_latest)
    ids = sorted(cluster.capabilities)
    administrator = deployment.capabilities.get("cluster")
    if administrator is not None:
        ids.insert(0, administrator)
    capabilities = await ledger.get_objects(ids)
    version = f"version {package.version}" if package else "unknown to the endpoint"
    lines = [
        f"cluster {cluster.name}  {to_hex(cluster.ref.id)}",
        f"  state              {'PAUSED' if cluster.paused else 'accepts commands'}",
        f"  contract version   {cluster.version}",
        f"  package, original  {to_hex(deployment.package_original)}",
        f"  package, latest    {to_hex(deployment.package_latest)} ({version})",
        f"  chain              {deployment.chain_id}",
        f"  listener namespace {cluster.listener_namespace}",
        "policy",
        *(f"  {name:18} {value}" for name, value in show_policy(cluster.policy).items()),
        "gateways",
        *_or_none(to_hex(gateway) for gateway in sorted(cluster.gateways)),
        "executors",
        *_or_none(_executor(cluster, state) for _, state in sorted(cluster.executors.items())),
        "capabilities",
        *_or_none(_capabilities(ids, capabilities, cluster)),
        "roles",
        *_or_none(_roles(cluster)),
    ]
    return "\n".join(lines)


def announcement_fault(cluster: bytes, executor: ExecutorState) -> str | None:
    """What is wrong with an announced key, judged by the public key inside its signature; None if nothing.

    Whether that public key is the right one is for the trust roots to say.
    """
    signature = executor.signature
    public_key = signature[:1] + signature[1 + SIGNATURE_BYTES :]
    message = announcement(cluster, executor.address, executor.generation, executor.hpke_key)
    if address_of(public_key) != executor.address:
        return "signed by another key than the executor's"
    try:
        verify_personal_message(message, signature, public_key)
        SealingPublicKey.from_bytes(executor.hpke_key)
    except (WireFormatError, SealedDataError) as error:
        return str(error)
    return None


def _executor(cluster: ClusterState, executor: ExecutorState) -> str:
    address = to_hex(executor.address)
    if executor.generation == 0:
        return f"{address}  no sealing key yet: start its listener"
    fault = announcement_fault(cluster.ref.id, executor)
    if fault is not None:
        return f"{address}  generation {executor.generation} DOES NOT COUNT: {fault}"
    key = SealingPublicKey.from_bytes(executor.hpke_key)
    return f"{address}  generation {executor.generation}, sealing key {key.key_id.hex()}"


def _capabilities(
    ids: Sequence[bytes], found: Sequence[ChainObject | None], cluster: ClusterState
) -> Iterator[str]:
    for capability, one in zip(ids, found, strict=True):
        power = power_of(one.type_tag) if one else None
        if one is None or power is None or capability_cluster(one) != cluster.ref.id:
            yield f"{'?':8} {to_hex(capability)}  not found: destroyed, or inside another object"
        else:
            holder = to_hex(one.owner.address) if one.owner.address else one.owner.kind
            yield f"{power:8} {to_hex(capability)}  held by {holder}"


def _roles(cluster: ClusterState) -> Iterator[str]:
    for name, role in sorted(cluster.roles.items()):
        access = "open" if role.open else "by grant"
        yield f"{name}: priority {role.priority}, stake {format_amount(role.stake)}, {access}"
        yield from (f"  {describe_rule(rule)}" for rule in role.rules)


def _or_none(lines: Iterator[str] | Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines] or ["  none"]
