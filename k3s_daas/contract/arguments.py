"""Move call arguments: plain values as pure inputs, shared objects with their initial versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from k3s_daas.bcs import Writer
from k3s_daas.errors import WireFormatError
from k3s_daas.sui.ledger import ChainObject
from k3s_daas.sui.transactions import Argument, PtbBuilder


@dataclass(frozen=True, slots=True)
class SharedRef:
    """A shared object as a transaction names it. `initial_version` never changes, so it may be cached for
    ever."""

    id: bytes
    initial_version: int

    @classmethod
    def of(cls, chain_object: ChainObject) -> SharedRef:
        """The reference of an object read from the chain. Raises `WireFormatError` if it is not shared."""
        version = chain_object.owner.initial_shared_version
        if chain_object.owner.kind != "shared" or version is None:
            raise WireFormatError(f"the object 0x{chain_object.id.hex()} is not shared")
        return cls(chain_object.id, version)


# `sui::clock::Clock`, shared at genesis; a transaction may only read it.
CLOCK = SharedRef((6).to_bytes(32, "big"), 1)


def clock(builder: PtbBuilder) -> Argument:
    """`&Clock`."""
    return shared(builder, CLOCK)


def shared(builder: PtbBuilder, ref: SharedRef, *, mutable: bool = False) -> Argument:
    """`&T` or `&mut T` of a shared object."""
    return builder.shared(ref.id, ref.initial_version, mutable)


def u8(builder: PtbBuilder, value: int) -> Argument:
    return builder.pure(Writer().u8(value).finish())


def u16(builder: PtbBuilder, value: int) -> Argument:
    return builder.pure(Writer().u16(value).finish())


def u64(builder: PtbBuilder, value: int) -> Argument:
    return builder.pure(Writer().u64(value).finish())


def boolean(builder: PtbBuilder, value: bool) -> Argument:
    return builder.pure(Writer().boolean(value).finish())


def address(builder: PtbBuilder, value: bytes) -> Argument:
    return builder.pure(Writer().address(value).finish())


def byte_vector(builder: PtbBuilder, value: bytes) -> Argument:
    """`vector<u8>`."""
    return builder.pure(Writer().byte_vector(value).finish())


def byte_vectors(builder: PtbBuilder, values: Iterable[bytes]) -> Argument:
    """`vector<vector<u8>>` as one input, which holds less than 16 KiB."""
    return builder.pure(Writer().vector(values, Writer.byte_vector).finish())


def string(builder: PtbBuilder, value: str) -> Argument:
    """`std::string::String`."""
    return builder.pure(Writer().string(value).finish())


def strings(builder: PtbBuilder, values: Iterable[str]) -> Argument:
    """`vector<String>`."""
    return builder.pure(Writer().vector(values, Writer.string).finish())


def chunks(builder: PtbBuilder, values: Sequence[bytes]) -> Argument:
    """`vector<vector<u8>>`, each element an input of its own: one input alone holds less than 16 KiB."""
    return builder.make_vec_of_bytes([byte_vector(builder, value) for value in values])
