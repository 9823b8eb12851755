"""Published packages: their interfaces, what of them runs, and the drivers that call their functions."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace

from ..bytecode.interface import FunctionDeclaration, ModuleInterface, Parameter, read_interface
from ..bytecode.types import Datatype, MoveType, TypeParameter, Vector, canonical, strip_reference
from ..compiler import CompileError
from ..execution import FunctionSignature, MoveCall, MoveExecutionError, PackageInterface
from ..framework import framework_modules
from ..linkage import FindPackage, Linkage, packages_named
from .drivers import DRIVER_ADDRESS, DRIVER_FUNCTION, Driver, build_drivers, is_context
from .linking import (
    LinkError,
    ModuleId,
    dependency_closure,
    interface_of,
    is_callable,
    make_executable,
    publish_at,
)
from .pruning import prune
from .shims import REDIRECTS, runtime_framework
from .versions import check_dependencies, link, type_origins


class Packages:
    """Everything that was published, in all versions, and the framework, which always is."""

    def __init__(self) -> None:
        self.code: dict[ModuleId, bytes] = {}
        """Modules as they run, drivers among them, by the id of their package's version."""
        self._published: dict[bytes, PackageInterface] = {}
        self._upgrades: dict[bytes, bytes] = {}
        """Id of a version that is not the first -> runtime id."""
        self._drivers: dict[tuple[bytes, str, str], ModuleId] = {}
        self._closures: dict[object, tuple[ModuleId, ...]] = {}
        self._framework: dict[ModuleId, bytes] = {}

    # === Publishing ===

    def publish(
        self,
        package: bytes,
        modules: Sequence[bytes],
        dependencies: Sequence[bytes],
        previous: PackageInterface | None = None,
    ) -> PackageInterface:
        """Link modules at ``package`` and make drivers for them; again, if the same were published there
        before (a transaction that is simulated first publishes twice).

        Raises:
            LinkError: they cannot be published together, or not with these dependencies.
            CompileError: no driver could be made for a function.
        """
        for module in modules:
            interface_of(module)
        runtime_id = package if previous is None else previous.runtime_id
        linked = [publish_at(module, runtime_id) for module in modules]
        interfaces = [read_interface(module) for module in linked]
        draft = PackageInterface(
            package,
            {one.name: module for one, module in zip(interfaces, linked, strict=True)},
            initializers=tuple(one.name for one in interfaces if "init" in one.functions),
            original=b"" if previous is None else runtime_id,
            version=1 if previous is None else previous.version + 1,
            type_origins=type_origins(package, interfaces, previous),
            linkage=link(dependencies, self.package),
        )
        check_dependencies(draft, interfaces)
        known = self._published.get(package)
        if known is not None and known != replace(draft, functions=known.functions):
            raise LinkError(f"another package is published at 0x{package.hex()}")
        return known or self._add(draft, interfaces)

    def _add(self, draft: PackageInterface, interfaces: list[ModuleInterface]) -> PackageInterface:
        def find(package: bytes) -> PackageInterface | None:
            return draft if package == draft.id else self.package(package)

        linkage = Linkage(find, draft)
        code = {(draft.id, name): make_executable(one, REDIRECTS) for name, one in draft.modules.items()}
        own = [(draft.runtime_id, one.name) for one in interfaces]
        closure = dependency_closure(own, lambda one: code.get(one) or self._find(one), linkage.version_of)
        used = {package for package, _ in closure}
        known = {draft.runtime_id: interfaces}
        for package in map(self.package, used):
            if package is not None:
                known[package.runtime_id] = list(map(read_interface, package.modules.values()))
        for (module, function), driver in build_drivers(interfaces, known).items():
            self._add_driver(draft.id, module, function, driver)
        self.code |= code
        signatures = {
            one.name: {name: self._signature(f, linkage, find) for name, f in one.functions.items()}
            for one in interfaces
        }
        self._published[draft.id] = replace(draft, functions=signatures)
        if draft.original:
            self._upgrades[draft.id] = draft.original
        return self._published[draft.id]

    def _add_driver(self, package: bytes, module: str, function: str, driver: Driver) -> ModuleId:
        # Drivers of several packages share names, and a call loads only one; the digest tells them apart
        # here.
        driver_id = (DRIVER_ADDRESS + hashlib.sha256(driver.code).digest(), driver.module)
        self.code[driver_id] = driver.code
        self._drivers[package, module, function] = driver_id
        return driver_id

    @staticmethod
    def _signature(function: FunctionDeclaration, linkage: Linkage, find: FindPackage) -> FunctionSignature:
        parameters = [one for one in function.parameters if not is_context(one)]
        return FunctionSignature(
            tuple(canonical(linkage.defining(one)) for one in parameters),
            tuple(
                _has_key(strip_reference(one), linkage, find, function.type_parameters) for one in parameters
            ),
            tuple(canonical(linkage.defining(one)) for one in function.returns),
            len(function.type_parameters),
            function.visibility == "public",
            function.entry,
        )

    # === Looking up ===

    def function(self, call: MoveCall) -> FunctionDeclaration:
        """The function that a call names.

        Raises:
            MoveExecutionError: there is none, or no transaction can call it.
        """
        name = f"0x{call.package.hex()}::{call.module}::{call.function}"
        module = self.interface((call.package, call.module))
        function = None if module is None else module.functions.get(call.function)
        if function is None:
            raise MoveExecutionError(f"there is no function {name}")
        if not is_callable(function):
            raise MoveExecutionError(f"{name} cannot be called from a transaction")
        return function

    async def driver(self, call: MoveCall, function: FunctionDeclaration) -> ModuleId:
        """The driver of a function.

        Raises:
            MoveExecutionError: none can be made: the compiler refuses such calls from outside the type's
            module.
        """
        key = (call.package, call.module, call.function)
        if key not in self._drivers:
            # The framework's: nobody publishes it, so its drivers are made when they are needed.
            module = self.interface(key[:2])
            assert module is not None
            alone = replace(module, functions={function.name: function})
            try:
                built = await asyncio.to_thread(build_drivers, [alone], {})
            except CompileError as error:
                raise MoveExecutionError(
                    f"{call.module}::{call.function} cannot be called: {error}"
                ) from error
            return self._add_driver(*key, built[call.module, call.function])
        return self._drivers[key]

    def linkage(self, package: bytes, type_arguments: Sequence[MoveType]) -> Linkage:
        """What runs together when a function of this version of a package is called."""
        named = (one for argument in type_arguments for one in packages_named(argument))
        return Linkage(self.package, self.package(package), named)

    def closure(
        self, driver: ModuleId, linkage: Linkage, type_arguments: Sequence[MoveType]
    ) -> tuple[ModuleId, ...]:
        """What must be loaded to run a driver, itself first; type arguments as bytecode names them.

        Raises:
            MoveExecutionError: a type argument names a module that does not exist.
        """
        named = (one for argument in type_arguments for one in _modules_of(argument))
        roots = (driver, *dict.fromkeys(named))
        key = (linkage.key, roots)
        if key not in self._closures:
            try:
                needed = dependency_closure(roots, self._find, linkage.version_of)
            except LinkError as error:
                raise MoveExecutionError(str(error)) from error
            loaded = prune(needed, (DRIVER_ADDRESS, driver[1], DRIVER_FUNCTION))
            self.code |= loaded
            self._closures[key] = tuple(loaded)
        return self._closures[key]

    def _find(self, module_id: ModuleId) -> bytes | None:
        if not self._framework:
            self._framework = runtime_framework()
        if module_id not in self.code and module_id in self._framework:
            self.code[module_id] = self._framework[module_id]
        return self.code.get(module_id)

    def package(self, package: bytes) -> PackageInterface | None:
        """A version of a package by its id; None for the framework's."""
        return self._published.get(package)

    def runtime_tag(self, type_tag: str) -> str:
        """A canonical type tag as bytecode names it."""
        for package, runtime_id in self._upgrades.items():
            type_tag = type_tag.replace(f"0x{package.hex()}::", f"0x{runtime_id.hex()}::")
        return type_tag

    def interface(self, module_id: ModuleId) -> ModuleInterface | None:
        """A module as it was published; of the framework, the real one, not a shim."""
        return _interface(self.package, module_id)

    def has_key(self, move_type: MoveType, linkage: Linkage) -> bool:
        """Is it (as bytecode names it) a type of objects?"""
        return _has_key(move_type, linkage, self.package)


def _interface(find: FindPackage, module_id: ModuleId) -> ModuleInterface | None:
    address, name = module_id
    if address in framework_modules():
        code = framework_modules()[address].get(name)
    else:
        package = find(address)
        code = None if package is None else package.modules.get(name)
    return None if code is None else read_interface(code)


def _has_key(
    move_type: MoveType, linkage: Linkage, find: FindPackage, constraints: Sequence[Parameter] = ()
) -> bool:
    """``constraints`` are those of the type parameters that may occur."""
    match move_type:
        case TypeParameter(index):
            return "key" in constraints[index].constraints
        case Datatype(address, module, name):
            interface = _interface(find, (linkage.version_of(address), module))
            if interface is None or name not in interface.datatypes:
                return False
            return "key" in interface.datatypes[name].abilities
    return False


def _modules_of(move_type: MoveType) -> list[ModuleId]:
    match move_type:
        case Vector(element):
            return _modules_of(element)
        case Datatype(address, module, _, arguments):
            return [(address, module), *(one for argument in arguments for one in _modules_of(argument))]
    return []
