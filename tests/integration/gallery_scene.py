"""A package that has nothing to do with this project, on the Move VM behind the seam."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

from infra.local.sui.compiler import CompiledPackage, compile_package
from infra.local.sui.execution import (
    CallInput,
    CallOutcome,
    ChildRemoved,
    ChildWritten,
    MoveCall,
    Mutated,
    ObjectInput,
    ObjectValue,
    PackageInterface,
    PureInput,
    Shared,
    TxFrame,
)
from infra.local.sui.vm import SandboxVm

PACKAGES = Path(__file__).parent / "packages"
GALLERY, GUIDE = b"\x77" * 32, b"\x66" * 32
SENDER, DIGEST = b"\xa1" * 32, b"\xd1" * 32
FRAME = TxFrame(SENDER, DIGEST, epoch=3, epoch_timestamp_ms=1_000, ids_created=0)
NOW_MS = 777
STD, SUI = bytes(31) + b"\x01", bytes(31) + b"\x02"
SUI_TYPE = f"0x{SUI.hex()}::sui::SUI"
COIN_TYPE = f"0x{SUI.hex()}::coin::Coin<{SUI_TYPE}>"
CLOCK = ObjectInput(
    ObjectValue(
        bytes(31) + b"\x06",
        f"0x{SUI.hex()}::clock::Clock",
        bytes(31) + b"\x06" + NOW_MS.to_bytes(8, "little"),
    ),
    shared=True,
)

Kind = TypeVar("Kind")


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def blob(data: bytes | str) -> bytes:
    raw = data.encode() if isinstance(data, str) else data
    assert len(raw) < 128
    return bytes([len(raw)]) + raw


def pure(value: int | str | bytes) -> PureInput:
    return PureInput(u64(value) if isinstance(value, int) else blob(value))


def coin(amount: int) -> ObjectInput:
    return ObjectInput(ObjectValue(b"\xc0" * 32, COIN_TYPE, b"\xc0" * 32 + u64(amount)), shared=False)


def only(outcome: CallOutcome, kind: type[Kind]) -> Kind:
    (found,) = [change for change in outcome.changes if isinstance(change, kind)]
    return found


class Scene:
    """A published gallery, with the state that a ledger would keep between calls."""

    def __init__(self, vm: SandboxVm, package: PackageInterface) -> None:
        self.vm = vm
        self.package = package
        self.objects: dict[bytes, ObjectInput] = {}
        self.children: dict[bytes, dict[bytes, ObjectValue]] = {}
        self.gallery_id = b""

    @property
    def gallery(self) -> ObjectInput:
        return self.objects[self.gallery_id]

    async def call(
        self,
        function: str,
        *arguments: CallInput,
        module: str = "gallery",
        types: tuple[str, ...] = (),
        package: bytes = GALLERY,
        frame: TxFrame = FRAME,
    ) -> CallOutcome:
        children = {parent: tuple(values.values()) for parent, values in self.children.items()}
        outcome = await self.vm.call(
            MoveCall(package, module, function, types, arguments), frame, children, clock_ms=NOW_MS
        )
        for change in outcome.changes:
            match change:
                case Shared(value):
                    self.objects[value.id] = ObjectInput(value, shared=True)
                case Mutated(value):
                    before = self.objects.get(value.id)
                    self.objects[value.id] = ObjectInput(value, shared=before is not None and before.shared)
                case ChildWritten(parent, value):
                    self.children.setdefault(parent, {})[value.id] = value
                case ChildRemoved(parent, child):
                    del self.children[parent][child]
                case _:
                    pass
        return outcome

    async def new_frame(self, glass: int) -> ObjectInput:
        outcome = await self.call("new_frame", pure(glass))
        (returned,) = outcome.returns
        value = ObjectValue(returned.contents[:32], returned.type_tag, returned.contents)
        return ObjectInput(value, shared=False)

    def type_of(self, name: str) -> str:
        return f"0x{GALLERY.hex()}::gallery::{name}"


@cache
def compiled_gallery() -> CompiledPackage:
    return compile_package(PACKAGES / "gallery")


@asynccontextmanager
async def published_gallery() -> AsyncIterator[Scene]:
    """After `init`."""
    compiled, vm = compiled_gallery(), SandboxVm(workers=1)
    scene = Scene(vm, vm.publish(GALLERY, compiled.modules, compiled.dependencies))
    scene.gallery_id = only(await scene.call("init"), Shared).value.id
    yield scene
    await vm.close()
