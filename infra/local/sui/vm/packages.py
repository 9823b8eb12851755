"""Published packages: their interfaces, what of them runs, and the drivers that call their functions."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..bytecode.interface import FunctionDeclaration, ModuleInterface, Parameter, read_interface
from ..bytecode.types import Datatype, MoveType, TypeParameter, Vector, canonical, strip_reference
from ..compiler import CompileError
from ..execution import FunctionSignature, MoveCall, MoveExecutionError, PackageInterface
from ..framework import PACKAGE_NAMES, framework_modules
from .drivers import DRIVER_ADDRESS, Driver, build_drivers, is_context
from .linking import (
    LinkError,
    ModuleId,
    dependency_closure,
    interface_of,
    is_callable,
    make_executable,
    publish_at,
)
from .shims import REDIRECTS, runtime_framework


class Packages:
    """Everything that was published, and the framework, which always is."""

    def __init__(self) -> None:
        self.code: dict[ModuleId, bytes] = {}
        """Modules as they run, drivers among them."""
        self._published: dict[ModuleId, ModuleInterface] = {}
        self._drivers: dict[tuple[bytes, str, str], ModuleId] = {}
        self._closures: dict[tuple[ModuleId, ...], tuple[ModuleId, ...]] = {}
        self._framework: dict[ModuleId, bytes] = {}

    # === Publishing ===

    def publish(
        self, package: bytes, modules: Sequence[bytes], dependencies: Sequence[bytes]
    ) -> PackageInterface:
        """Link modules at ``package`` and make drivers for them; again, if the same were published there
        before (a transaction that is simulated first publishes twice).

        Raises:
            LinkError: they cannot be published together, or not with these dependencies.
            CompileError: no driver could be made for a function.
        """
        for module in modules:
            interface_of(module)
        linked = [publish_at(module, package) for module in modules]
        interfaces = [read_interface(module) for module in linked]
        self._check_linkage(package, interfaces, dependencies)
        code = {
            one.id: make_executable(module, REDIRECTS) for one, module in zip(interfaces, linked, strict=True)
        }
        before = {one: known for one, known in self.code.items() if one[0] == package}
        if before not in ({}, code):
            raise LinkError(f"another package is published at 0x{package.hex()}")
        closure = dependency_closure(code, lambda one: code.get(one) or self._find(one))
        self._make_drivers(package, interfaces, closure)
        self.code |= code
        self._published |= {one.id: one for one in interfaces}
        return PackageInterface(
            package,
            {one.name: module for one, module in zip(interfaces, linked, strict=True)},
            {
                one.name: {name: self._signature(function) for name, function in one.functions.items()}
                for one in interfaces
            },
            tuple(one.name for one in interfaces if "init" in one.functions),
        )

    def _check_linkage(
        self, package: bytes, interfaces: Sequence[ModuleInterface], dependencies: Sequence[bytes]
    ) -> None:
        packages = self._by_package()
        for dependency in dependencies:
            if dependency not in PACKAGE_NAMES and dependency not in packages:
                raise LinkError(f"the dependency 0x{dependency.hex()} is not published")
        if len({one.name for one in interfaces}) != len(interfaces) or not interfaces:
            raise LinkError("a package has at least one module, and each has a name of its own")
        available = {*dependencies, package}
        for interface in interfaces:
            for address, name in interface.dependencies:
                if address not in available:
                    raise LinkError(f"0x{address.hex()}::{name} is used, but not among the dependencies")

    def _by_package(self) -> dict[bytes, list[ModuleInterface]]:
        packages: dict[bytes, list[ModuleInterface]] = {}
        for interface in self._published.values():
            packages.setdefault(interface.address, []).append(interface)
        return packages

    def _make_drivers(
        self, package: bytes, interfaces: list[ModuleInterface], closure: Mapping[ModuleId, bytes]
    ) -> None:
        packages = self._by_package()
        known = {package: interfaces}
        known |= {address: packages[address] for address, _ in closure if address in packages}
        for (module, function), driver in build_drivers(interfaces, known).items():
            self._add_driver(package, module, function, driver)

    def _add_driver(self, package: bytes, module: str, function: str, driver: Driver) -> ModuleId:
        # Drivers of several packages share names, and a call loads only one; the digest tells them apart
        # here.
        driver_id = (DRIVER_ADDRESS + hashlib.sha256(driver.code).digest(), driver.module)
        self.code[driver_id] = driver.code
        self._drivers[package, module, function] = driver_id
        return driver_id

    def _signature(self, function: FunctionDeclaration) -> FunctionSignature:
        parameters = [one for one in function.parameters if not is_context(one)]
        return FunctionSignature(
            tuple(map(canonical, parameters)),
            tuple(self.has_key(strip_reference(one), function.type_parameters) for one in parameters),
            tuple(map(canonical, function.returns)),
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

    def closure(self, driver: ModuleId, type_arguments: Sequence[MoveType]) -> tuple[ModuleId, ...]:
        """What must be loaded to run a driver, itself first.

        Raises:
            MoveExecutionError: a type argument names a module that does not exist.
        """
        named = (one for argument in type_arguments for one in _modules_of(argument))
        roots = (driver, *dict.fromkeys(named))
        if roots not in self._closures:
            try:
                self._closures[roots] = tuple(dependency_closure(roots, self._find))
            except LinkError as error:
                raise MoveExecutionError(str(error)) from error
        return self._closures[roots]

    def _find(self, module_id: ModuleId) -> bytes | None:
        if not self._framework:
            self._framework = runtime_framework()
        if module_id not in self.code and module_id in self._framework:
            self.code[module_id] = self._framework[module_id]
        return self.code.get(module_id)

    def interface(self, module_id: ModuleId) -> ModuleInterface | None:
        """A module as it was published; of the framework, the real one, not a shim."""
        address, name = module_id
        if address in framework_modules():
            code = framework_modules()[address].get(name)
            return None if code is None else read_interface(code)
        return self._published.get(module_id)

    def has_key(self, move_type: MoveType, constraints: Sequence[Parameter] = ()) -> bool:
        """Is it a type of objects? ``constraints`` are those of the type parameters that may occur."""
        match move_type:
            case TypeParameter(index):
                return "key" in constraints[index].constraints
            case Datatype(address, module, name):
                interface = self.interface((address, module))
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
