"""A ledger over a scripted VM: the functions of its package ``box`` are Python, so the ledger is tested."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from infra.local.sui.builder import TransactionBuilder, valid_now
from infra.local.sui.bytecode.interface import DatatypeDeclaration, Field, ModuleInterface
from infra.local.sui.bytecode.types import Datatype, Primitive
from infra.local.sui.execution import (
    CallOutcome,
    ChildRemoved,
    ChildWritten,
    Consumed,
    EmittedEvent,
    FunctionSignature,
    MoveAbortError,
    MoveCall,
    Mutated,
    ObjectInput,
    ObjectValue,
    PackageInterface,
    PureInput,
    ReturnValue,
    Shared,
    Transferred,
    TxFrame,
)
from infra.local.sui.keys import Key, ed25519_key
from infra.local.sui.ledger import bcs
from infra.local.sui.ledger.checkpoints import ExecutedTransaction
from infra.local.sui.ledger.clock import ManualClock
from infra.local.sui.ledger.digests import fresh_id
from infra.local.sui.ledger.effects import IdOperation
from infra.local.sui.ledger.ledger import Ledger, LedgerSettings
from infra.local.sui.ledger.objects import StoredObject
from infra.local.sui.ledger.type_tags import SUI_FRAMEWORK, framework_type

PACKAGE = bytes(31) + b"\xaa"
NAME = f"0x{PACKAGE.hex()}::box"
BOX = f"{NAME}::Box"
NAILED = f"{NAME}::Nailed"
OPENED = f"{NAME}::Opened"
TICKET = f"{NAME}::Ticket"
STRING = f"0x{bytes(31).hex()}01::string::String"
ASCII = f"0x{bytes(31).hex()}01::ascii::String"
CLOCK = framework_type("clock::Clock")
ABORTED_WITH = 7
START_MS = 1_700_000_000_000
FUNDS = 10**12

Script = Callable[[MoveCall, TxFrame, Mapping[bytes, Sequence[ObjectValue]], int], Awaitable[CallOutcome]]


def number_of(value: ObjectValue | StoredObject) -> int:
    return int.from_bytes(value.contents[32:40], "little")


def box(box_id: bytes, number: int, type_tag: str = BOX) -> ObjectValue:
    return ObjectValue(box_id, type_tag, box_id + bcs.u64(number))


def _value(call: MoveCall, position: int) -> ObjectValue:
    argument = call.arguments[position]
    assert isinstance(argument, ObjectInput)
    return argument.value


def _pure(call: MoveCall, position: int) -> bytes:
    argument = call.arguments[position]
    assert isinstance(argument, PureInput)
    return argument.value


class BoxVm:
    """The functions of ``box``. ``calls`` are those that ran; ``gate`` holds calls of ``wait`` back."""

    def __init__(self) -> None:
        self.calls: list[MoveCall] = []
        self.children: list[Mapping[bytes, Sequence[ObjectValue]]] = []
        self.gate = asyncio.Event()
        self.arrived = asyncio.Event()
        self.waiting = 0
        self._scripts: dict[str, Script] = {
            name.removeprefix("_do_"): getattr(self, name) for name in dir(self) if name.startswith("_do_")
        }

    def publish(
        self,
        package: bytes,
        modules: Sequence[bytes],
        dependencies: Sequence[bytes],
        previous: PackageInterface | None = None,
    ) -> PackageInterface:
        raise NotImplementedError

    async def call(
        self,
        call: MoveCall,
        frame: TxFrame,
        children: Mapping[bytes, Sequence[ObjectValue]],
        *,
        clock_ms: int,
    ) -> CallOutcome:
        self.calls.append(call)
        self.children.append(children)
        return await self._scripts[call.function](call, frame, children, clock_ms)

    async def close(self) -> None:
        pass

    @staticmethod
    def _new(frame: TxFrame, number: int, type_tag: str = BOX) -> ObjectValue:
        return box(fresh_id(frame.digest, frame.ids_created), number, type_tag)

    async def _do_make(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        made = self._new(frame, int.from_bytes(_pure(call, 0), "little"))
        returned = ReturnValue(BOX, made.contents, is_object=True)
        return CallOutcome(returns=(returned,), ids_created=frame.ids_created + 1)

    async def _do_nail(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        made = self._new(frame, 1, NAILED)
        returned = ReturnValue(NAILED, made.contents, is_object=True)
        return CallOutcome(returns=(returned,), ids_created=frame.ids_created + 1)

    async def _do_share(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        made = self._new(frame, int.from_bytes(_pure(call, 0), "little"))
        return CallOutcome(changes=(Shared(made),), ids_created=frame.ids_created + 1)

    async def _do_set(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        changed = box(_value(call, 0).id, int.from_bytes(_pure(call, 1), "little"))
        event = EmittedEvent(OPENED, _pure(call, 1))
        return CallOutcome((Mutated(changed),), (event,), ids_created=frame.ids_created, gas_units=10)

    async def _do_add_one(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        seen = number_of(_value(call, 0))
        self.waiting += 1
        self.arrived.set()
        await self.gate.wait()
        changed = box(_value(call, 0).id, seen + 1)
        return CallOutcome((Mutated(changed),), ids_created=frame.ids_created)

    async def _do_read(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        returned = ReturnValue("u64", _value(call, 0).contents[32:], is_object=False)
        return CallOutcome(returns=(returned,), ids_created=frame.ids_created)

    async def _do_fail(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        raise MoveAbortError(NAME, ABORTED_WITH, "fail")

    async def _do_crush(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        return CallOutcome((Consumed(_value(call, 0).id),), ids_created=frame.ids_created)

    async def _do_post(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        return CallOutcome((Transferred(_value(call, 0), _pure(call, 1)),), ids_created=frame.ids_created)

    async def _do_say(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        return CallOutcome(ids_created=frame.ids_created)

    _do_whisper = _do_swap = _do_secret = _do_tick = _do_say

    async def _do_ticket(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        returned = ReturnValue(TICKET, b"\0", is_object=False)
        return CallOutcome(returns=(returned,), ids_created=frame.ids_created)

    async def _do_put(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        child = self._new(frame, int.from_bytes(_pure(call, 1), "little"))
        return CallOutcome((ChildWritten(_value(call, 0).id, child),), ids_created=frame.ids_created + 1)

    async def _do_clear(
        self, call: MoveCall, frame: TxFrame, children: Mapping[bytes, Sequence[ObjectValue]], __: int
    ) -> CallOutcome:
        parent = _value(call, 0).id
        gone = tuple(ChildRemoved(parent, child.id) for child in children.get(parent, ()))
        return CallOutcome(gone, ids_created=frame.ids_created)

    async def _do_grow(self, call: MoveCall, frame: TxFrame, _: object, __: int) -> CallOutcome:
        value = _value(call, 0)
        return CallOutcome(
            (Mutated(ObjectValue(value.id, BOX, value.contents + bytes(256_000))),),
            ids_created=frame.ids_created,
        )


def _signature(*parameters: str, public: bool = True, entry: bool = False) -> FunctionSignature:
    objects = tuple(p.split(" ")[-1].lstrip("&") in {BOX, NAILED, CLOCK} for p in parameters)
    return FunctionSignature(parameters, objects, (), 0, public, entry)


INTERFACE = PackageInterface(
    PACKAGE,
    {},
    {
        "box": {
            "make": _signature("u64"),
            "nail": _signature(),
            "share": _signature("u64"),
            "set": _signature(f"&mut {BOX}", "u64"),
            "add_one": _signature(f"&mut {BOX}"),
            "read": _signature(f"&{BOX}"),
            "fail": _signature(),
            "crush": _signature(BOX),
            "post": _signature(BOX, "address"),
            "say": _signature(STRING),
            "whisper": _signature(ASCII),
            "swap": _signature(f"&mut {BOX}", f"&mut {BOX}"),
            "secret": _signature(public=False),
            "tick": _signature(f"&{CLOCK}"),
            "ticket": _signature(),
            "put": _signature(f"&mut {BOX}", "u64"),
            "clear": _signature(f"&mut {BOX}"),
            "grow": _signature(f"&mut {BOX}"),
        }
    },
)
_FIELDS = (Field("id", Datatype(SUI_FRAMEWORK, "object", "UID")), Field("number", Primitive("u64")))
DECLARATIONS = ModuleInterface(
    PACKAGE,
    "box",
    (),
    {
        "Box": DatatypeDeclaration("Box", ("key", "store"), (), _FIELDS),
        "Nailed": DatatypeDeclaration("Nailed", ("key",), (), _FIELDS),
        "Opened": DatatypeDeclaration("Opened", ("copy", "drop"), (), (Field("number", Primitive("u64")),)),
        "Ticket": DatatypeDeclaration("Ticket", (), (), (Field("dummy_field", Primitive("bool")),)),
    },
    {},
)


class World:
    """A ledger, a rich key and short ways to do things."""

    def __init__(self, *, finality_ms: int = 0, checkpoint_ms: int = 0) -> None:
        self.vm = BoxVm()
        self.vm.gate.set()
        self.clock = ManualClock(START_MS)
        settings = LedgerSettings(finality_ms, checkpoint_ms, genesis_seed=b"seed")
        self.ledger = Ledger(self.vm, settings=settings, clock=self.clock, packages=[INTERFACE])
        self.ledger.datatypes.declare(PACKAGE, DECLARATIONS)
        self.key = ed25519_key()
        self.coins = self.ledger.allocate(self.key.address, [FUNDS, FUNDS, FUNDS], balance=FUNDS)
        self._nonce = 0

    def sign(
        self, transaction: TransactionBuilder, key: Key | None = None, **options: object
    ) -> tuple[bytes, bytes]:
        """Bytes and signature; the address balance pays unless coins are given."""
        key = key or self.key
        self._nonce += 1
        if "coins" not in options and "expiration" not in options:
            options["expiration"] = valid_now(self.ledger.chain_id, self.ledger.epoch, self._nonce)
        encoded = transaction.build(key, **options)  # type: ignore[arg-type]  # passed through
        return encoded, key.sign(encoded)

    async def run(
        self, transaction: TransactionBuilder, key: Key | None = None, **options: object
    ) -> ExecutedTransaction:
        encoded, signature = self.sign(transaction, key, **options)
        return await self.ledger.execute(encoded, [signature])

    async def call(self, function: str, *pures: bytes) -> ExecutedTransaction:
        """Call a function that takes pure arguments only."""
        transaction = TransactionBuilder()
        transaction.call(PACKAGE, f"box::{function}", *(transaction.pure(value) for value in pures))
        return await self.run(transaction)

    async def shared_box(self, number: int = 0) -> StoredObject:
        return self.created(await self.call("share", bcs.u64(number)))

    async def owned_box(self, number: int = 0) -> StoredObject:
        transaction = TransactionBuilder()
        made = transaction.call(PACKAGE, "box::make", transaction.u64(number))
        transaction.transfer(self.key.address, made)
        return self.created(await self.run(transaction))

    def created(self, executed: ExecutedTransaction) -> StoredObject:
        assert executed.effects.success, executed.effects.failure
        (changed,) = (c for c in executed.effects.changed if c.id_operation is IdOperation.CREATED)
        return self.live(changed.id)

    def live(self, object_id: bytes) -> StoredObject:
        stored = self.ledger.final.get(object_id)
        assert stored is not None
        return stored


def setting(target: StoredObject, number: int) -> TransactionBuilder:
    """A transaction that changes a box, shared or owned."""
    transaction = TransactionBuilder()
    is_shared = target.owner.initial_version > 0
    argument = transaction.shared(target) if is_shared else transaction.owned(target)
    transaction.call(PACKAGE, "box::set", argument, transaction.u64(number))
    return transaction
