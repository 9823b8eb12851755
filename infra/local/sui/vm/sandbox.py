"""``MoveVm`` on the native library of the ``sui_sandbox`` wheel, which embeds Sui's Move VM.

The VM's work: loading, linking and verifying bytecode, executing it, type arguments, aborts and arithmetic errors, BCS
of every value that comes back, dynamic fields while the call runs, the natives of ``std`` and most of ``sui``.

Simulated, in Move, by the shims of ``vm/shims``: the recording of events, transfers and dynamic fields, ``TxContext``,
``hmac``. Their bytecode is loaded in place of the framework's. Simulated, in Python: nothing that a module decides;
linking changes the visibility flags of entry and ``init`` functions, and :func:`.linking.make_executable` asserts that
it changes nothing else.

Not there: gas metering (``gas_units`` is the flat figure of the library), receiving of objects, party owners,
sponsors, funds accumulators, authenticated events, BLS, Groth16, VDF, Poseidon, zkLogin, Nitro. What is not there
fails with ``MoveExecutionError``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial

from ..bytecode.interface import FunctionDeclaration, ModuleInterface, Parameter, read_interface
from ..bytecode.types import (
    Datatype,
    MoveType,
    Reference,
    TypeParameter,
    TypeTextError,
    Vector,
    canonical,
    parse_type,
    strip_reference,
    substitute,
)
from ..compiler import CompileError
from ..execution import (
    CallOutcome,
    FunctionSignature,
    MoveCall,
    MoveExecutionError,
    ObjectInput,
    ObjectValue,
    PackageInterface,
    TxFrame,
)
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
from .messages import Request
from .pool import WorkerPool
from .shims import REDIRECTS, runtime_framework
from .trace import Kind, mutations, net_effects

CALL_SECONDS = 20.0
"""How long one call may take: far longer than any sensible one, since nothing else ends an endless loop."""


class SandboxVm:
    """See the module. One instance belongs to one event loop."""

    def __init__(self, *, workers: int = 2, call_seconds: float = CALL_SECONDS) -> None:
        self._pool = WorkerPool(workers, call_seconds)
        self._published: dict[ModuleId, ModuleInterface] = {}
        self._code: dict[ModuleId, bytes] = {}
        self._drivers: dict[tuple[bytes, str, str], ModuleId] = {}
        self._closures: dict[tuple[ModuleId, ...], tuple[ModuleId, ...]] = {}
        self._framework: dict[ModuleId, bytes] = {}

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers that run."""
        return self._pool.pids

    # === Publishing ===

    def publish(
        self, package: bytes, modules: Sequence[bytes], dependencies: Sequence[bytes]
    ) -> PackageInterface:
        """Link a package at ``package`` and generate what is needed to call it.

        Raises:
            MoveExecutionError: the modules cannot be linked or run.
        """
        try:
            return self._publish(package, modules, dependencies)
        except (LinkError, CompileError) as error:
            raise MoveExecutionError(f"the package cannot be published: {error}") from error

    def _publish(
        self, package: bytes, modules: Sequence[bytes], dependencies: Sequence[bytes]
    ) -> PackageInterface:
        for dependency in dependencies:
            if dependency not in PACKAGE_NAMES and dependency not in self._packages():
                raise LinkError(f"the dependency 0x{dependency.hex()} is not published")
        for module in modules:
            interface_of(module)
        linked = [publish_at(module, package) for module in modules]
        interfaces = [read_interface(module) for module in linked]
        if len({one.name for one in interfaces}) != len(interfaces) or not interfaces:
            raise LinkError("a package has at least one module, and each a name of its own")
        available = {*dependencies, package, *PACKAGE_NAMES}
        for interface in interfaces:
            for address, name in interface.dependencies:
                if address not in available:
                    raise LinkError(f"0x{address.hex()}::{name} is used, but not among the dependencies")
        code = {
            one.id: make_executable(module, REDIRECTS) for one, module in zip(interfaces, linked, strict=True)
        }
        closure = dependency_closure(code, lambda one: code.get(one) or self._find(one))
        self._add_drivers(package, interfaces, closure)
        self._code |= code
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

    def _packages(self) -> dict[bytes, list[ModuleInterface]]:
        packages: dict[bytes, list[ModuleInterface]] = {}
        for interface in self._published.values():
            packages.setdefault(interface.address, []).append(interface)
        return packages

    def _add_drivers(
        self, package: bytes, interfaces: list[ModuleInterface], closure: Mapping[ModuleId, bytes]
    ) -> None:
        known = {package: interfaces}
        packages = self._packages()
        for address, _ in closure:
            if address in packages:
                known[address] = packages[address]
        for (module, function), driver in build_drivers(interfaces, known).items():
            self._add_driver(package, module, function, driver)

    def _add_driver(self, package: bytes, module: str, function: str, driver: Driver) -> None:
        # Drivers of several packages have the same names, and only ever one is loaded; the digest tells them apart.
        marker = hashlib.sha256(driver.code).hexdigest()
        driver_id = (DRIVER_ADDRESS + bytes.fromhex(marker), driver.module)
        self._code[driver_id] = driver.code
        self._drivers[package, module, function] = driver_id

    def _signature(self, function: FunctionDeclaration) -> FunctionSignature:
        parameters = [one for one in function.parameters if not is_context(one)]
        keyed = partial(self._has_key, constraints=function.type_parameters)
        return FunctionSignature(
            tuple(map(canonical, parameters)),
            tuple(keyed(strip_reference(one)) for one in parameters),
            tuple(map(canonical, function.returns)),
            len(function.type_parameters),
            function.visibility == "public",
            function.entry,
        )

    # === Calling ===

    async def call(
        self,
        call: MoveCall,
        frame: TxFrame,
        children: Mapping[bytes, Sequence[ObjectValue]],
        *,
        clock_ms: int,
    ) -> CallOutcome:
        """As :meth:`MoveVm.call`. Time comes from the ``Clock`` object among the arguments; ``clock_ms`` is unused.

        ``init`` takes no arguments: the one-time witness and ``TxContext`` are supplied here.
        """
        del clock_ms
        function = self._function(call)
        types = _type_arguments(call, function)
        declared = [substitute(one, types) for one in function.parameters if not is_context(one)]
        arguments = self._arguments(call, declared)
        driver = self._driver(call, function)
        request = Request(
            driver,
            self._closure(driver, types),
            {},
            tuple(map(canonical, types)),
            arguments,
            frame,
            {parent: tuple(values) for parent, values in children.items()},
        )
        result = await self._pool.run(request, self._code)

        objects = {
            position: argument
            for position, argument in enumerate(call.arguments)
            if isinstance(argument, ObjectInput)
        }
        by_value = [one for at, one in objects.items() if not isinstance(declared[at], Reference)]
        returned = [one.type_tag for one in result.entries if one.kind is Kind.RETURN]
        effects = net_effects(
            result.entries,
            by_value,
            frozenset(child.id for values in children.values() for child in values),
            [self._has_key(parse_type(tag)) for tag in returned],
        )
        return CallOutcome(
            (*effects.changes, *mutations(effects, objects)),
            tuple(effects.events),
            tuple(effects.returns),
            result.ids_created,
            result.gas_units,
            {at: contents for at, contents in effects.arguments.items() if at not in objects},
        )

    async def close(self) -> None:
        await self._pool.close()

    def _function(self, call: MoveCall) -> FunctionDeclaration:
        name = f"0x{call.package.hex()}::{call.module}::{call.function}"
        module = self._interface((call.package, call.module))
        function = None if module is None else module.functions.get(call.function)
        if function is None:
            raise MoveExecutionError(f"there is no function {name}")
        if not is_callable(function):
            raise MoveExecutionError(f"{name} cannot be called from a transaction")
        return function

    def _arguments(self, call: MoveCall, declared: Sequence[MoveType]) -> tuple[bytes, ...]:
        if call.function == "init":
            return tuple(b"\x01" for _ in declared)  # a one-time witness holds one boolean
        if len(call.arguments) != len(declared):
            raise MoveExecutionError(f"{len(declared)} arguments are needed, {len(call.arguments)} came")
        values = []
        for position, (argument, parameter) in enumerate(zip(call.arguments, declared, strict=True)):
            bare = strip_reference(parameter)
            if isinstance(argument, ObjectInput):
                # The driver takes contents without a type, so this comparison is what types an object.
                if canonical(bare) != argument.value.type_tag:
                    raise MoveExecutionError(
                        f"argument {position} must be {canonical(bare)}, not {argument.value.type_tag}"
                    )
                values.append(argument.value.contents)
            elif self._has_key(bare):
                raise MoveExecutionError(f"argument {position} must be an object ({canonical(bare)})")
            else:
                values.append(argument.value)
        return tuple(values)

    def _driver(self, call: MoveCall, function: FunctionDeclaration) -> ModuleId:
        key = (call.package, call.module, call.function)
        if key not in self._drivers:
            # A framework function: nobody publishes the framework, so its drivers are made when they are needed.
            module = self._interface(key[:2])
            assert module is not None
            alone = ModuleInterface(
                module.address, module.name, module.dependencies, module.datatypes, {function.name: function}
            )
            try:
                built = build_drivers([alone], {})
            except CompileError as error:
                raise MoveExecutionError(
                    f"{call.module}::{call.function} cannot be called: {error}"
                ) from error
            self._add_driver(*key, built[call.module, call.function])
        return self._drivers[key]

    def _closure(self, driver: ModuleId, types: Sequence[MoveType]) -> tuple[ModuleId, ...]:
        roots = (driver, *dict.fromkeys(one for argument in types for one in _modules_of(argument)))
        if roots not in self._closures:
            try:
                self._closures[roots] = tuple(dependency_closure(roots, self._find))
            except LinkError as error:
                raise MoveExecutionError(str(error)) from error
        return self._closures[roots]

    def _find(self, module_id: ModuleId) -> bytes | None:
        if not self._framework:
            self._framework = runtime_framework()
        if module_id not in self._code and module_id in self._framework:
            self._code[module_id] = self._framework[module_id]
        return self._code.get(module_id)

    # === Types ===

    def _interface(self, module_id: ModuleId) -> ModuleInterface | None:
        address, name = module_id
        if address in framework_modules():
            code = framework_modules()[address].get(name)
            return None if code is None else read_interface(code)
        return self._published.get(module_id)

    def _has_key(self, move_type: MoveType, constraints: Sequence[Parameter] = ()) -> bool:
        match move_type:
            case TypeParameter(index):
                return "key" in constraints[index].constraints
            case Datatype(address, module, name):
                interface = self._interface((address, module))
                if interface is None or name not in interface.datatypes:
                    return False
                return "key" in interface.datatypes[name].abilities
        return False


def _type_arguments(call: MoveCall, function: FunctionDeclaration) -> list[MoveType]:
    if len(call.type_arguments) != len(function.type_parameters):
        raise MoveExecutionError(
            f"{len(function.type_parameters)} type arguments are needed, {len(call.type_arguments)} came"
        )
    try:
        return [parse_type(text) for text in call.type_arguments]
    except TypeTextError as error:
        raise MoveExecutionError(str(error)) from error


def _modules_of(move_type: MoveType) -> list[ModuleId]:
    match move_type:
        case Vector(element):
            return _modules_of(element)
        case Datatype(address, module, _, arguments):
            return [(address, module), *(one for argument in arguments for one in _modules_of(argument))]
    return []
