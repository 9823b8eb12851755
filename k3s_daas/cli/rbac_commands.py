"""``daas rbac sync``: whom the listener may impersonate, from the chain into a Kubernetes cluster."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

import yaml

from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.kube_cluster import KubeCluster, KubeClusterError, connect, default_kubeconfig
from k3s_daas.admin.listener_rbac import Manifest, listener_manifests, owner_user
from k3s_daas.admin.rbac_sync import difference, known_history, wanted_role
from k3s_daas.admin.roles_file import load_roles
from k3s_daas.admin.seal_owners import SealHistory, SealOwners, find_owners
from k3s_daas.cli.console import agreed, say
from k3s_daas.cli.session import ENDPOINT_VARIABLE, OpenLedger
from k3s_daas.contract.objects import ClusterState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import ConfigurationError, LedgerError
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import Ledger

ENDPOINTS_VARIABLE = "DAAS_SUI_ENDPOINTS"
QUORUM_VARIABLE = "DAAS_QUORUM"
_NOBODY: Manifest = wanted_role(SealOwners(frozenset(), SealHistory(frozenset(), 0)), ())


@dataclass(frozen=True, slots=True)
class _Chain:
    """The chain as read: one voice made of several endpoints, and each of them, for what is no object."""

    voice: Ledger
    sources: tuple[Ledger, ...]
    needed: int


async def run_sync(options: argparse.Namespace, open_ledger: OpenLedger) -> None:
    """Once, or again and again; then a failure is told and the next round tries anew."""
    if options.install and options.watch:
        raise ConfigurationError("--install is done once: leave out --watch")
    if not options.watch:
        await _sync(options, open_ledger)
        return
    while True:
        try:
            await _sync(options, open_ledger)
        except (LedgerError, KubeClusterError) as error:
            print(f"daas: {_now()} not synchronised: {error}", file=sys.stderr, flush=True)
        await asyncio.sleep(options.watch / 1000)


async def _sync(options: argparse.Namespace, open_ledger: OpenLedger) -> None:
    roots = Deployment.load(options.deployment).roots()
    if options.output:
        found, cluster = await _read(options, open_ledger, roots, None)
        say(yaml.safe_dump_all(_manifests(options, found, cluster), sort_keys=False).rstrip())
        return
    kubernetes = KubeCluster(connect(options.kubeconfig or default_kubeconfig()))
    try:
        current = await asyncio.to_thread(kubernetes.read, _NOBODY)
        found, cluster = await _read(options, open_ledger, roots, known_history(current))
        await _settle(options, kubernetes, current, found, cluster)
    finally:
        kubernetes.close()


async def _settle(
    options: argparse.Namespace,
    kubernetes: KubeCluster,
    current: Manifest | None,
    found: SealOwners,
    cluster: ClusterState,
) -> None:
    change = difference(current, wanted_role(found, cluster.roles))
    lines = change.lines()
    if options.install:
        lines.append(f"install what the listener needs in the namespace {cluster.listener_namespace}")
    if change.needed and not lines:
        lines.append("note how far the chain was read")
    if options.watch and not lines:
        return
    if not agreed(lines, dry_run=options.dry_run, yes=options.yes or bool(options.watch)):
        return
    await asyncio.to_thread(kubernetes.apply, _manifests(options, found, cluster))
    say(f"{_now()} applied: {len(found.owners)} owners of live seals, {len(cluster.roles)} roles")


def _manifests(options: argparse.Namespace, found: SealOwners, cluster: ClusterState) -> list[Manifest]:
    role = wanted_role(found, cluster.roles)
    if not options.install:
        return [role]
    bound = {
        spec.role.name: spec.cluster_role
        for spec in load_roles(options.install)
        if spec.cluster_role is not None and spec.role.name in cluster.roles
    }
    namespace = cluster.listener_namespace
    everything = listener_manifests(namespace, [owner_user(one) for one in found.owners], bound)
    return [role if one["kind"] == "ClusterRole" else one for one in everything]


async def _read(
    options: argparse.Namespace, open_ledger: OpenLedger, roots: TrustRoots, known: SealHistory | None
) -> tuple[SealOwners, ClusterState]:
    chain = _open(options, open_ledger)
    try:
        reader = ContractReader(chain.voice, roots)
        await reader.confirm_chain()
        cluster = await reader.cluster()
        now_ms = (await chain.voice.service_info()).timestamp_ms
        found = await find_owners(
            reader, chain.sources, chain.needed, roots, cluster, known=known, now_ms=now_ms
        )
        return found, cluster
    finally:
        await chain.voice.close()


def _open(options: argparse.Namespace, open_ledger: OpenLedger) -> _Chain:
    """One endpoint is the operator's own; several must be a quorum, as for the listener."""
    if not options.endpoint:
        raise ConfigurationError(
            f"no Sui endpoint was named: say --endpoint URL, or set {ENDPOINT_VARIABLE}, for several "
            f"{ENDPOINTS_VARIABLE}"
        )
    if "," not in options.endpoint:
        ledger = open_ledger(options.endpoint)
        return _Chain(ledger, (ledger,), 1)
    # Slow to import, and no command's help needs it.
    from k3s_daas.sui.endpoints import endpoints_from_environment  # noqa: PLC0415
    from k3s_daas.sui.quorum import QuorumLedger  # noqa: PLC0415

    checked = endpoints_from_environment(
        {ENDPOINTS_VARIABLE: options.endpoint, QUORUM_VARIABLE: options.quorum or ""}
    )
    members = tuple(open_ledger(url) for url in checked.urls)
    # One more than there may be liars.
    return _Chain(QuorumLedger(members, checked.quorum), members, len(members) - checked.quorum + 1)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
