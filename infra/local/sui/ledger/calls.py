"""Move calls: matching arguments with parameters, running the VM, taking over what it says happened."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..execution import (
    CallInput,
    CallOutcome,
    ChildRemoved,
    ChildWritten,
    Consumed,
    Frozen,
    FunctionSignature,
    MoveAbortError,
    MoveCall,
    MoveExecutionError,
    MoveVm,
    Mutated,
    ObjectInput,
    PackageInterface,
    PureInput,
    Shared,
    Transferred,
)
from .bcs import BcsError, Reader
from .datatypes import Datatypes, UnknownTypeError, is_pure_type
from .digests import hex_address, parse_address
from .errors import AbortDetail, ExecutionFailedError, bad_argument
from .gas import call_units
from .objects import IMMUTABLE, OwnerKind, address_owner, shared_since
from .transactions import CallCommand
from .type_tags import parsed
from .values import Arguments, Origin, Place, PurePlace, Use, ValuePlace, result
from .workspace import Event, Workspace

_TYPE_PARAMETER = re.compile(r"(?<![:\w])T(\d+)(?![\w:])")
_SHARED_ORIGINS = frozenset({Origin.SHARED, Origin.SHARED_READ})


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter with the call's type arguments put in."""

    use: Use
    type_tag: str
    is_object: bool


