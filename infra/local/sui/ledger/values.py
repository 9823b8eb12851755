"""Arguments of commands: inputs and results, and the rules by which a command may use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from ..execution import ObjectValue
from .datatypes import Datatypes, UnknownTypeError
from .errors import ArgumentDetail, ExecutionFailedError, bad_argument
from .transactions import Argument


class Origin(Enum):
    """Where a value comes from, which decides what may be done with it."""

    RESULT = auto()
    OWNED = auto()
    SHARED = auto()
    SHARED_READ = auto()
    IMMUTABLE = auto()
    GAS = auto()


class Use(Enum):
    """How a command takes a value."""

    VALUE = auto()
    REFERENCE = auto()
    MUTABLE = auto()


_READ_ONLY = frozenset({Origin.SHARED_READ, Origin.IMMUTABLE})


@dataclass(slots=True)
class PurePlace:
    """A pure input: bytes whose type the command decides."""

    value: bytes


@dataclass(slots=True)
class WithdrawalPlace:
    """A reservation on the sender's address balance."""

    amount: int
    currency: str
    taken: bool = False


@dataclass(slots=True)
class ValuePlace:
    """An object input or a result."""

    type_tag: str
    contents: bytes
    is_object: bool
    origin: Origin
    taken: bool = False

    @property
    def id(self) -> bytes:
        return self.contents[:32]

    @property
    def object_value(self) -> ObjectValue:
        return ObjectValue(self.id, self.type_tag, self.contents)


Place = PurePlace | ValuePlace | WithdrawalPlace


class Arguments:
    """The inputs of a transaction and the results of its commands so far."""

    def __init__(self, inputs: Sequence[Place], gas: ValuePlace | None, datatypes: Datatypes) -> None:
        self.inputs = inputs
        self.gas = gas
        self.results: list[tuple[ValuePlace, ...]] = []
        self._datatypes = datatypes

    def place(self, argument: Argument, position: int) -> Place:
        """What an argument refers to; ``position`` is its index in the command.

        Raises:
            ExecutionFailedError: there is nothing.
        """
        if argument.kind == "gas":
            if self.gas is None:
                raise bad_argument(
                    position,
                    "INVALID_GAS_COIN_USAGE",
                    "there is no gas coin: gas is paid from the address balance",
                )
            return self.gas
        if argument.kind == "input":
            if argument.index >= len(self.inputs):
                raise _out_of_bounds(position, "INDEX_OUT_OF_BOUNDS", argument)
            return self.inputs[argument.index]
        if argument.index >= len(self.results):
            raise _out_of_bounds(position, "INDEX_OUT_OF_BOUNDS", argument)
        results = self.results[argument.index]
        if argument.nested is None:
            if len(results) != 1:
                raise _out_of_bounds(position, "INVALID_RESULT_ARITY", argument)
            return results[0]
        if argument.nested >= len(results):
            raise _out_of_bounds(position, "SECONDARY_INDEX_OUT_OF_BOUNDS", argument)
        return results[argument.nested]

    def value(self, argument: Argument, position: int, use: Use, *, gas_by_value: bool = False) -> ValuePlace:
        """An argument that must be a value (not pure), for the given use; by value it is taken.

        Raises:
            ExecutionFailedError: it is pure, taken already, or may not be used like this.
        """
        place = self.place(argument, position)
        if not isinstance(place, ValuePlace):
            raise bad_argument(position, "TYPE_MISMATCH", "an object is expected here")
        self.check_use(place, position, use, gas_by_value=gas_by_value)
        return place

    def check_use(self, place: ValuePlace, position: int, use: Use, *, gas_by_value: bool = False) -> None:
        """Raises: ExecutionFailedError."""
        if place.taken:
            raise bad_argument(position, "INVALID_VALUE_USAGE", "the value was used up before")
        if use is Use.REFERENCE:
            return
        if place.origin in _READ_ONLY:
            kind = "INVALID_OBJECT_BY_VALUE" if use is Use.VALUE else "INVALID_OBJECT_BY_MUT_REF"
            raise bad_argument(position, kind, "the object is immutable or was declared read-only")
        if use is Use.MUTABLE:
            return
        if place.origin is Origin.GAS and not gas_by_value:
            raise bad_argument(
                position,
                "INVALID_GAS_COIN_USAGE",
                "the gas coin can be used by value in TransferObjects only",
            )
        if place.is_object or not self._has(place.type_tag, "copy"):
            place.taken = True

    def _has(self, type_tag: str, ability: str) -> bool:
        try:
            return ability in self._datatypes.abilities(type_tag)
        except UnknownTypeError as error:
            raise ExecutionFailedError("VM_INVARIANT_VIOLATION", str(error)) from error

    def check_leftovers(self) -> None:
        """Every result must be used or droppable.

        Raises:
            ExecutionFailedError: one is neither.
        """
        for command, results in enumerate(self.results):
            for index, place in enumerate(results):
                if place.taken or (not place.is_object and self._has(place.type_tag, "drop")):
                    continue
                raise ExecutionFailedError(
                    "UNUSED_VALUE_WITHOUT_DROP",
                    f"result {index} of command {command} ({place.type_tag}) is neither used nor droppable",
                    command=command,
                )


def _out_of_bounds(position: int, kind: str, argument: Argument) -> ExecutionFailedError:
    detail = ArgumentDetail(position, kind, argument.index, argument.nested)
    return ExecutionFailedError(
        "COMMAND_ARGUMENT_ERROR",
        f"argument {position}: {argument.kind} {argument.index} has no such value",
        detail=detail,
    )


def result(type_tag: str, contents: bytes, *, is_object: bool) -> ValuePlace:
    return ValuePlace(type_tag, contents, is_object, Origin.RESULT)
