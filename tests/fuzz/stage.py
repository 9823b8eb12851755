"""A ledger in process with the contract on it: real Move VM; accounts and ids follow from the seed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.sui.builder import TransactionBuilder, nested, valid_now
from infra.local.sui.compiler import CompiledPackage, compile_package
from infra.local.sui.keys import Key
from infra.local.sui.ledger.checkpoints import ExecutedTransaction
from infra.local.sui.ledger.clock import ManualClock
from infra.local.sui.ledger.errors import AbortDetail, TransactionRefusedError
from infra.local.sui.ledger.ledger import Ledger, LedgerSettings
from infra.local.sui.ledger.objects import OwnerKind
from infra.local.sui.ledger.transactions import (
    Argument as Place,
)
from infra.local.sui.ledger.transactions import (
    ObjectRef,
    OwnedObject,
    SharedObject,
)
from infra.local.sui.vm import SandboxVm
from k3s_daas.aborts import abort_name
from tests.fuzz.functions import SOURCES, Parameter
from tests.fuzz.model import ARGUMENT, Call
from tests.fuzz.state import View
from tests.fuzz.values import Argument, Chunks, Object, Payment, PolicyCall, Pure

MOVE = SOURCES.parent
BYTECODE = MOVE.parent / "build" / "move" / "bytecode.json"
START_MS = 1_750_000_000_000
SUI_MIST = 1_000_000_000
_BUDGET = 20 * SUI_MIST
_FORTUNE = 1_000_000_000 * SUI_MIST
SUCCESS = "success"
_RETURNED_BY_VALUE = frozenset({"ClusterCap", "PauseCap", "MemberCap", "AccessCap", "Coin<SUI>"})
_MALFORMED = frozenset(
    {
        "COMMAND_ARGUMENT_ERROR",
        "ARITY_MISMATCH",
        "INSUFFICIENT_COIN_BALANCE",
        # A wrong object at a parameter that takes a value by reference.
        "FEATURE_NOT_YET_SUPPORTED",
    }
)


@dataclass(frozen=True, slots=True)
class Account:
    """A funded address with one coin; gas comes from its address balance."""

    key: Key
    coin: bytes

    @property
    def address(self) -> bytes:
        return self.key.address


@dataclass(frozen=True, slots=True)
class Result:
    """How a call ended: ``success``, the name of an abort, ``ARGUMENT``, or something that must not be."""

    ending: str
    created: tuple[tuple[str, bytes], ...] = ()
    """(name of the type, id) of new objects."""
    detail: str = ""


class Stage:
    """One chain. Everything on it is a function of the seed and of the calls."""

    def __init__(self, seed: int, accounts: int) -> None:
        self._runner = asyncio.Runner()
        self._vm = SandboxVm(workers=1)
        self.clock = ManualClock(START_MS)
        genesis = hashlib.sha256(b"fuzz %d" % seed).digest()
        settings = LedgerSettings(finality_ms=0, checkpoint_ms=0, genesis_seed=genesis)
        self.ledger = Ledger(self._vm, settings=settings, clock=self.clock)
        self.accounts = [self._allocate(signing_key(f"account {n} of seed {seed}")) for n in range(accounts)]
        self._by_address = {account.address: account for account in self.accounts}
        self._nonce = 0
        self.package = self._publish(compiled())
        self.view = View(self.ledger, self.package)

    def close(self) -> None:
        self._runner.run(self.ledger.close())
        self._runner.run(self._vm.close())
        self._runner.close()

    def perform(self, call: Call) -> Result:
        """Sign and execute a call, whatever comes of it."""
        builder = TransactionBuilder()
        sender = self._by_address[call.sender]
        arguments = _Arguments(self, builder, sender)
        places = [arguments.place(*pair) for pair in _paired(call)]
        result = builder.call(self.package, call.function.path, *places)
        if call.function.returns in _RETURNED_BY_VALUE:
            builder.transfer(call.sender, result)
        try:
            executed = self._execute(builder, sender)
        except TransactionRefusedError as refused:
            return Result(ARGUMENT, detail=str(refused))
        return _result(executed, self.package)

    def _execute(self, builder: TransactionBuilder, sender: Account) -> ExecutedTransaction:
        self._nonce += 1
        expiration = valid_now(self.ledger.chain_id, self.ledger.epoch, self._nonce)
        encoded = builder.build(sender.key, budget=_BUDGET, expiration=expiration)
        return self._runner.run(self.ledger.execute(encoded, [sender.key.sign(encoded)]))

    def _allocate(self, private: Ed25519PrivateKey) -> Account:
        public = private.public_key().public_bytes_raw()
        key = Key(0, public, private.private_bytes_raw(), private.sign)
        [coin] = self.ledger.allocate(key.address, [_FORTUNE], _FORTUNE)
        return Account(key, coin.id)

    def _publish(self, package: CompiledPackage) -> bytes:
        builder = TransactionBuilder()
        cap = builder.publish(package.modules, package.dependencies)
        builder.transfer(self.accounts[0].address, cap)
        executed = self._execute(builder, self.accounts[0])
        [found] = [one.id for one in executed.effects.changed if one.type_tag == "package"]
        return found


class _Arguments:
    """Puts arguments into a transaction; an object that comes twice stays one input."""

    def __init__(self, stage: Stage, builder: TransactionBuilder, sender: Account) -> None:
        self._stage = stage
        self._builder = builder
        self._sender = sender
        self._objects: dict[bytes, Place] = {}

    def place(self, parameter: Parameter | None, argument: Argument) -> Place:
        match argument:
            case Pure(data):
                return self._builder.pure(data)
            case Chunks(parts):
                places = [self._builder.pure(part.data) for part in parts]
                return self._builder.vector(*places, element_type="vector<u8>")
            case Payment(amount):
                coin = self._object(self._sender.coin, mutable=True)
                return nested(self._builder.split(coin, self._builder.u64(amount)), 0)
            case PolicyCall(values):
                places = [self._builder.pure(value.data) for value in values]
                return self._builder.call(self._stage.package, "cluster::new_policy", *places)
            case Object(object_id):
                return self._object(object_id, mutable=parameter is None or parameter.mutable)

    def _object(self, object_id: bytes, *, mutable: bool) -> Place:
        known = self._objects.get(object_id)
        if known is None:
            known = self._objects[object_id] = self._input(object_id, mutable=mutable)
        return known

    def _input(self, object_id: bytes, *, mutable: bool) -> Place:
        stored = self._stage.view.find(object_id)
        inputs = self._builder.inputs
        if stored is None:
            inputs.append(SharedObject(object_id, 1, mutable))
        elif stored.owner.kind is OwnerKind.SHARED:
            # Nobody may change the clock.
            inputs.append(SharedObject(object_id, stored.owner.initial_version, mutable))
        else:
            inputs.append(OwnedObject(ObjectRef(stored.id, stored.version, stored.digest)))
        return Place("input", len(inputs) - 1)


def _paired(call: Call) -> Sequence[tuple[Parameter | None, Argument]]:
    parameters = call.function.parameters
    return [
        (parameters[i] if i < len(parameters) else None, argument)
        for i, argument in enumerate(call.arguments)
    ]


def _result(executed: ExecutedTransaction, package: bytes) -> Result:
    failure = executed.effects.failure
    if failure is None:
        created = tuple(
            (one.type_tag.partition("<")[0].rpartition("::")[2], one.id)
            for one in executed.effects.changed
            if one.before is None and one.after is not None
        )
        return Result(SUCCESS, created)
    if isinstance(failure.detail, AbortDetail):
        detail = failure.detail
        name = abort_name(detail.module, detail.code) if detail.package == package else None
        return Result(name or f"abort {detail.module}::{detail.code}", detail=failure.message)
    return Result(ARGUMENT if failure.kind in _MALFORMED else failure.kind, detail=failure.message)


def signing_key(label: str) -> Ed25519PrivateKey:
    """A key that everybody can make again from its label."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(label.encode()).digest())


def compiled() -> CompiledPackage:
    """What `make move` made, if no source is newer."""
    sources: list[Path] = [MOVE / "Move.toml", *SOURCES.glob("*.move")]
    newest = max(source.stat().st_mtime for source in sources)
    if BYTECODE.exists() and BYTECODE.stat().st_mtime > newest:
        return CompiledPackage.from_json(BYTECODE.read_text())
    return compile_package(MOVE)
