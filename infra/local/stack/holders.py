"""The people of the demo: each stakes for a role and opens a session, with transactions of his own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas.admin.amounts import MIST_PER_SUI
from k3s_daas.admin.paying import await_object, created
from k3s_daas.cli.holder import Holder, write_session_key
from k3s_daas.contract import calls
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.sui.ledger import Ledger
from k3s_daas.sui.wallet import Wallet, object_ref


@dataclass(frozen=True, slots=True)
class DemoHolder:
    """Somebody of the demo: his role, and what he stakes (MIST)."""

    name: str
    role: str
    stake: int


HOLDERS = (
    DemoHolder("operator", "operator", MIST_PER_SUI),
    DemoHolder("viewer", "viewer", MIST_PER_SUI),
    DemoHolder("small-stake", "operator", MIST_PER_SUI // 10),
)


def demo_holders(crowd: int) -> tuple[DemoHolder, ...]:
    """Those of the demo, and as many further operators: ``crowd-1`` and so on."""
    further = (DemoHolder(f"crowd-{number}", "operator", MIST_PER_SUI) for number in range(1, crowd + 1))
    return (*HOLDERS, *further)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a holder needs to know of the chain; `package` is the latest id."""

    ledger: Ledger
    package: bytes
    cluster: SharedRef
    gateway: bytes
    expires_at_ms: int

    async def enrol(self, holder: DemoHolder, wallet: Wallet, keys: Path) -> Path:
        """Stakes the one coin that the holder owns, then opens a session; returns his settings file."""
        [coin] = await wallet.coins()
        staked = await wallet.run(
            lambda builder: calls.stake(
                builder,
                self.package,
                self.cluster,
                role=holder.role,
                coin=builder.owned(object_ref(coin)),
                amount=holder.stake,
                expires_at_ms=self.expires_at_ms,
            )
        )
        seal = SharedRef.of(await await_object(self.ledger, created(staked, "::seal::SealToken")))
        session_key = Ed25519PrivateKey.generate()
        await wallet.run(
            lambda builder: calls.open_session(
                builder,
                self.package,
                self.cluster,
                seal,
                session_key=session_key.public_key().public_bytes_raw(),
                expires_at_ms=self.expires_at_ms,
                read_only=False,
            )
        )
        key_path = keys / f"{holder.name}.session"
        write_session_key(key_path, session_key)
        settings = keys / f"{holder.name}.json"
        Holder(self.cluster.id, seal.id, self.gateway, key_path).save(settings)
        return settings
