"""The oracle: what must hold for a call to succeed, for every public function of the contract.

``violations`` names every rule that a call breaks, by the contract's name of the abort; ``ARGUMENT`` stands
for a call that never reaches the contract. A call succeeds if, and only if, there is none, and aborts by one.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from tests.fuzz import shapes
from tests.fuzz.functions import Function, Parameter
from tests.fuzz.state import View
from tests.fuzz.values import Argument, MalformedError, Object, Payment, PolicyCall, decode

ARGUMENT = "ARGUMENT"
VERSION = 1
_OBJECT_TYPES = frozenset(
    {"Cluster", "SealToken", "Clock", "ClusterCap", "PauseCap", "MemberCap", "AccessCap"}
)
_NUMBER_OF_POLICY_VALUES = 14


@dataclass(frozen=True, slots=True)
class Call:
    """One call by an address; ``arguments`` in the order of the parameters, if they are as many."""

    function: Function
    sender: bytes
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A call whose arguments are values of their types: by name, objects by id."""

    view: View
    sender: bytes
    values: dict[str, Any]

    @property
    def now_ms(self) -> int:
        return self.view.now_ms

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


Rule = Callable[[Asked], Set[str]]


def broken(**rules: bool) -> set[str]:
    """The names of the rules that are broken."""
    return {name for name, is_broken in rules.items() if is_broken}


def violations(view: View, call: Call, rules: dict[str, Rule]) -> set[str]:
    """Names of the aborts that the call may end with; empty if it must succeed."""
    try:
        asked = Asked(view, call.sender, _values(view, call))
    except MalformedError:
        return {ARGUMENT} | _bad_policies(call)
    return set(rules[call.function.path](asked))


def _bad_policies(call: Call) -> set[str]:
    """A policy is made before the call that takes it, and so refused before the call is looked at."""
    for argument in call.arguments:
        if isinstance(argument, PolicyCall):
            try:
                values = [decode("u64", value) for value in argument.arguments]
            except MalformedError:
                continue
            if not shapes.is_policy(values):
                return {"EInvalidPolicy"}
    return set()


def _values(view: View, call: Call) -> dict[str, Any]:
    parameters = call.function.parameters
    if len(parameters) != len(call.arguments):
        raise MalformedError("too few or too many arguments")
    return {
        parameter.name: _value(view, call.sender, parameter, argument)
        for parameter, argument in zip(parameters, call.arguments, strict=True)
    }


def _value(view: View, sender: bytes, parameter: Parameter, argument: Argument) -> Any:
    if parameter.type in _OBJECT_TYPES:
        if not isinstance(argument, Object) or view.type_of(argument.id) != parameter.type:
            raise MalformedError(f"no {parameter.type}")
        if not view.may_use(argument.id, sender):
            raise MalformedError("another one's object")
        return argument.id
    if parameter.type == "Coin<SUI>":
        if not isinstance(argument, Payment):
            raise MalformedError("no coin")
        return argument.amount
    if parameter.type == "Policy":
        if not isinstance(argument, PolicyCall) or len(argument.arguments) != _NUMBER_OF_POLICY_VALUES:
            raise MalformedError("no policy")
        return [decode("u64", value) for value in argument.arguments]
    return decode(parameter.type, argument)
