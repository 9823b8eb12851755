"""The compiled contract on a ledger in process: the real Move VM, a clock that tests set, no network.

Transactions are built by the product's own calls and signed; nothing reaches the contract by another way.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.sui.compiler import CompiledPackage
from infra.local.sui.genesis import framework_packages
from infra.local.sui.ledger.checkpoints import ExecutedTransaction
from infra.local.sui.ledger.clock import ManualClock
from infra.local.sui.ledger.digests import base58
from infra.local.sui.ledger.errors import AbortDetail
from infra.local.sui.ledger.ledger import Ledger, LedgerSettings
from infra.local.sui.ledger.objects import OwnerKind, StoredObject
from infra.local.sui.ledger.type_tags import SUI
from infra.local.sui.vm import SandboxVm
from k3s_daas.contract import arguments
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.sui.ledger import ChainObject, Owner
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transactions import AddressBalanceGas, Argument, ObjectRef, PtbBuilder

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "move" / "sources"
START_MS = 1_750_000_000_000
SUI_MIST = 1_000_000_000
SUI_FRAMEWORK = (2).to_bytes(32, "big")
_ACCOUNTS = 500
_BUDGET = 20 * SUI_MIST

Compose = Callable[[PtbBuilder], object]


def abort_names(sources: Path = SOURCES) -> dict[tuple[str, int], str]:
    """(module, code) -> name of every abort constant in the sources."""
    found = {}
    for source in sorted(sources.glob("*.move")):
        for name, code in re.findall(r"^const (E[A-Z]\w*): u64 = (\d+);", source.read_text(), re.MULTILINE):
            found[source.stem, int(code)] = name
    return found


@dataclass(frozen=True)
class Account:
    """A funded address: ``coin`` is its one coin object, gas comes from its address balance."""

    signer: FileSigner
    coin: bytes

    @property
    def address(self) -> bytes:
        return self.signer.address


@dataclass(frozen=True)
class Receipt:
    """What a transaction did."""

    transaction: ExecutedTransaction
    encoded: bytes

    @property
    def failure(self) -> str | None:
        failure = self.transaction.effects.failure
        return None if failure is None else failure.message

    @property
    def aborted(self) -> AbortDetail | None:
        failure = self.transaction.effects.failure
        detail = None if failure is None else failure.detail
        return detail if isinstance(detail, AbortDetail) else None

    @property
    def events(self) -> list[tuple[str, bytes]]:
        """(name, contents) of the events, in order."""
        return [(event.type_tag.rpartition("::")[2], event.contents) for event in self.transaction.events]

    def event(self, name: str) -> bytes:
        """The contents of the one event of that name."""
        [contents] = [contents for found, contents in self.events if found == name]
        return contents

    def created(self, name: str) -> list[bytes]:
        """Ids of the objects of that type that the transaction created."""
        return [
            changed.id
            for changed in self.transaction.effects.changed
            if changed.before is None
            and changed.after is not None
            and changed.type_tag.partition("<")[0].endswith(f"::{name}")
        ]


class Chain:
    """One ledger with the contract published on it."""

    def __init__(self, compiled: CompiledPackage) -> None:
        self._runner = asyncio.Runner()
        self._vm = SandboxVm(workers=1)
        self.clock = ManualClock(START_MS)
        self.ledger = Ledger(
            self._vm,
            settings=LedgerSettings(finality_ms=0, checkpoint_ms=0),
            clock=self.clock,
            packages=framework_packages(),
        )
        self._accounts = self._allocate()
        self._nonce = 0
        self._names = abort_names()
        self.package = self._publish(compiled)

    def close(self) -> None:
        self._runner.run(self.ledger.close())
        self._runner.run(self._vm.close())
        self._runner.close()

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms()

    def account(self) -> Account:
        """One that nobody used before."""
        return next(self._accounts)

    def _allocate(self) -> Iterator[Account]:
        accounts = []
        for _ in range(_ACCOUNTS):
            signer = FileSigner(Ed25519PrivateKey.generate())
            [coin] = self.ledger.allocate(signer.address, [1_000 * SUI_MIST], 1_000 * SUI_MIST)
            accounts.append(Account(signer, coin.id))
        return iter(accounts)

    def _publish(self, compiled: CompiledPackage) -> bytes:
        publisher = self.account()

        def compose(builder: PtbBuilder) -> None:
            cap = builder.publish(compiled.modules, compiled.dependencies)
            builder.transfer([cap], publisher.address)

        receipt = self.run(publisher, compose)
        [package] = [one.id for one in receipt.transaction.effects.changed if one.type_tag == "package"]
        [self._upgrade_cap], self._publisher = receipt.created("UpgradeCap"), publisher
        return package

    def upgrade(self, compiled: CompiledPackage) -> bytes:
        """Publish the contract's next version: its id. `package` stays the one that tests call."""

        def compose(builder: PtbBuilder) -> None:
            cap = self.owned(builder, self._upgrade_cap)
            terms = [arguments.u8(builder, 0), arguments.byte_vector(builder, compiled.digest)]
            ticket = builder.move_call(SUI_FRAMEWORK, "package", "authorize_upgrade", [cap, *terms])
            upgraded = builder.upgrade(self.package, ticket, compiled.modules, compiled.dependencies)
            builder.move_call(SUI_FRAMEWORK, "package", "commit_upgrade", [cap, upgraded])

        receipt = self.run(self._publisher, compose)
        [package] = [one.id for one in receipt.transaction.effects.changed if one.type_tag == "package"]
        return package

    # Transactions

    def submit(self, sender: Account, compose: Compose) -> Receipt:
        """Execute a transaction, whatever comes of it."""
        builder = PtbBuilder()
        compose(builder)
        self._nonce += 1
        gas = AddressBalanceGas(
            _BUDGET,
            self.ledger.reference_gas_price,
            self.ledger.epoch,
            base58(self.ledger.chain_id),
            self._nonce,
        )
        encoded = builder.build(sender.address, gas=gas)
        executed = self._runner.run(self.ledger.execute(encoded, [sender.signer.sign(encoded)]))
        return Receipt(executed, encoded)

    def run(self, sender: Account, compose: Compose) -> Receipt:
        """Execute a transaction that must succeed."""
        receipt = self.submit(sender, compose)
        assert receipt.failure is None, self._explain(receipt)
        return receipt

    def abort(self, sender: Account, compose: Compose) -> str:
        """Execute a transaction that must abort in the contract: the name of the abort."""
        return self.name_of(self.submit(sender, compose))

    def name_of(self, receipt: Receipt) -> str:
        """The name of the contract's abort in which a transaction must have ended."""
        assert receipt.aborted is not None, self._explain(receipt)
        assert receipt.aborted.package == self.package, self._explain(receipt)
        assert receipt.events == []
        return self._names[receipt.aborted.module, receipt.aborted.code]

    def _explain(self, receipt: Receipt) -> str:
        if receipt.failure is None:
            return "the transaction succeeded"
        detail = receipt.aborted
        name = None if detail is None else self._names.get((detail.module, detail.code))
        return f"{name or ''} {receipt.failure} {detail}"

    # State

    def find(self, object_id: bytes) -> StoredObject | None:
        return self.ledger.final.get(object_id)

    def object(self, object_id: bytes) -> StoredObject:
        found = self.find(object_id)
        assert found is not None
        return found

    def read(self, object_id: bytes) -> ChainObject:
        """The object as an adapter of the product would show it."""
        found = self.object(object_id)
        shared = found.owner.kind is OwnerKind.SHARED
        owner = Owner("shared", None, found.owner.initial_version) if shared else Owner("object")
        digests = base58(found.digest), base58(found.previous_transaction)
        return ChainObject(
            found.id, found.version, digests[0], found.type_tag, found.contents, owner, digests[1]
        )

    def shared(self, object_id: bytes) -> SharedRef:
        return SharedRef(object_id, self.object(object_id).owner.initial_version)

    def owned(self, builder: PtbBuilder, object_id: bytes) -> Argument:
        """The object, at its present version, as an argument."""
        found = self.object(object_id)
        return builder.owned(ObjectRef(found.id, found.version, base58(found.digest)))

    def balance(self, account: Account) -> int:
        """MIST of the address balance."""
        return self.ledger.final.balance(account.address, SUI)

    def forge(self, object_id: bytes, contents: bytes) -> None:
        """Give an object contents that a later version of the package could leave."""
        self.ledger.rewrite_object(object_id, contents)
