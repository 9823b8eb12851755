"""Publish the contract on the chain and set up the demo cluster: roles, grants, seals, sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.stack.funding import ensure_coins, fund
from infra.local.stack.roles import DEMO_ROLES, MIST_PER_SUI, OPERATOR, VIEWER, DemoRole
from infra.local.sui.compiler import CompiledPackage
from k3s_daas.cli.holder import Holder, write_session_key
from k3s_daas.contract import calls
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.keys import announcement
from k3s_daas.errors import LedgerError
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.sui.ledger import ExecutionOutcome, Ledger
from k3s_daas.sui.signers import FileSigner, TransactionSigner
from k3s_daas.sui.transaction_data import ObjectRef
from k3s_daas.sui.transactions import PtbBuilder
from k3s_daas.sui.wallet import Wallet, object_ref

LISTENER_NAMESPACE = "daas-system"
CLUSTER_NAME = "demo"
DAY_MS = 24 * 3600 * 1000

POLICY = calls.Policy(
    min_write_stake=MIST_PER_SUI,
    unbonding_ms=60_000,
    max_slash_bps=1_000,
    max_seal_ms=30 * DAY_MS,
    max_start_ms=60_000,
    max_finish_ms=600_000,
    max_answer_ms=1_800_000,
    read_ttl_ms=3_600_000,
    write_ttl_ms=DAY_MS,
    ttl_per_priority_ms=3_600_000,
    max_ttl_ms=2 * DAY_MS,
    commands_per_minute=6_000,
    deposit_per_day=100 * MIST_PER_SUI,
    max_inline_bytes=96 * 1024,
)

GAS_ADMIN = 20 * MIST_PER_SUI
GAS_HOLDER = 2 * MIST_PER_SUI
GAS_SERVICE = 50 * MIST_PER_SUI
"""Gateway and executor: each transaction in flight reserves its budget."""


@dataclass(frozen=True, slots=True)
class DemoHolder:
    """Somebody of the demo: his role, and what he stakes (MIST)."""

    name: str
    role: DemoRole
    stake: int


HOLDERS = (
    DemoHolder("operator", OPERATOR, MIST_PER_SUI),
    DemoHolder("viewer", VIEWER, MIST_PER_SUI),
    DemoHolder("small-stake", OPERATOR, MIST_PER_SUI // 10),
)


@dataclass(frozen=True, slots=True)
class Services:
    """The two services that sign transactions: the gateway's key (KMS), the executor's keys (files)."""

    gateway: TransactionSigner
    executor: FileSigner
    sealing: SealingPrivateKey


@dataclass(frozen=True, slots=True)
class Chain:
    """What was set up: the roots to pin, and each holder's settings file and address."""

    roots: TrustRoots
    holders: Mapping[str, Path]
    addresses: Mapping[str, bytes]


