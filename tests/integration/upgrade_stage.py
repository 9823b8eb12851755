"""A chain on which an unrelated package is published and upgraded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.local.sui.builder import TransactionBuilder, valid_now
from infra.local.sui.compiler import CompiledPackage, compile_package, compile_sources, read_sources
from infra.local.sui.keys import Key
from infra.local.sui.ledger.bcs import blob
from infra.local.sui.ledger.checkpoints import ExecutedTransaction
from infra.local.sui.ledger.effects import Output
from infra.local.sui.ledger.ledger import Ledger
from infra.local.sui.ledger.objects import StoredObject
from infra.local.sui.ledger.transactions import Argument

PACKAGES = Path(__file__).parent / "packages"
FRAMEWORK = bytes(31) + b"\x02"
COMPATIBLE = b"\x00"


def workshop(version: int) -> CompiledPackage:
    return compile_package(PACKAGES / ("workshop" if version == 1 else f"workshop_{version}"))


def changed_workshop(before: str, after: str) -> CompiledPackage:
    """The first version with one thing changed in the module ``machine``."""
    sources = read_sources(PACKAGES / "workshop")
    text = sources["sources/machine.move"]
    assert before in text
    return compile_sources({**sources, "sources/machine.move": text.replace(before, after)})


@dataclass
class Published:
    """A package, its capability, and the machine that its ``init`` shared."""

    package: bytes
    cap: bytes
    machine: bytes


class Stage:
    """Short ways to publish, upgrade and call on a ledger; gas comes from an address balance."""

    def __init__(self, ledger: Ledger, key: Key) -> None:
        self.ledger = ledger
        self.key = key
        self._nonce = 0

    def sign(self, transaction: TransactionBuilder) -> tuple[bytes, bytes]:
        self._nonce += 1
        expiration = valid_now(self.ledger.chain_id, self.ledger.epoch, self._nonce)
        encoded = transaction.build(self.key, expiration=expiration)
        return encoded, self.key.sign(encoded)

    async def submit(self, transaction: TransactionBuilder) -> ExecutedTransaction:
        encoded, signature = self.sign(transaction)
        return await self.ledger.execute(encoded, [signature])

    async def run(self, transaction: TransactionBuilder) -> ExecutedTransaction:
        executed = await self.submit(transaction)
        assert executed.effects.success, executed.effects.failure
        return executed

    async def fail(self, transaction: TransactionBuilder) -> str:
        """The kind of the failure."""
        failure = (await self.submit(transaction)).effects.failure
        assert failure is not None
        return failure.kind

    def live(self, object_id: bytes) -> StoredObject:
        stored = self.ledger.final.get(object_id)
        assert stored is not None
        return stored

    async def publish(self, compiled: CompiledPackage) -> Published:
        transaction = TransactionBuilder()
        cap = transaction.publish(compiled.modules, compiled.dependencies)
        transaction.transfer(self.key.address, cap)
        changed = (await self.run(transaction)).effects.changed
        ids = {one.type_tag.rpartition("::")[2]: one.id for one in changed}
        return Published(ids["package"], ids["UpgradeCap"], ids.get("Machine", b""))

    def upgrading(
        self,
        package: bytes,
        cap: bytes,
        compiled: CompiledPackage,
        *,
        digest: bytes | None = None,
        policy: bytes = COMPATIBLE,
    ) -> TransactionBuilder:
        """The three commands of an upgrade."""
        transaction = TransactionBuilder()
        held = transaction.owned(self.live(cap))
        authorised = blob(compiled.digest if digest is None else digest)
        ticket = transaction.call(
            FRAMEWORK,
            "package::authorize_upgrade",
            held,
            transaction.pure(policy),
            transaction.pure(authorised),
        )
        receipt = transaction.upgrade(package, ticket, compiled.modules, compiled.dependencies)
        transaction.call(FRAMEWORK, "package::commit_upgrade", held, receipt)
        return transaction

    async def upgrade(self, package: bytes, cap: bytes, compiled: CompiledPackage) -> bytes:
        """The id of the next version."""
        executed = await self.run(self.upgrading(package, cap, compiled))
        [written] = [one.id for one in executed.effects.changed if one.output is Output.PACKAGE_WRITE]
        return written

    def calling(
        self, package: bytes, function: str, machine: bytes, *pures: bytes
    ) -> tuple[TransactionBuilder, Argument]:
        transaction = TransactionBuilder()
        arguments = [transaction.pure(value) for value in pures]
        shared = transaction.shared(self.live(machine))
        return transaction, transaction.call(package, function, shared, *arguments)

    async def call(self, package: bytes, function: str, machine: bytes, *pures: bytes) -> ExecutedTransaction:
        transaction, _ = self.calling(package, function, machine, *pures)
        return await self.run(transaction)

    def turns(self, machine: bytes) -> int:
        return int.from_bytes(self.live(machine).contents[32:40], "little")
