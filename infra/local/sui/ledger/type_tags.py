"""Type tags: canonical text to BCS, and the few framework types that the ledger itself must know."""

from __future__ import annotations

from functools import lru_cache

from ..bytecode.types import Datatype, MoveType, Primitive, TypeTextError, Vector, canonical, parse_type
from . import bcs

MOVE_STDLIB = bytes(31) + b"\x01"
SUI_FRAMEWORK = bytes(31) + b"\x02"
CLOCK_ID = bytes(31) + b"\x06"


def framework_type(name: str) -> str:
    """``coin::Coin`` -> the canonical ``0x00…02::coin::Coin``."""
    return f"0x{SUI_FRAMEWORK.hex()}::{name}"


SUI = framework_type("sui::SUI")
COIN_PREFIX = framework_type("coin::Coin<")
BALANCE_PREFIX = framework_type("balance::Balance<")
CLOCK = framework_type("clock::Clock")
UPGRADE_CAP = framework_type("package::UpgradeCap")
UPGRADE_TICKET = framework_type("package::UpgradeTicket")
UPGRADE_RECEIPT = framework_type("package::UpgradeReceipt")
FIELD_PREFIX = framework_type("dynamic_field::Field<")
OBJECT_FIELD_WRAPPER_PREFIX = framework_type("dynamic_object_field::Wrapper<")
_TAGS = {
    "bool": 0, "u8": 1, "u64": 2, "u128": 3, "address": 4, "signer": 5, "u16": 8, "u32": 9, "u256": 10,
}  # fmt: skip
_VECTOR_TAG, _STRUCT_TAG = 6, 7


def coin_type(type_tag: str) -> str | None:
    """``T`` of ``0x2::coin::Coin<T>``, None for every other type."""
    return type_tag[len(COIN_PREFIX) : -1] if type_tag.startswith(COIN_PREFIX) else None


def coin_of(currency: str) -> str:
    return f"{COIN_PREFIX}{currency}>"


def balance_of(currency: str) -> str:
    return f"{BALANCE_PREFIX}{currency}>"


@lru_cache(maxsize=4096)
def parsed(type_tag: str) -> MoveType:
    """The structure of a type tag.

    Raises:
        TypeTextError: it is not one.
    """
    return parse_type(type_tag)


def canonical_type(text: str) -> str:
    """Any spelling of a type tag in canonical form.

    Raises:
        TypeTextError: it is not one.
    """
    return canonical(parsed(text))


def encode_struct(datatype: Datatype) -> bytes:
    """BCS ``StructTag``."""
    return (
        datatype.address
        + bcs.text(datatype.module)
        + bcs.text(datatype.name)
        + bcs.vector(encode_type(argument) for argument in datatype.arguments)
    )


def encode_type(move_type: MoveType) -> bytes:
    """BCS ``TypeTag``."""
    match move_type:
        case Primitive(name):
            return bytes([_TAGS[name]])
        case Vector(element):
            return bytes([_VECTOR_TAG]) + encode_type(element)
        case Datatype():
            return bytes([_STRUCT_TAG]) + encode_struct(move_type)
    raise TypeTextError("a reference or a type parameter is no type tag")


@lru_cache(maxsize=4096)
def encode_struct_text(type_tag: str) -> bytes:
    """BCS ``StructTag`` of a canonical text.

    Raises:
        TypeTextError: the text is not a struct's.
    """
    datatype = parsed(type_tag)
    if not isinstance(datatype, Datatype):
        raise TypeTextError(f"not a struct: {type_tag}")
    return encode_struct(datatype)


@lru_cache(maxsize=4096)
def encode_object_type(type_tag: str) -> bytes:
    """BCS ``MoveObjectType``: gas coins and other coins have short forms."""
    if type_tag == coin_of(SUI):
        return b"\1"
    currency = coin_type(type_tag)
    if currency is not None:
        return b"\3" + encode_type(parsed(currency))
    return b"\0" + encode_struct_text(type_tag)
