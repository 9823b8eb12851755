"""One run of a driver in the native VM: what goes in, what comes out, and how its errors are told apart."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sui_sandbox

from ..bytecode.reader import Cursor
from ..execution import MoveAbortError, MoveExecutionError, ObjectValue, TxFrame
from ..framework import PACKAGE_NAMES, SUI
from .drivers import BORROWABLE_FIELD_TYPES, DRIVER_ADDRESS, DRIVER_FUNCTION
from .shims import REDIRECTS, UNSUPPORTED_ABORT
from .trace import Entry, borrowed_types, read_entries

_UNUSED_FIELD_TYPE = f"0x{SUI.hex()}::trace::Unused"
_ABORT = re.compile(
    r"major_status: ABORTED, sub_status: Some\((\d+)\).*?"
    r"location: Module\(ModuleId \{ address: ([0-9a-f]{64}), name: Identifier\(\"(\w+)\"\)",
    re.DOTALL,
)
_FUNCTION = re.compile(r"(?:0x)?[0-9a-f]+::(\w+)::(\w+) at offset")
_STATUS = re.compile(r"major_status: (\w+)")
_MESSAGE = re.compile(r"message: Some\(\"(.{0,300}?)\"\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Invocation:
    """A driver to run. ``modules`` is everything that it needs, itself included."""

    driver: str
    modules: Sequence[bytes]
    type_arguments: tuple[str, ...]
    arguments: tuple[bytes, ...]
    frame: TxFrame
    children: Mapping[bytes, Sequence[ObjectValue]]


@dataclass(frozen=True, slots=True)
class Result:
    entries: tuple[Entry, ...]
    ids_created: int
    """How many ids the whole transaction has drawn after this call."""
    gas_units: int


def invoke(invocation: Invocation, known_field_types: list[str]) -> Result:
    """Run a driver, again if needed, until the state of every dynamic field that was borrowed is reported.

    ``known_field_types`` are those that earlier runs of the driver borrowed; new ones are added to it.

    Raises:
        MoveAbortError: the code aborted.
        MoveExecutionError: the VM refused, or the call does what this VM cannot do.
    """
    while True:
        result = _run(invocation, known_field_types)
        missing = [one for one in borrowed_types(result.entries) if one not in known_field_types]
        if not missing:
            return result
        if len(known_field_types) + len(missing) > BORROWABLE_FIELD_TYPES:
            # Types known from other calls give way; those of this one must fit.
            known_field_types.clear()
            missing = borrowed_types(result.entries)
        if len(missing) > BORROWABLE_FIELD_TYPES:
            raise MoveExecutionError(
                f"the call changes dynamic fields of {len(missing)} types; "
                f"this VM can report {BORROWABLE_FIELD_TYPES}"
            )
        known_field_types += missing


def _run(invocation: Invocation, field_types: Sequence[str]) -> Result:
    frame = invocation.frame
    unused = [_UNUSED_FIELD_TYPE] * (BORROWABLE_FIELD_TYPES - len(field_types))
    package = f"0x{DRIVER_ADDRESS.hex()}"
    reply = sui_sandbox.call_view_function(
        package,
        invocation.driver,
        DRIVER_FUNCTION,
        type_args=[*invocation.type_arguments, *field_types, *unused],
        pure_inputs=[
            *invocation.arguments,
            frame.sender,
            bytes([len(frame.digest)]) + frame.digest,
            *(_u64(number) for number in (frame.epoch, frame.epoch_timestamp_ms, frame.ids_created)),
            _u64(len(field_types)),
        ],
        child_objects=_child_objects(invocation.children) or None,
        # The VM takes the address of the first module, the driver, for that of the package.
        package_bytecodes={package: list(invocation.modules)},
        fetch_deps=False,
    )
    if not reply["success"]:
        raise _failure(reply["error"] or "")
    record, ids = (base64.b64decode(one) for one in reply["return_values"][0])
    entries = tuple(read_entries(Cursor(record).blob()))
    return Result(entries, int.from_bytes(ids, "little"), reply["gas_used"])


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def _child_objects(children: Mapping[bytes, Sequence[ObjectValue]]) -> dict[str, list[dict[str, Any]]]:
    return {
        f"0x{parent.hex()}": [
            {"child_id": f"0x{one.id.hex()}", "bcs_bytes": one.contents, "type_tag": one.type_tag}
            for one in values
        ]
        for parent, values in children.items()
        if values
    }


def _failure(text: str) -> Exception:
    aborted = _ABORT.search(text)
    located = _FUNCTION.search(text)
    function = located[2] if located else None
    if aborted is None:
        status, message = _STATUS.search(text), _MESSAGE.search(text)
        told = " ".join(found[1] for found in (status, message) if found) or text[:300]
        return MoveExecutionError(told)
    code, address, name = int(aborted[1]), bytes.fromhex(aborted[2]), aborted[3]
    if code == UNSUPPORTED_ABORT and address == SUI:
        return MoveExecutionError(
            f"sui::{name}::{function or '?'} is called, which the local Move VM does not support"
        )
    originals = {replacement: original for (_, original), replacement in REDIRECTS.items()}
    if address in PACKAGE_NAMES:
        name = originals.get(name, name)
    return MoveAbortError(f"0x{address.hex()}::{name}", code, function)
