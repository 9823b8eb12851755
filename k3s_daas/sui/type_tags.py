"""Move type tags: text, BCS, and exact comparison.

BCS of Sui's `TypeTag`: a uleb128 variant, then its payload; a vector's element tag stands alone, without a
length. (pysui's `TypeTag` writes one, so its bytes for `vector<u8>` are not Sui's; hence this module.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from k3s_daas.bcs import BcsError, Reader, Writer
from k3s_daas.ids import ADDRESS_BYTES, to_hex

_PRIMITIVE_VARIANTS = {
    "bool": 0,
    "u8": 1,
    "u64": 2,
    "u128": 3,
    "address": 4,
    "signer": 5,
    "u16": 8,
    "u32": 9,
    "u256": 10,
}
_PRIMITIVES = {variant: name for name, variant in _PRIMITIVE_VARIANTS.items()}
_VECTOR_VARIANT = 6
_STRUCT_VARIANT = 7
# Sui allows a nesting of 16; the bound keeps the recursion of both parsers finite.
_MAX_DEPTH = 16
_TOKEN = re.compile(r"\s*(0x[0-9a-fA-F]{1,64}|[A-Za-z_][A-Za-z0-9_]*|::|[<>,])")


@dataclass(frozen=True, slots=True)
class PrimitiveTag:
    """A built-in type, by its Move name (`u8`, `address`, …)."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class VectorTag:
    """`vector<element>`."""

    element: TypeTag

    def __str__(self) -> str:
        return f"vector<{self.element}>"


@dataclass(frozen=True, slots=True)
class StructTag:
    """`address::module::name<parameters>`. `address` (32 bytes) is the package that *defined* the type."""

    address: bytes
    module: str
    name: str
    parameters: tuple[TypeTag, ...] = ()

    def __str__(self) -> str:
        generics = f"<{', '.join(map(str, self.parameters))}>" if self.parameters else ""
        return f"{to_hex(self.address)}::{self.module}::{self.name}{generics}"


TypeTag = PrimitiveTag | VectorTag | StructTag

VECTOR_U8 = VectorTag(PrimitiveTag("u8"))


def parse_type_tag(text: str) -> TypeTag:
    """Parses Move's notation; short addresses (`0x2`) are padded. Raises `ValueError`."""
    words: list[str] = []
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"not a Move type: {text[:200]!r}")
        words.append(match.group(1))
        position = match.end()
    parser = _TextParser(words)
    tag = parser.tag(_MAX_DEPTH)
    if not parser.finished:
        raise ValueError(f"not a Move type: {text[:200]!r}")
    return tag


def parse_struct_tag(text: str) -> StructTag:
    """`parse_type_tag` for what must be a struct. Raises `ValueError`."""
    tag = parse_type_tag(text)
    if not isinstance(tag, StructTag):
        raise ValueError(f"not a Move struct type: {text[:200]!r}")
    return tag


class _TextParser:
    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._next = 0

    @property
    def finished(self) -> bool:
        return self._next == len(self._words)

    def tag(self, depth: int) -> TypeTag:
        if depth == 0:
            raise ValueError(f"a Move type nests at most {_MAX_DEPTH} deep")
        word = self._take()
        if word in _PRIMITIVE_VARIANTS:
            return PrimitiveTag(word)
        if word == "vector":
            elements = self._parameters(depth)
            if len(elements) != 1:
                raise ValueError("a vector has exactly one element type")
            return VectorTag(elements[0])
        if not word.startswith("0x"):
            raise ValueError(f"not a Move type: {word!r}")
        address = bytes.fromhex(word[2:].zfill(2 * ADDRESS_BYTES))
        module, name = self._identifier(), self._identifier()
        return StructTag(address, module, name, self._parameters(depth))

    def _take(self) -> str:
        if self.finished:
            raise ValueError("a Move type ends too early")
        self._next += 1
        return self._words[self._next - 1]

    def _identifier(self) -> str:
        separator, name = self._take(), self._take()
        if separator != "::" or not name.isidentifier():
            raise ValueError(f"expected ::name in a Move type, found {separator}{name}")
        return name

    def _parameters(self, depth: int) -> tuple[TypeTag, ...]:
        if self.finished or self._words[self._next] != "<":
            return ()
        self._next += 1
        parameters = [self.tag(depth - 1)]
        while (word := self._take()) == ",":
            parameters.append(self.tag(depth - 1))
        if word != ">":
            raise ValueError(f"expected , or > in a Move type, found {word!r}")
        return tuple(parameters)


def write_type_tag(writer: Writer, tag: TypeTag) -> None:
    """Appends the BCS of a tag."""
    match tag:
        case PrimitiveTag(name):
            writer.uleb128(_PRIMITIVE_VARIANTS[name])
        case VectorTag(element):
            writer.uleb128(_VECTOR_VARIANT)
            write_type_tag(writer, element)
        case StructTag(address, module, name, parameters):
            writer.uleb128(_STRUCT_VARIANT)
            writer.address(address).string(module).string(name).vector(parameters, write_type_tag)


def read_type_tag(reader: Reader, depth: int = _MAX_DEPTH) -> TypeTag:
    """Reads the BCS of a tag. Raises `BcsError`."""
    if depth == 0:
        raise BcsError(f"a type tag nests at most {_MAX_DEPTH} deep")
    variant = reader.uleb128()
    if variant in _PRIMITIVES:
        return PrimitiveTag(_PRIMITIVES[variant])
    if variant == _VECTOR_VARIANT:
        return VectorTag(read_type_tag(reader, depth - 1))
    if variant == _STRUCT_VARIANT:
        address, module, name = reader.address(), reader.string(), reader.string()
        return StructTag(address, module, name, tuple(reader.vector(lambda r: read_type_tag(r, depth - 1))))
    raise BcsError(f"unknown type tag variant {variant}")


def type_tag_bytes(tag: TypeTag) -> bytes:
    """The BCS of a tag on its own."""
    writer = Writer()
    write_type_tag(writer, tag)
    return writer.finish()
