"""Which functions call which, and modules without the bodies of functions that nothing calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .instructions import CALL_GENERIC, skip_code
from .interface import NATIVE_FLAG
from .reader import Cursor, Table, read_layout, replace_tables, table_bytes

FunctionId = tuple[bytes, str, str]
"""Address, module and name."""
_ABORTING = b"\x02\x06" + b"\xff" * 8 + b"\x27"
"""Two instructions: ``LdU64(0xFFFF_FFFF_FFFF_FFFF)``, ``Abort``."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A function in a module's bytes: ``encoded`` is its whole entry, ``body`` where its code unit begins."""

    id: FunctionId
    encoded: bytes
    body: int | None
    """None for a native function."""
    calls: frozenset[FunctionId]


@lru_cache(maxsize=1024)
def definitions(module: bytes) -> tuple[Definition, ...]:
    """The functions of a module, in order. Raises BytecodeError if it is none."""
    return _Reader(module).read()


class _Reader:
    def __init__(self, module: bytes) -> None:
        self._layout = read_layout(module)
        self._module = module
        addresses = self._table(Table.ADDRESSES)
        identifiers = []
        cursor = Cursor(self._table(Table.IDENTIFIERS))
        while not cursor.exhausted:
            identifiers.append(cursor.blob().decode("ascii"))
        self._modules = []
        cursor = Cursor(self._table(Table.MODULE_HANDLES))
        while not cursor.exhausted:
            at = 32 * cursor.uleb()
            self._modules.append((addresses[at : at + 32], identifiers[cursor.uleb()]))
        self._handles: list[FunctionId] = []
        cursor = Cursor(self._table(Table.FUNCTION_HANDLES))
        while not cursor.exhausted:
            self._handles.append((*self._modules[cursor.uleb()], identifiers[cursor.uleb()]))
            for _ in range(2):
                cursor.uleb()  # signatures of parameters and results
            for _ in range(cursor.uleb()):
                cursor.uleb()  # constraints of a type parameter
        self._instantiations = []
        cursor = Cursor(self._table(Table.FUNCTION_INSTANTIATIONS))
        while not cursor.exhausted:
            self._instantiations.append(self._handles[cursor.uleb()])
            cursor.uleb()  # type arguments

    def _table(self, kind: Table) -> bytes:
        return table_bytes(self._module, self._layout, kind)

    def read(self) -> tuple[Definition, ...]:
        table = self._table(Table.FUNCTION_DEFINITIONS)
        cursor = Cursor(table)
        found = []
        while not cursor.exhausted:
            start = cursor.position
            own = self._handles[cursor.uleb()]
            cursor.byte()  # visibility
            native = bool(cursor.byte() & NATIVE_FLAG)
            for _ in range(cursor.uleb()):
                cursor.uleb()  # acquires
            body = None if native else cursor.position - start
            calls = frozenset() if native else frozenset(self._calls(cursor))
            found.append(Definition(own, table[start : cursor.position], body, calls))
        return tuple(found)

    def _calls(self, cursor: Cursor) -> list[FunctionId]:
        calls = skip_code(cursor, with_jump_tables=has_jump_tables(self._module))
        return [
            self._instantiations[index] if opcode == CALL_GENERIC else self._handles[index]
            for opcode, index in calls
        ]


def has_jump_tables(module: bytes) -> bool:
    """Since version 7 a code unit ends with them."""
    return module[4] >= 7


def reachable(modules: Sequence[bytes], roots: Sequence[FunctionId]) -> set[FunctionId]:
    """Every function that can run when one of ``roots`` is called: Move has no calls but those in code."""
    calls = {one.id: one.calls for module in modules for one in definitions(module)}
    found = set(roots)
    pending = list(roots)
    while pending:
        for called in calls.get(pending.pop(), ()):
            if called not in found:
                found.add(called)
                pending.append(called)
    return found


def keep_bodies(module: bytes, kept: set[FunctionId]) -> bytes:
    """The module in which every function but ``kept`` (and natives) does nothing but abort.

    What it declares stays as it is; verifying it costs the VM less.
    """
    functions = definitions(module)
    if all(one.body is None or one.id in kept for one in functions):
        return module
    rows = b"".join(
        one.encoded if one.body is None or one.id in kept else _emptied(module, one.encoded, one.body)
        for one in functions
    )
    return replace_tables(module, read_layout(module), {Table.FUNCTION_DEFINITIONS: rows})


def _emptied(module: bytes, encoded: bytes, body: int) -> bytes:
    cursor = Cursor(encoded, body)
    cursor.uleb()  # the locals' signature, which may stay
    jump_tables = b"\x00" if has_jump_tables(module) else b""
    return encoded[: cursor.position] + _ABORTING + jump_tables
