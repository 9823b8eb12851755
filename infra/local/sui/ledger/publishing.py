"""Publishing and upgrading packages: the commands ``Publish`` and ``Upgrade``.

An upgrade takes three commands, as on Sui: ``package::authorize_upgrade`` (Move, in the VM) makes a ticket
from the ``UpgradeCap``; ``Upgrade`` spends it and stores the next version under a new id;
``package::commit_upgrade`` (Move again) takes the receipt and moves the capability on. Of the policies that a
capability can carry only ``compatible`` is simulated; ``init`` of a module that an upgrade adds does not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..bytecode.compatibility import incompatibilities
from ..bytecode.interface import read_interface
from ..bytecode.reader import BytecodeError
from ..execution import MoveCall, MoveExecutionError, MoveVm, ObjectValue, PackageInterface
from . import bcs
from .bcs import Reader
from .calls import Caller
from .datatypes import Datatypes
from .digests import blake2b, hex_address
from .errors import ExecutionFailedError, UpgradeDetail, bad_argument
from .objects import IMMUTABLE, PACKAGE_TYPE
from .transactions import Publish, Upgrade
from .type_tags import UPGRADE_CAP, UPGRADE_RECEIPT, UPGRADE_TICKET
from .values import Arguments, Use, ValuePlace, result
from .workspace import Workspace

COMPATIBLE, ADDITIVE, DEPENDENCIES_ONLY = 0, 128, 192
"""Policies of an ``UpgradeCap``."""
_MAX_PACKAGE_BYTES = 100 * 1024


def package_digest(modules: Sequence[bytes], dependencies: Sequence[bytes]) -> bytes:
    """What an upgrade is authorised for: the hash over module hashes and dependency ids, sorted."""
    return blake2b(b"".join(sorted([*map(blake2b, modules), *dependencies])))


@dataclass(frozen=True, slots=True)
class UpgradeTicket:
    cap: bytes
    package: bytes
    policy: int
    digest: bytes

    @classmethod
    def decode(cls, contents: bytes) -> UpgradeTicket:
        reader = Reader(contents)
        return cls(reader.address(), reader.address(), reader.unsigned(1), reader.blob())


class Publisher:
    """Carries out both commands for one transaction."""

    def __init__(self, vm: MoveVm, datatypes: Datatypes, workspace: Workspace, caller: Caller) -> None:
        self._vm = vm
        self._datatypes = datatypes
        self._workspace = workspace
        self._caller = caller

    async def publish(self, command: Publish) -> ValuePlace:
        """Publish a package and run its initializers; the result is its ``UpgradeCap``.

        Raises:
            ExecutionFailedError: it cannot be published.
        """
        _check_modules(command.modules)
        interface = self._store(command.modules, command.dependencies)
        for module in interface.initializers:
            await self._caller.run(MoveCall(interface.id, module, "init", (), ()), [])
        cap = self._workspace.next_id()
        contents = cap + interface.id + bcs.u64(1) + bytes([COMPATIBLE])
        return result(UPGRADE_CAP, contents, is_object=True)

    def upgrade(self, command: Upgrade, arguments: Arguments) -> ValuePlace:
        """Store the next version of a package; the result is the ``UpgradeReceipt``.

        Raises:
            ExecutionFailedError: the ticket is for something else, or the versions are incompatible.
        """
        _check_modules(command.modules)
        place = arguments.value(command.ticket, 0, Use.VALUE)
        if place.type_tag != UPGRADE_TICKET:
            raise bad_argument(0, "TYPE_MISMATCH", f"an UpgradeTicket is expected, this is {place.type_tag}")
        ticket = UpgradeTicket.decode(place.contents)
        previous = self._authorised(command, ticket)
        _check_compatibility(previous, command.modules, ticket.policy)
        interface = self._store(command.modules, command.dependencies, previous)
        return result(UPGRADE_RECEIPT, ticket.cap + interface.id, is_object=False)

    def _authorised(self, command: Upgrade, ticket: UpgradeTicket) -> PackageInterface:
        if command.package != ticket.package:
            raise _refused(
                f"the ticket is for {hex_address(ticket.package)}, not for {hex_address(command.package)}",
                UpgradeDetail("PACKAGE_ID_DOES_NOT_MATCH", package=command.package, ticket=ticket.package),
            )
        digest = package_digest(command.modules, command.dependencies)
        if digest != ticket.digest:
            raise _refused(
                "the ticket authorises other modules or dependencies than these",
                UpgradeDetail("DIGEST_DOES_NOT_MATCH", digest=digest),
            )
        stored = self._workspace.base.get(command.package)
        if stored is None or stored.package is None:
            raise _refused(
                f"{hex_address(command.package)} is not a package",
                UpgradeDetail("NOT_A_PACKAGE", package=command.package),
            )
        return stored.package

    def _store(
        self,
        modules: Sequence[bytes],
        dependencies: Sequence[bytes],
        previous: PackageInterface | None = None,
    ) -> PackageInterface:
        package_id = self._workspace.next_id()
        try:
            interface = self._vm.publish(package_id, modules, dependencies, previous)
        except MoveExecutionError as error:
            kind = error.kind or "VM_VERIFICATION_OR_DESERIALIZATION_ERROR"
            raise ExecutionFailedError(kind, str(error)) from error
        self._datatypes.register(interface)
        self._workspace.write(ObjectValue(package_id, PACKAGE_TYPE, b""), IMMUTABLE, interface)
        return interface


def _check_modules(modules: Sequence[bytes]) -> None:
    if not modules:
        raise ExecutionFailedError("VM_VERIFICATION_OR_DESERIALIZATION_ERROR", "a package needs a module")
    size = sum(map(len, modules))
    if size > _MAX_PACKAGE_BYTES:
        raise ExecutionFailedError(
            "PACKAGE_TOO_BIG", f"the modules have {size} bytes, at most {_MAX_PACKAGE_BYTES} are allowed"
        )
    for code in modules:
        try:
            address = read_interface(code).address
        except BytecodeError as error:
            raise ExecutionFailedError("VM_VERIFICATION_OR_DESERIALIZATION_ERROR", str(error)) from error
        if any(address):
            raise ExecutionFailedError(
                "PUBLISH_ERROR_NON_ZERO_ADDRESS", "modules to be published must have the address 0x0"
            )


def _check_compatibility(previous: PackageInterface, modules: Sequence[bytes], policy: int) -> None:
    if policy in {ADDITIVE, DEPENDENCIES_ONLY}:
        raise ExecutionFailedError(
            "FEATURE_NOT_YET_SUPPORTED",
            "this ledger upgrades under the policy 'compatible' only; the capability was restricted",
        )
    if policy != COMPATIBLE:
        raise _refused(
            f"{policy} is no upgrade policy", UpgradeDetail("UNKNOWN_UPGRADE_POLICY", policy=policy)
        )
    reasons = incompatibilities(list(previous.modules.values()), modules)
    if reasons:
        raise _refused("; ".join(reasons), UpgradeDetail("INCOMPATIBLE_UPGRADE"))


def _refused(message: str, detail: UpgradeDetail) -> ExecutionFailedError:
    return ExecutionFailedError("PACKAGE_UPGRADE_ERROR", message, detail=detail)
