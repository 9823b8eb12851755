"""What is changed in bytecode so that this VM can run it, and the proof that nothing else is.

Published modules (:func:`publish_at`) differ from compiled ones in their own address only, which is the id of
the package's first version: so every version of a module has the same name for the VM. Executable
modules (:func:`make_executable`) differ from published ones in two things: entry and ``init`` functions are
public, so that another module may call them, and handles of a few framework modules name a replacement.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from ..bytecode.interface import FunctionDeclaration, ModuleInterface, read_interface
from ..bytecode.reader import (
    BytecodeError,
    Cursor,
    Table,
    read_layout,
    replace_tables,
    table_bytes,
)
from ..bytecode.types import Reference
from ..uleb import encode_uleb

ModuleId = tuple[bytes, str]
UNPUBLISHED = bytes(32)
PRIVATE, PUBLIC, PACKAGE = 0, 1, 3


class LinkError(ValueError):
    """Modules that cannot be published or run together; ``kind`` is Sui's name for it, if it has one."""

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind


def publish_at(module: bytes, package: bytes) -> bytes:
    """The module with its own, zero address replaced by the package's runtime id: what a validator stores.

    Raises:
        LinkError: the module has an address already.
    """
    if read_interface(module).address != UNPUBLISHED:
        raise LinkError("a module to be published has the address 0x0; this one was published before")
    return replace_addresses(module, {UNPUBLISHED: package})


def replace_addresses(module: bytes, addresses: Mapping[bytes, bytes]) -> bytes:
    """The module with entries of its address table exchanged. Constants that hold an address stay."""
    layout = read_layout(module)
    table = table_bytes(module, layout, Table.ADDRESSES)
    rows = [table[at : at + 32] for at in range(0, len(table), 32)]
    return replace_tables(
        module, layout, {Table.ADDRESSES: b"".join(addresses.get(row, row) for row in rows)}
    )


def is_callable(function: FunctionDeclaration) -> bool:
    """May a transaction (or, for ``init``, publication) call it, and can its results be passed on?"""
    called = function.visibility == "public" or function.entry or function.name == "init"
    return called and not any(isinstance(one, Reference) for one in function.returns)


def make_executable(published: bytes, redirects: Mapping[ModuleId, str]) -> bytes:
    """The copy that runs; asserts that it is the published one but for what this module's docstring says."""
    exposed = bytearray(published)
    for function in read_interface(published).functions.values():
        if function.visibility != "public" and is_callable(function):
            exposed[function.visibility_offset] = PUBLIC
    executable = rename_modules(bytes(exposed), redirects)
    assert_same_code(published, executable, redirects)
    return executable


def assert_same_code(published: bytes, executable: bytes, redirects: Mapping[ModuleId, str]) -> None:
    """Compare table by table, undoing nothing: every difference must be one of the two allowed ones."""
    before, after = read_layout(published), read_layout(executable)
    assert (before.version_field, before.tail) == (after.version_field, after.tail)
    assert [table.kind for table in before.tables] == [table.kind for table in after.tables]
    for old, new in zip(before.tables, after.tables, strict=True):
        old_bytes = published[old.start : old.start + old.length]
        new_bytes = executable[new.start : new.start + new.length]
        match old.kind:
            case Table.FUNCTION_DEFINITIONS:
                _assert_only_visibility(published, old.start, old_bytes, new_bytes)
            case Table.IDENTIFIERS:
                assert new_bytes.startswith(old_bytes), "identifiers are only added"
            case Table.MODULE_HANDLES:
                _assert_only_redirects(published, executable, redirects)
            case _:
                assert old_bytes == new_bytes, f"table {old.kind:#x} differs"


def _assert_only_visibility(published: bytes, start: int, old: bytes, new: bytes) -> None:
    allowed = {
        function.visibility_offset - start
        for function in read_interface(published).functions.values()
        if is_callable(function)
    }
    assert len(old) == len(new)
    for offset, (before, after) in enumerate(zip(old, new, strict=True)):
        if before != after:
            assert offset in allowed, "a byte of a function differs"
            assert (before, after) in {(PRIVATE, PUBLIC), (PACKAGE, PUBLIC)}, "a visibility is not opened"


