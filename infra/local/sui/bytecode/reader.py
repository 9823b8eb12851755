"""The Move binary format, versions 6 and 7: the table header and cursors into the tables.

Layout: magic, u32 version, number of tables, then (kind, offset, length) per table, the tables, and the
index of the module's own handle. Numbers are ULEB128; offsets count from the end of the header.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from ..uleb import encode_uleb

MAGIC = b"\xa1\x1c\xeb\x0b"
SUPPORTED_VERSIONS = (6, 7)
_VERSION_MASK = 0x00FF_FFFF
"""The top byte of the version field names the flavor (5 is Sui) since version 7."""


class BytecodeError(ValueError):
    """The bytes are not a Move module of a version that is understood here."""


class Table(IntEnum):
    """Kinds of tables that are read here; the others are passed over."""

    MODULE_HANDLES = 0x1
    DATATYPE_HANDLES = 0x2
    FUNCTION_HANDLES = 0x3
    FUNCTION_INSTANTIATIONS = 0x4
    SIGNATURES = 0x5
    IDENTIFIERS = 0x7
    ADDRESSES = 0x8
    STRUCT_DEFINITIONS = 0xA
    FUNCTION_DEFINITIONS = 0xC
    ENUM_DEFINITIONS = 0x11


class Cursor:
    """Reads a byte string from a position up to an end."""

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end

    @property
    def exhausted(self) -> bool:
        return self.position >= self.end

    def take(self, count: int) -> bytes:
        if self.position + count > self.end:
            raise BytecodeError("the bytes end in the middle of a value")
        taken = self.data[self.position : self.position + count]
        self.position += count
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def uleb(self) -> int:
        number = shift = 0
        while True:
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number
            if shift > 63:
                raise BytecodeError("a number is too long")

    def blob(self) -> bytes:
        """Bytes behind their length."""
        return self.take(self.uleb())


@dataclass(frozen=True, slots=True)
class TableSpan:
    """Where a table lies in the module's bytes."""

    kind: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class ModuleLayout:
    """The header of a module: its version field, its tables in order, where they begin and end."""

    version_field: bytes
    tables: tuple[TableSpan, ...]
    body: int
    tail: bytes
    """What follows the tables: the index of the module's own handle."""

    def span(self, kind: Table) -> TableSpan | None:
        return next((table for table in self.tables if table.kind == kind), None)


def read_layout(module: bytes) -> ModuleLayout:
    """Raises BytecodeError if the header is not that of a Move module."""
    cursor = Cursor(module)
    if cursor.take(4) != MAGIC:
        raise BytecodeError("not a Move module: the magic number is missing")
    version_field = cursor.take(4)
    version = int.from_bytes(version_field, "little") & _VERSION_MASK
    if version not in SUPPORTED_VERSIONS:
        raise BytecodeError(f"Move binary format {version} is not understood, only {SUPPORTED_VERSIONS}")
    raw = [(cursor.byte(), cursor.uleb(), cursor.uleb()) for _ in range(cursor.uleb())]
    body = cursor.position
    tables = tuple(TableSpan(kind, body + offset, length) for kind, offset, length in raw)
    end = max((table.start + table.length for table in tables), default=body)
    if end >= len(module):
        raise BytecodeError("the module's tables reach beyond its end")
    return ModuleLayout(version_field, tables, body, module[end:])


def table_bytes(module: bytes, layout: ModuleLayout, kind: Table) -> bytes:
    span = layout.span(kind)
    return b"" if span is None else module[span.start : span.start + span.length]


def replace_tables(module: bytes, layout: ModuleLayout, replacements: dict[Table, bytes]) -> bytes:
    """The module with the contents of some tables exchanged, offsets and lengths adjusted, all else kept."""
    contents = [
        (table.kind, replacements.get(Table(table.kind)) if table.kind in set(Table) else None, table)
        for table in layout.tables
    ]
    header, body = bytearray(), bytearray()
    for kind, replacement, table in sorted(contents, key=lambda entry: entry[2].start):
        data = module[table.start : table.start + table.length] if replacement is None else replacement
        header += bytes([kind]) + encode_uleb(len(body)) + encode_uleb(len(data))
        body += data
    count = encode_uleb(len(layout.tables))
    return bytes(MAGIC + layout.version_field + count + header + body + layout.tail)
