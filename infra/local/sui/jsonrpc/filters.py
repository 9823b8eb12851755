"""Event filters: one object with one name, as ``{"MoveEventModule": {"package": …, "module": …}}``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..bytecode.types import TypeTextError
from ..ledger.checkpoints import IndexedEvent
from ..ledger.digests import hex_address, parse_address, parse_base58
from ..ledger.type_tags import canonical_type
from .errors import INVALID_PARAMS, RpcError

Predicate = Callable[[IndexedEvent], bool]


def event_filter(value: Any) -> Predicate:
    """The predicate of a filter.

    Raises:
        RpcError: a filter that is malformed or not simulated.
    """
    try:
        [(name, argument)] = value.items()
        return _predicate(name, argument)
    except (AttributeError, TypeError, ValueError, KeyError, TypeTextError) as error:
        raise RpcError(INVALID_PARAMS, f"Invalid params: the filter is malformed ({error})") from error


def _predicate(name: str, argument: Any) -> Predicate:
    match name:
        case "MoveEventModule":
            prefix = f"{_address(argument['package'])}::{argument['module']}::"
            return lambda indexed: indexed.event.type_tag.startswith(prefix)
        case "MoveModule":
            package, module = parse_address(argument["package"]), str(argument["module"])
            return lambda indexed: (indexed.event.package, indexed.event.module) == (package, module)
        case "MoveEventType":
            exact = canonical_type(argument)
            return lambda indexed: indexed.event.type_tag == exact
        case "Sender":
            sender = parse_address(argument)
            return lambda indexed: indexed.event.sender == sender
        case "Transaction":
            digest = parse_base58(argument)
            return lambda indexed: indexed.transaction.digest == digest
        case "All":
            return lambda _: True
    raise RpcError(INVALID_PARAMS, f"the filter {name} is not simulated")


def _address(text: str) -> str:
    return hex_address(parse_address(text))
