"""Filters of streams and lists: a disjunction of conjunctions of (negatable) predicates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from ..bytecode.types import TypeTextError
from ..ledger.checkpoints import ExecutedTransaction, IndexedEvent
from ..ledger.digests import hex_address, parse_address
from ..ledger.transactions import CallCommand
from ..ledger.type_tags import canonical_type

Subject = TypeVar("Subject")
Predicate = Callable[[Subject], bool]


def _invalid(message: str) -> GRPCError:
    return GRPCError(Status.INVALID_ARGUMENT, message)


def event_filter(message: Any) -> Predicate[IndexedEvent]:
    """The predicate of an ``EventFilter``; None matches everything.

    Raises:
        GRPCError: no term, an empty literal, a malformed address or type.
    """
    return _disjunction(message, _event_predicate)


def transaction_filter(message: Any) -> Predicate[ExecutedTransaction]:
    """The predicate of a ``TransactionFilter``; None matches everything.

    Raises:
        GRPCError: as above, or a predicate that is not simulated.
    """
    return _disjunction(message, _transaction_predicate)


def _disjunction(message: Any, compile_literal: Callable[[Any], Predicate[Subject]]) -> Predicate[Subject]:
    if message is None:
        return lambda _: True
    if not message.terms:
        raise _invalid("a filter must have at least one term")
    terms = []
    for term in message.terms:
        if not term.literals:
            raise _invalid("a term of a filter must have at least one literal")
        terms.append([(literal.negated, compile_literal(literal)) for literal in term.literals])

    def matches(subject: Subject) -> bool:
        return any(all(test(subject) is not negated for negated, test in term) for term in terms)

    return matches


def _event_predicate(literal: Any) -> Predicate[IndexedEvent]:
    if literal.sender is not None:
        sender = _address(literal.sender.address)
        return lambda indexed: indexed.event.sender == sender
    if literal.emit_module is not None:
        path = _path(literal.emit_module.module, 2)
        return lambda indexed: _begins(_emitter(indexed), path)
    if literal.event_type is not None:
        return _type_predicate(literal.event_type.event_type)
    if literal.event_stream_head is not None:
        raise GRPCError(Status.UNIMPLEMENTED, "authenticated event streams are not simulated")
    raise _invalid("a literal of a filter must have a predicate")


def _transaction_predicate(literal: Any) -> Predicate[ExecutedTransaction]:
    if literal.sender is not None:
        sender = _address(literal.sender.address)
        return lambda executed: executed.data.sender == sender
    if literal.affected_object is not None:
        object_id = _address(literal.affected_object.object_id)
        return lambda executed: any(c.id == object_id for c in executed.effects.changed)
    if literal.move_call is not None:
        path = _path(literal.move_call.function, 3)
        return lambda executed: any(_begins(called, path) for called in _calls(executed))
    raise GRPCError(Status.UNIMPLEMENTED, "this predicate on transactions is not simulated")


def _calls(executed: ExecutedTransaction) -> list[list[str]]:
    return [
        [hex_address(command.package), command.module, command.function]
        for command in executed.data.commands
        if isinstance(command, CallCommand)
    ]


def _emitter(indexed: IndexedEvent) -> list[str]:
    return [hex_address(indexed.event.package), indexed.event.module]


def _begins(names: list[str], path: list[str]) -> bool:
    return names[: len(path)] == path


def _type_predicate(text: str | None) -> Predicate[IndexedEvent]:
    """``0xaddr``, ``0xaddr::module``, ``0xaddr::module::Name`` (any instantiation) or an exact type."""
    if text and "<" in text:
        try:
            exact = canonical_type(text)
        except TypeTextError as error:
            raise _invalid(str(error)) from error
        return lambda indexed: indexed.event.type_tag == exact
    path = _path(text, 3)
    return lambda indexed: _begins(indexed.event.type_tag.partition("<")[0].split("::"), path)


def _address(text: str | None) -> bytes:
    try:
        return parse_address(text or "")
    except ValueError as error:
        raise _invalid(str(error)) from error


def _path(text: str | None, longest: int) -> list[str]:
    names = (text or "").split("::")
    if len(names) > longest or not all(names):
        raise _invalid(f"{text!r} is not a path of at most {longest} names separated by '::'")
    return [hex_address(_address(names[0])), *names[1:]]