def _assert_only_redirects(published: bytes, executable: bytes, redirects: Mapping[ModuleId, str]) -> None:
    before, after = read_interface(published), read_interface(executable)
    assert before.id == after.id
    expected = tuple((address, redirects.get((address, name), name)) for address, name in before.dependencies)
    assert after.dependencies == expected


def rename_modules(module: bytes, names: Mapping[ModuleId, str]) -> bytes:
    """The module with some module handles (its own may be one) naming another module at the same address."""
    interface = read_interface(module)
    if not any(known in names for known in (interface.id, *interface.dependencies)):
        return module
    addresses = table_bytes(module, read_layout(module), Table.ADDRESSES)

    def renamed(cursor: Cursor, identifiers: _Identifiers) -> bytes:
        address, name = cursor.uleb(), cursor.uleb()
        known = (addresses[32 * address : 32 * address + 32], identifiers.names[name])
        chosen = identifiers.index(names[known]) if known in names else name
        return encode_uleb(address) + encode_uleb(chosen)

    return _rewrite(module, Table.MODULE_HANDLES, renamed)


def rename_functions(module: bytes, names: Mapping[str, str]) -> bytes:
    """The module with functions that it defines or calls going by another name."""

    def renamed(cursor: Cursor, identifiers: _Identifiers) -> bytes:
        owner, name = cursor.uleb(), cursor.uleb()
        rest_from = cursor.position
        cursor.uleb()
        cursor.uleb()
        for _ in range(cursor.uleb()):
            cursor.uleb()
        known = identifiers.names[name]
        chosen = identifiers.index(names[known]) if known in names else name
        return encode_uleb(owner) + encode_uleb(chosen) + cursor.data[rest_from : cursor.position]

    return _rewrite(module, Table.FUNCTION_HANDLES, renamed)


class _Identifiers:
    """The identifier table of a module, growing at its end."""

    def __init__(self, table: bytes) -> None:
        self.names: list[str] = []
        cursor = Cursor(table)
        while not cursor.exhausted:
            self.names.append(cursor.blob().decode("ascii"))

    def index(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)

    def encode(self) -> bytes:
        return b"".join(encode_uleb(len(name)) + name.encode("ascii") for name in self.names)


def _rewrite(module: bytes, kind: Table, rewrite: Callable[[Cursor, _Identifiers], bytes]) -> bytes:
    layout = read_layout(module)
    identifiers = _Identifiers(table_bytes(module, layout, Table.IDENTIFIERS))
    cursor = Cursor(table_bytes(module, layout, kind))
    rows = bytearray()
    while not cursor.exhausted:
        rows += rewrite(cursor, identifiers)
    return replace_tables(module, layout, {kind: bytes(rows), Table.IDENTIFIERS: identifiers.encode()})


def dependency_closure(
    roots: Iterable[ModuleId],
    find: Callable[[ModuleId], bytes | None],
    version_of: Callable[[bytes], bytes],
) -> dict[ModuleId, bytes]:
    """``roots``, in their order, and then every module that they need, directly or not.

    Modules are keyed by the version that ``version_of`` chooses for the runtime id by which bytecode names
    their package.

    Raises:
        LinkError: one of them does not exist.
    """
    closure: dict[ModuleId, bytes] = {}
    pending = deque(roots)
    while pending:
        runtime_id, name = pending.popleft()
        module_id = version_of(runtime_id), name
        if module_id in closure:
            continue
        code = find(module_id)
        if code is None:
            raise LinkError(f"module 0x{module_id[0].hex()}::{name} does not exist")
        closure[module_id] = code
        pending += read_interface(code).dependencies
    return closure


def interface_of(module: bytes) -> ModuleInterface:
    """As :func:`read_interface`, for bytes from outside. Raises LinkError."""
    try:
        return read_interface(module)
    except BytecodeError as error:
        raise LinkError(str(error)) from error
