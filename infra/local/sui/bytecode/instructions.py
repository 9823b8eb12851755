"""Lengths of Move instructions: enough to step over a function's body and to see what it calls."""

from __future__ import annotations

from .reader import BytecodeError, Cursor

CALL, CALL_GENERIC = 0x11, 0x38
_LAST_OPCODE = 0x56
_FIXED_OPERANDS = {0x06: 8, 0x31: 1, 0x32: 16, 0x48: 2, 0x49: 4, 0x4A: 32}
"""Constants: ``LdU64``, ``LdU8``, ``LdU128``, ``LdU16``, ``LdU32``, ``LdU256``."""
_INDEX_AND_COUNT = frozenset({0x40, 0x46})
"""``VecPack`` and ``VecUnpack``: a signature's index and a u64."""
_INDEX = (
    frozenset({0x03, 0x04, 0x05, 0x07, *range(0x0A, 0x14)})
    | frozenset(range(0x29, 0x2E))
    | frozenset(range(0x36, 0x40))
    | frozenset({0x41, 0x42, 0x43, 0x44, 0x45, 0x47})
    | frozenset(range(0x4E, 0x57))
)
"""Branches, constants, locals, fields, calls, packs, vectors and variants: one index."""


def skip_code(cursor: Cursor, *, with_jump_tables: bool) -> list[tuple[int, int]]:
    """Step over a code unit: the locals' signature, the instructions and (since version 7) jump tables.

    Returns (opcode, index) of its calls: ``CALL`` of a function handle, ``CALL_GENERIC`` of an instantiation.
    """
    calls = []
    cursor.uleb()
    for _ in range(cursor.uleb()):
        opcode = cursor.byte()
        if not 1 <= opcode <= _LAST_OPCODE:
            raise BytecodeError(f"unknown instruction {opcode:#x}")
        if opcode in _FIXED_OPERANDS:
            cursor.take(_FIXED_OPERANDS[opcode])
        elif opcode in _INDEX:
            index = cursor.uleb()
            if opcode in {CALL, CALL_GENERIC}:
                calls.append((opcode, index))
        elif opcode in _INDEX_AND_COUNT:
            cursor.uleb()
            cursor.take(8)
    if with_jump_tables:
        for _ in range(cursor.uleb()):
            _skip_jump_table(cursor)
    return calls


def _skip_jump_table(cursor: Cursor) -> None:
    cursor.uleb()  # the enum
    branches = cursor.uleb()
    cursor.byte()  # "full", the only kind there is
    for _ in range(branches):
        cursor.uleb()
