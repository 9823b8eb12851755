"""Programmable transactions: the commands of one transaction, one after the other."""

from __future__ import annotations

from ..execution import MoveVm
from . import bcs
from .calls import Caller
from .coins import address_argument, call_native, merge_coins, native_function, split_coins
from .datatypes import Datatypes, UnknownTypeError
from .digests import hex_address
from .errors import ExecutionFailedError, bad_argument, invalid
from .objects import OwnerKind, address_owner
from .publishing import Publisher
from .transactions import (
    CallCommand,
    Command,
    MakeMoveVector,
    MergeCoins,
    OwnedObject,
    Publish,
    Pure,
    SharedObject,
    SplitCoins,
    TransactionData,
    TransferObjects,
    Upgrade,
    Withdrawal,
)
from .type_tags import CLOCK_ID
from .values import Arguments, Origin, Place, PurePlace, Use, ValuePlace, WithdrawalPlace, result
from .workspace import Workspace


class ProgrammableTransaction:
    """One run of a transaction's commands in a workspace."""

    def __init__(
        self,
        data: TransactionData,
        workspace: Workspace,
        gas: ValuePlace | None,
        vm: MoveVm,
        datatypes: Datatypes,
    ) -> None:
        self._data = data
        self._workspace = workspace
        self._datatypes = datatypes
        self._caller = Caller(vm, datatypes, workspace)
        self._publisher = Publisher(vm, datatypes, workspace, self._caller)
        self.arguments = Arguments(
            [self._open(position) for position in range(len(data.inputs))], gas, datatypes
        )

    async def run(self) -> None:
        """Run all commands and leave the outcome in the workspace.

        Raises:
            ExecutionFailedError: a command failed; its ``command`` is set.
        """
        for index, command in enumerate(self._data.commands):
            try:
                self.arguments.results.append(await self._execute(command))
            except ExecutionFailedError as failure:
                failure.command = index
                raise
        self.arguments.check_leftovers()
        self._write_back()

    def _open(self, position: int) -> Place:
        match self._data.inputs[position]:
            case Pure(value):
                return PurePlace(value)
            case Withdrawal(amount, currency, _):
                return WithdrawalPlace(amount, currency)
            case SharedObject(object_id, _, mutable):
                return self._open_object(object_id, Origin.SHARED if mutable else Origin.SHARED_READ)
            case OwnedObject(ref):
                return self._open_object(ref.id, Origin.OWNED)
        raise invalid("Receiving inputs are not simulated.")

    def _open_object(self, object_id: bytes, origin: Origin) -> ValuePlace:
        stored = self._workspace.base.get(object_id)
        if stored is None:
            raise ExecutionFailedError(
                "INPUT_OBJECT_DELETED", f"shared object {hex_address(object_id)} was deleted meanwhile"
            )
        if stored.owner.kind is OwnerKind.IMMUTABLE:
            origin = Origin.IMMUTABLE
        contents = stored.contents
        if object_id == CLOCK_ID:
            contents = CLOCK_ID + bcs.u64(self._workspace.environment.clock_ms)
        return ValuePlace(stored.type_tag, contents, is_object=True, origin=origin)

    async def _execute(  # noqa: PLR0911 - one case per command
        self, command: Command
    ) -> tuple[ValuePlace, ...]:
        match command:
            case CallCommand():
                native = native_function(command)
                if native is not None:
                    return call_native(native, command, self.arguments, self._workspace)
                return await self._caller.call(command, self.arguments)
            case TransferObjects():
                self._transfer(command)
                return ()
            case SplitCoins():
                return split_coins(command, self.arguments, self._workspace)
            case MergeCoins():
                merge_coins(command, self.arguments, self._workspace)
                return ()
            case MakeMoveVector():
                return (self._make_vector(command),)
            case Publish():
                return (await self._publisher.publish(command),)
            case Upgrade():
                return (self._publisher.upgrade(command, self.arguments),)

    def _transfer(self, command: TransferObjects) -> None:
        last = len(command.objects)
        recipient = address_argument(self.arguments, command.recipient, last)
        for position, argument in enumerate(command.objects):
            place = self.arguments.value(argument, position, Use.VALUE, gas_by_value=True)
            if not place.is_object or "store" not in self._abilities(place, position):
                raise bad_argument(
                    position, "INVALID_TRANSFER_OBJECT", f"{place.type_tag} has no public transfer (no store)"
                )
            self._workspace.write(place.object_value, address_owner(recipient))

    def _abilities(self, place: ValuePlace, position: int) -> frozenset[str]:
        try:
            return self._datatypes.abilities(place.type_tag)
        except UnknownTypeError as error:
            raise bad_argument(position, "TYPE_MISMATCH", str(error)) from error

    def _make_vector(self, command: MakeMoveVector) -> ValuePlace:
        element_type = command.element_type
        if element_type is not None:
            element_type = self._datatypes.defining(element_type)
        encoded = []
        for position, argument in enumerate(command.elements):
            place = self.arguments.place(argument, position)
            if isinstance(place, ValuePlace):
                self.arguments.check_use(place, position, Use.VALUE)
                if element_type is None and not place.is_object:
                    raise bad_argument(
                        position, "INVALID_MAKE_MOVE_VEC_NON_OBJECT_ARGUMENT", "name the element type"
                    )
                element_type = element_type or place.type_tag
                if place.type_tag != element_type:
                    raise bad_argument(position, "TYPE_MISMATCH", f"{place.type_tag} is not {element_type}")
                encoded.append(place.contents)
            elif isinstance(place, PurePlace) and element_type is not None:
                encoded.append(self._caller.check_pure(place.value, position, element_type))
            else:
                raise bad_argument(
                    position, "INVALID_MAKE_MOVE_VEC_NON_OBJECT_ARGUMENT", "name the element type"
                )
        if element_type is None:
            raise ExecutionFailedError("TYPE_ARGUMENT_ERROR", "an empty vector needs its element type")
        return result(f"vector<{element_type}>", bcs.vector(encoded), is_object=False)

    def _write_back(self) -> None:
        """Bring the inputs' last state into the workspace; a moved one that nobody wrote is gone."""
        workspace = self._workspace
        for place in self.arguments.inputs:
            if not isinstance(place, ValuePlace) or place.origin not in {Origin.OWNED, Origin.SHARED}:
                continue
            if not place.taken:
                owner = workspace.owner_of(place.id)
                assert owner is not None, "an input has an owner"
                workspace.write(place.object_value, owner)
            elif place.id not in workspace.drafts:
                workspace.remove(place.id)
