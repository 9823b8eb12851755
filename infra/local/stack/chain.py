"""The demo cluster on the chain, set up as an operator does it, in as few transactions as that takes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.stack.funding import ensure_coins, fund
from infra.local.stack.holders import HOLDERS, DemoHolder, Enrolment
from infra.local.stack.roles import DEMO_POLICY, DEMO_ROLES
from infra.local.sui.compiler import CompiledPackage
from k3s_daas.admin.administrator import Administrator
from k3s_daas.admin.amounts import MIST_PER_SUI
from k3s_daas.admin.changes import Change
from k3s_daas.admin.clusters import DUTIES, create_cluster, plan_capability, with_issued
from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.files import write_new_secret
from k3s_daas.admin.grants import plan_grant
from k3s_daas.admin.members import plan_executor, plan_gateway
from k3s_daas.admin.paying import Payer
from k3s_daas.admin.publishing import PackageCode, publish
from k3s_daas.admin.roles import plan_roles
from k3s_daas.admin.trust import pin
from k3s_daas.contract.announcing import Announcement
from k3s_daas.contract.objects import ClusterState
from k3s_daas.passphrase import read_passphrase
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.sui.key_files import encrypted_key, load_encrypted, new_seed
from k3s_daas.sui.ledger import OperatorLedger
from k3s_daas.sui.signers import FileSigner, TransactionSigner
from k3s_daas.sui.wallet import Wallet

LISTENER_NAMESPACE = "daas-system"
CLUSTER_NAME = "demo"
SEALS_LAST_MS = 7 * 24 * 3600 * 1000

GAS_ADMIN = 20 * MIST_PER_SUI
GAS_HOLDER = 2 * MIST_PER_SUI
GAS_SERVICE = 50 * MIST_PER_SUI
"""Gateway and executor: each transaction in flight reserves its budget."""


@dataclass(frozen=True, slots=True)
class Services:
    """The two services that sign transactions: the gateway's key (KMS), the executor's (an encrypted file).

    `sealing` is announced at once, if there is one; a listener announces its own.
    """

    gateway: TransactionSigner
    executor: TransactionSigner
    sealing: SealingPrivateKey | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """What was set up: the deployment, the roots to pin, and each holder's settings file and address."""

    deployment: Deployment
    roots: TrustRoots
    holders: Mapping[str, Path]
    addresses: Mapping[str, bytes]


class Bootstrap:
    """Sets up one chain; every step is a transaction whose success is checked."""

    def __init__(
        self,
        ledger: OperatorLedger,
        keys: Path,
        services: Services,
        faucet_url: str | None,
        people: Sequence[DemoHolder] = HOLDERS,
    ) -> None:
        self._ledger = ledger
        self._keys = keys
        self._services = services
        self._faucet_url = faucet_url
        self._people = people
        admin = key_file(keys / "admin.key")
        self._admin = Wallet(ledger, admin)
        self._payer = Payer(ledger, admin)

    async def run(self, package: CompiledPackage, now_ms: Callable[[], int]) -> Chain:
        """Publish and set up.

        Raises:
            StackError: there is no money. LedgerError: a step was refused or the endpoint is away.
        """
        wallets = {
            holder.name: Wallet(self._ledger, key_file(self._keys / f"{holder.name}.key"))
            for holder in self._people
        }
        await self._fund(wallets)
        deployment = await self._deploy(package)
        administrator = Administrator(self._ledger, self._payer, deployment)
        bare = await administrator.cluster()
        addresses = {name: wallet.address for name, wallet in wallets.items()}
        grants_end = now_ms() + DEMO_POLICY.max_seal_ms
        outcomes = await administrator.apply(self._changes(bare, addresses, grants_end))
        enrolment = Enrolment(
            self._ledger,
            deployment.package_latest,
            bare.ref,
            self._services.gateway.address,
            now_ms() + SEALS_LAST_MS,
        )
        holders, _ = await asyncio.gather(
            self._enrol(enrolment, wallets), self._announce(deployment, await administrator.cluster())
        )
        return Chain(
            with_issued(deployment, outcomes),
            await self._roots(deployment, administrator),
            holders,
            addresses,
        )

    async def _fund(self, wallets: Mapping[str, Wallet]) -> None:
        balances = {
            self._admin.address: GAS_ADMIN,
            self._services.gateway.address: GAS_SERVICE,
            self._services.executor.address: GAS_SERVICE,
            **{wallet.address: GAS_HOLDER for wallet in wallets.values()},
        }
        coins = {wallets[holder.name].address: holder.stake for holder in self._people}
        needed = sum(balances.values()) + sum(coins.values()) + MIST_PER_SUI
        await ensure_coins(self._admin, needed, self._faucet_url)
        await fund(self._admin, balances, coins)

    async def _deploy(self, package: CompiledPackage) -> Deployment:
        code = PackageCode(package.modules, package.dependencies, package.digest)
        info = await self._ledger.service_info()
        return await create_cluster(
            self._payer,
            await publish(self._payer, info.chain_id, code),
            name=CLUSTER_NAME,
            listener_namespace=LISTENER_NAMESPACE,
            policy=DEMO_POLICY,
        )

    def _changes(
        self, cluster: ClusterState, holders: Mapping[str, bytes], grants_end_ms: int
    ) -> list[Change]:
        """Duties, members, roles and grants: small enough for one transaction."""
        roles = [role.name for role in DEMO_ROLES]
        return [
            *(plan_capability(duty, self._admin.address) for duty in DUTIES),
            *plan_gateway(cluster, self._services.gateway.address, registered=True),
            *plan_executor(cluster, self._services.executor.address, registered=True),
            *plan_roles(cluster.roles, DEMO_ROLES).changes,
            *(
                change
                for holder in self._people
                for change in plan_grant(roles, [], holders[holder.name], holder.role, grants_end_ms)
            ),
        ]

    async def _enrol(self, enrolment: Enrolment, wallets: Mapping[str, Wallet]) -> dict[str, Path]:
        """Everybody at once: their transactions share nothing but the cluster, which they only read."""
        files = await asyncio.gather(
            *(enrolment.enrol(holder, wallets[holder.name], self._keys) for holder in self._people)
        )
        return {holder.name: file for holder, file in zip(self._people, files, strict=True)}

    async def _announce(self, deployment: Deployment, cluster: ClusterState) -> None:
        """The executor's own transaction: the key that bodies are sealed for from now on."""
        executor, sealing = self._services.executor, self._services.sealing
        if sealing is None:
            return
        announcement = Announcement.following(cluster, executor.address)
        signature = announcement.signature(cluster, executor, sealing.public_key)
        await Payer(self._ledger, executor).run(
            lambda builder: announcement.add_to(
                builder, deployment.package_latest, cluster, key=sealing.public_key, signature=signature
            )
        )

    async def _roots(self, deployment: Deployment, administrator: Administrator) -> TrustRoots:
        services = self._services
        cluster = await administrator.cluster()
        return pin(deployment, cluster, [services.gateway.public_key], [services.executor.public_key])


def key_file(path: Path) -> FileSigner:
    """The key at ``path``, generated if there is none: a funded address survives a restart of the stack."""
    return FileSigner.load(path) if path.exists() else FileSigner.generate(path)


def encrypted_key_file(path: Path, passphrase_file: Path) -> FileSigner:
    """The same for a key under a passphrase."""
    if not passphrase_file.exists():
        write_new_secret(passphrase_file, secrets.token_hex(32) + "\n")
    passphrase = read_passphrase(passphrase_file)
    if not path.exists():
        write_new_secret(path, encrypted_key(new_seed(), passphrase))
    return load_encrypted(path, passphrase)