class Bootstrap:
    """Sets up one chain; every step is a transaction whose success is checked."""

    def __init__(self, ledger: Ledger, keys: Path, services: Services, faucet_url: str | None) -> None:
        self._ledger = ledger
        self._keys = keys
        self._services = services
        self._faucet_url = faucet_url
        self._admin = Wallet(ledger, key_file(keys / "admin.key"))

    async def run(self, package: CompiledPackage, now_ms: Callable[[], int]) -> Chain:
        """Publish and set up.

        Raises:
            StackError: there is no money. LedgerError: a step was refused or the endpoint is away.
        """
        wallets = {
            holder.name: Wallet(self._ledger, key_file(self._keys / f"{holder.name}.key"))
            for holder in HOLDERS
        }
        await self._fund(wallets)
        package_id = await self._publish(package)
        cluster, cap = await self._create_cluster(package_id)
        grants_end = now_ms() + POLICY.max_seal_ms
        await self._configure(package_id, cluster, cap, wallets, grants_end)
        info = await self._ledger.service_info()
        roots = self._roots(info.chain_id, package_id, cluster.id)
        files = await asyncio.gather(
            *(
                self._enrol(holder, wallets[holder.name], package_id, cluster, now_ms() + 7 * DAY_MS)
                for holder in HOLDERS
            )
        )
        return Chain(
            roots,
            {holder.name: file for holder, file in zip(HOLDERS, files, strict=True)},
            {name: wallet.address for name, wallet in wallets.items()},
        )

    async def _fund(self, wallets: Mapping[str, Wallet]) -> None:
        balances = {
            self._admin.address: GAS_ADMIN,
            self._services.gateway.address: GAS_SERVICE,
            self._services.executor.address: GAS_SERVICE,
            **{wallet.address: GAS_HOLDER for wallet in wallets.values()},
        }
        coins = {wallets[holder.name].address: holder.stake for holder in HOLDERS}
        needed = sum(balances.values()) + sum(coins.values()) + MIST_PER_SUI
        await ensure_coins(self._admin, needed, self._faucet_url)
        await fund(self._admin, balances, coins)

    async def _publish(self, package: CompiledPackage) -> bytes:
        def compose(builder: PtbBuilder) -> None:
            upgrade_cap = builder.publish(package.modules, package.dependencies)
            builder.transfer([upgrade_cap], self._admin.address)

        return created(await self._admin.run(compose), "package")

    async def _create_cluster(self, package: bytes) -> tuple[SharedRef, bytes]:
        outcome = await self._admin.run(
            lambda builder: calls.create_cluster(
                builder,
                package,
                name=CLUSTER_NAME,
                listener_namespace=LISTENER_NAMESPACE,
                policy=POLICY,
                admin=self._admin.address,
            )
        )
        cluster = await self._shared(created(outcome, "::cluster::Cluster"))
        return cluster, created(outcome, "::capability::ClusterCap")

    async def _configure(
        self, package: bytes, cluster: SharedRef, cap: bytes, wallets: Mapping[str, Wallet], grants_end: int
    ) -> None:
        """Gateway, executor, roles and grants, each with the capability for it; then the executor's key."""
        members, access = await self._issue(package, cluster, cap)

        def compose(builder: PtbBuilder) -> None:
            member_cap, capability = builder.owned(members), builder.owned(access)
            calls.add_gateway(builder, package, cluster, member_cap, self._services.gateway.address)
            calls.add_executor(builder, package, cluster, member_cap, self._services.executor.address)
            for demo_role in DEMO_ROLES:
                role = demo_role.role
                calls.define_role(
                    builder,
                    package,
                    cluster,
                    capability,
                    name=role.name,
                    priority=role.priority,
                    stake=role.stake,
                    is_open=role.open,
                )
                for rule in role.rules:
                    calls.add_rule(
                        builder,
                        package,
                        cluster,
                        capability,
                        role=role.name,
                        verbs=rule.verbs,
                        api_groups=rule.api_groups,
                        resources=rule.resources,
                        namespaces=rule.namespaces,
                        resource_names=rule.resource_names,
                        non_resource_urls=rule.non_resource_urls,
                    )
            for holder in HOLDERS:
                calls.grant(
                    builder,
                    package,
                    cluster,
                    capability,
                    holder=wallets[holder.name].address,
                    role=holder.role.role.name,
                    expires_at_ms=grants_end,
                )

        await self._admin.run(compose)
        await self._announce(package, cluster)

    async def _issue(self, package: bytes, cluster: SharedRef, cap: bytes) -> tuple[ObjectRef, ObjectRef]:
        """The administrator's capabilities over members and over access."""
        cluster_cap = await self._owned(cap)

        def compose(builder: PtbBuilder) -> None:
            capability = builder.owned(cluster_cap)
            for duty in ("member", "access"):
                calls.issue_capability(
                    builder, package, cluster, capability, duty, recipient=self._admin.address
                )

        issued = await self._admin.run(compose)
        members, access = (created(issued, f"::capability::{name}") for name in ("MemberCap", "AccessCap"))
        return await self._owned(members), await self._owned(access)

    async def _announce(self, package: bytes, cluster: SharedRef) -> None:
        """The executor's own transaction: the key that bodies are sealed for from now on."""
        executor, key = self._services.executor, self._services.sealing.public_bytes()
        signature = executor.sign_personal_message(announcement(cluster.id, executor.address, 1, key))
        await Wallet(self._ledger, executor).run(
            lambda builder: calls.announce_key(
                builder, package, cluster, hpke_key=key, generation=1, signature=signature
            )
        )

    async def _owned(self, object_id: bytes) -> ObjectRef:
        found = await self._ledger.get_object(object_id)
        if found is None:
            raise LedgerError("a capability cannot be read: is the endpoint behind?")
        return object_ref(found)

    async def _enrol(
        self, holder: DemoHolder, wallet: Wallet, package: bytes, cluster: SharedRef, expires_at_ms: int
    ) -> Path:
        """The holder's own two transactions: stake, then open a session; returns his settings file."""
        [coin] = await wallet.coins()
        staked = await wallet.run(
            lambda builder: calls.stake(
                builder,
                package,
                cluster,
                role=holder.role.role.name,
                coin=builder.owned(object_ref(coin)),
                amount=holder.stake,
                expires_at_ms=expires_at_ms,
            )
        )
        seal = await self._shared(created(staked, "::seal::SealToken"))
        session_key = Ed25519PrivateKey.generate()
        await wallet.run(
            lambda builder: calls.open_session(
                builder,
                package,
                cluster,
                seal,
                session_key=session_key.public_key().public_bytes_raw(),
                expires_at_ms=expires_at_ms,
                read_only=False,
            )
        )
        key_path = self._keys / f"{holder.name}.session"
        write_session_key(key_path, session_key)
        settings = self._keys / f"{holder.name}.json"
        Holder(cluster.id, seal.id, self._services.gateway.address, key_path).save(settings)
        return settings

    async def _shared(self, object_id: bytes) -> SharedRef:
        found = await self._ledger.get_object(object_id)
        if found is None:
            raise LedgerError("an object that was just shared cannot be read: is the endpoint behind?")
        return SharedRef.of(found)

    def _roots(self, chain_id: str, package: bytes, cluster: bytes) -> TrustRoots:
        services = self._services
        return TrustRoots(
            chain_id=chain_id,
            package_original=package,
            package_latest=package,
            cluster=cluster,
            gateways={services.gateway.address: services.gateway.public_key},
            executors={services.executor.address: services.executor.public_key},
        )


def created(outcome: ExecutionOutcome, type_suffix: str) -> bytes:
    """The id of the one object of a type that a transaction created.

    Raises:
        LedgerError: there is not exactly one.
    """
    found = [item.id for item in outcome.created if item.type_tag.endswith(type_suffix)]
    if len(found) != 1:
        raise LedgerError(f"transaction {outcome.digest} created {len(found)} objects of {type_suffix}")
    return found[0]


def key_file(path: Path) -> FileSigner:
    """The key at ``path``, generated if there is none: a funded address survives a restart of the stack."""
    return FileSigner.load(path) if path.exists() else FileSigner.generate(path)