class Caller:
    """Runs Move calls of one transaction in its workspace."""

    def __init__(self, vm: MoveVm, datatypes: Datatypes, workspace: Workspace) -> None:
        self._vm = vm
        self._datatypes = datatypes
        self._workspace = workspace

    async def call(self, command: CallCommand, arguments: Arguments) -> tuple[ValuePlace, ...]:
        """Run one ``MoveCall`` command.

        Raises:
            ExecutionFailedError: it cannot be called like this, or it aborted.
        """
        package = self._package(command.package)
        signature = _signature(package, command)
        types = tuple(map(self._datatypes.defining, command.type_arguments))
        parameters = self._parameters(signature, command, types)
        places = [arguments.place(a, position) for position, a in enumerate(command.arguments)]
        self._check_aliases(places, parameters)
        inputs = tuple(
            self._input(arguments, place, position, parameter)
            for position, (place, parameter) in enumerate(zip(places, parameters, strict=True))
        )
        call = MoveCall(command.package, command.module, command.function, types, inputs)
        outcome = await self.run(call, places)
        return tuple(
            result(returned.type_tag, returned.contents, is_object=returned.is_object)
            for returned in outcome.returns
        )

    async def run(self, call: MoveCall, places: list[Place]) -> CallOutcome:
        """Run a call in the VM and take over its changes; ``places`` see theirs.

        Raises:
            ExecutionFailedError: it failed.
        """
        workspace = self._workspace
        values = [place for place in places if isinstance(place, ValuePlace)]
        children = workspace.reachable((place.id, place.contents) for place in values)
        try:
            outcome = await self._vm.call(
                call, workspace.frame, children, clock_ms=workspace.environment.clock_ms
            )
        except MoveAbortError as abort:
            package, _, module = abort.module.partition("::")
            detail = AbortDetail(parse_address(package), module, abort.function, abort.code)
            raise ExecutionFailedError("MOVE_ABORT", str(abort), detail=detail) from abort
        except MoveExecutionError as error:
            raise ExecutionFailedError("MOVE_PRIMITIVE_RUNTIME_ERROR", str(error)) from error
        workspace.ids_created = outcome.ids_created
        workspace.gas_units += call_units(outcome.gas_units)
        self._take_over(outcome, {place.id: place for place in values if place.is_object})
        for event in outcome.events:
            workspace.events.append(
                Event(call.package, call.module, workspace.sender, event.type_tag, event.contents)
            )
        return outcome

    def _package(self, package_id: bytes) -> PackageInterface:
        stored = self._workspace.base.get(package_id)
        if stored is None or stored.package is None:
            raise ExecutionFailedError("FUNCTION_NOT_FOUND", f"{hex_address(package_id)} is not a package")
        return stored.package

    def _parameters(
        self, signature: FunctionSignature, command: CallCommand, types: tuple[str, ...]
    ) -> list[Parameter]:
        if len(command.type_arguments) != signature.type_parameters:
            raise ExecutionFailedError(
                "TYPE_ARITY_MISMATCH",
                f"{command.function} takes {signature.type_parameters} type arguments, "
                f"{len(command.type_arguments)} came",
            )
        if len(command.arguments) != len(signature.parameters):
            raise ExecutionFailedError(
                "ARITY_MISMATCH",
                f"{command.function} takes {len(signature.parameters)} arguments, "
                f"{len(command.arguments)} came",
            )
        found = []
        for text, is_object in zip(signature.parameters, signature.object_parameters, strict=True):
            use, bare = _use_of(text)
            type_tag = _TYPE_PARAMETER.sub(lambda m: types[int(m[1])], bare)
            found.append(Parameter(use, type_tag, is_object or self._is_object(type_tag)))
        return found

    def _is_object(self, type_tag: str) -> bool:
        try:
            return "key" in self._datatypes.abilities(type_tag)
        except UnknownTypeError:
            return False

    @staticmethod
    def _check_aliases(places: list[Place], parameters: list[Parameter]) -> None:
        """One value may be borrowed several times for reading, else it stands alone in a call."""
        for position, place in enumerate(places):
            if not isinstance(place, ValuePlace):
                continue
            twins = [other for other, twin in enumerate(places) if twin is place]
            exclusive = any(parameters[other].use is not Use.REFERENCE for other in twins)
            if len(twins) > 1 and exclusive and place.is_object:
                raise bad_argument(
                    position, "INVALID_VALUE_USAGE", "an object that is changed or moved is passed twice"
                )

    def _input(self, arguments: Arguments, place: Place, position: int, parameter: Parameter) -> CallInput:
        if not parameter.is_object and parameter.use is Use.MUTABLE:
            raise ExecutionFailedError(
                "FEATURE_NOT_YET_SUPPORTED",
                f"argument {position}: this ledger cannot lend a value that is no object as &mut",
            )
        if isinstance(place, PurePlace):
            return PureInput(self.check_pure(place.value, position, parameter.type_tag))
        if not isinstance(place, ValuePlace):
            raise bad_argument(position, "TYPE_MISMATCH", "a withdrawal can only be redeemed")
        if place.type_tag != parameter.type_tag:
            raise bad_argument(
                position, "TYPE_MISMATCH", f"{parameter.type_tag} is expected, this is {place.type_tag}"
            )
        arguments.check_use(place, position, parameter.use)
        if place.is_object:
            return ObjectInput(place.object_value, shared=place.origin in _SHARED_ORIGINS)
        return PureInput(place.contents)

    def check_pure(self, value: bytes, position: int, type_tag: str) -> bytes:
        """Check a pure argument against its type before the VM sees it, strings included, as Sui does.

        Raises:
            ExecutionFailedError: the bytes are no value of that type, or the type has no pure values.
        """
        if not is_pure_type(parsed(type_tag)):
            raise bad_argument(
                position, "INVALID_USAGE_OF_PURE_ARGUMENT", f"{type_tag} cannot be made from pure bytes"
            )
        reader = Reader(value)
        try:
            self._datatypes.walk(parsed(type_tag), reader)
            reader.finish()
        except BcsError as error:
            raise bad_argument(position, "INVALID_BCS_BYTES", f"no {type_tag}: {error}") from error
        except UnknownTypeError as error:
            raise bad_argument(position, "TYPE_MISMATCH", str(error)) from error
        return value

    def _take_over(self, outcome: CallOutcome, places: dict[bytes, ValuePlace]) -> None:
        workspace = self._workspace
        for change in outcome.changes:
            match change:
                case Transferred(value, recipient):
                    workspace.write(value, address_owner(recipient))
                case Shared(value):
                    before = workspace.owner_of(value.id)
                    stays = before is not None and before.kind is OwnerKind.SHARED
                    workspace.write(value, before if before is not None and stays else shared_since(0))
                case Frozen(value):
                    workspace.write(value, IMMUTABLE)
                case Mutated(value):
                    if value.id not in places:
                        raise ExecutionFailedError(
                            "VM_INVARIANT_VIOLATION",
                            f"the VM changed {hex_address(value.id)}, which it was not lent",
                        )
                    places[value.id].contents = value.contents
                case ChildWritten(parent, value):
                    workspace.write_child(parent, value)
                case ChildRemoved(_, object_id):
                    workspace.remove(object_id)
                case Consumed():
                    pass  # by-value inputs are taken; what became of them shows at the end


def _signature(package: PackageInterface, command: CallCommand) -> FunctionSignature:
    signature = package.functions.get(command.module, {}).get(command.function)
    name = f"{hex_address(command.package)}::{command.module}::{command.function}"
    if signature is None:
        raise ExecutionFailedError("FUNCTION_NOT_FOUND", f"there is no function {name}")
    if not (signature.public or signature.entry):
        raise ExecutionFailedError(
            "NON_ENTRY_FUNCTION_INVOKED", f"{name} is neither public nor entry, so it cannot be called"
        )
    return signature


def _use_of(parameter: str) -> tuple[Use, str]:
    if parameter.startswith("&mut "):
        return Use.MUTABLE, parameter.removeprefix("&mut ")
    if parameter.startswith("&"):
        return Use.REFERENCE, parameter.removeprefix("&")
    return Use.VALUE, parameter
