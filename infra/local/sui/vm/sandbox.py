"""``MoveVm`` on the native library of the ``sui_sandbox`` wheel, which embeds Sui's Move VM.

The VM's work: loading, linking and verifying bytecode (of what a call can reach, :mod:`.pruning`), executing
it under a gas limit, type arguments, aborts and arithmetic errors, BCS of every value that comes back,
dynamic fields while the call runs, the natives of ``std`` and most of ``sui``.

Simulated, in Move, by the shims of ``vm/shims``: the recording of events, transfers and dynamic fields,
``TxContext``, and what this VM's natives get wrong. Their bytecode is loaded in place of the framework's.

Simulated, in Python: nothing that a module decides. Linking opens the visibility of entry and ``init``
functions, and :func:`.linking.make_executable` asserts that it changes nothing else.

Versions of a package: the VM has no linkage of its own. It is given the modules of the versions that run
together, each under its package's runtime id, and type tags are translated at this seam. So
``type_name::with_defining_ids`` and the ids of dynamic fields show the runtime id even for a type (of a
field's name) that only an upgrade introduced, where Sui shows that upgrade's id.

Not there: gas as Sui counts it (``gas_units`` is a flat figure of the library), receiving of objects, party
owners, sponsors, funds accumulators, authenticated events, BLS, Groth16, VDF, Poseidon, zkLogin, Nitro. A
call that needs one of them fails with ``MoveExecutionError``. The checks that Sui adds to publishing, beyond
Move's own (private generics, entry signatures, leaking ids), are the compiler's alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..bytecode.interface import FunctionDeclaration
from ..bytecode.types import (
    MoveType,
    Reference,
    TypeTextError,
    canonical,
    parse_type,
    strip_reference,
    substitute,
)
from ..compiler import CompileError
from ..execution import (
    CallOutcome,
    MoveAbortError,
    MoveCall,
    MoveExecutionError,
    ObjectInput,
    ObjectValue,
    PackageInterface,
    TxFrame,
)
from ..linkage import Linkage, runtime_type
from .drivers import is_context
from .invocation import Result
from .linking import LinkError
from .messages import Request
from .packages import Packages
from .pool import WorkerPool
from .trace import Kind, mutations, net_effects

CALL_SECONDS = 20.0
"""How long one call may take: far longer than the gas limit allows, and so a sign that the VM hangs."""
_WITNESS = b"\x01"
"""A one-time witness: a struct whose only field is a boolean that the compiler adds."""


class SandboxVm:
    """See the module. An instance belongs to the event loop of its first call."""

    def __init__(self, *, workers: int = 2, call_seconds: float = CALL_SECONDS) -> None:
        self._pool = WorkerPool(workers, call_seconds)
        self._packages = Packages()

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers that run."""
        return self._pool.pids

    def publish(
        self,
        package: bytes,
        modules: Sequence[bytes],
        dependencies: Sequence[bytes],
        previous: PackageInterface | None = None,
    ) -> PackageInterface:
        """As :meth:`MoveVm.publish`. Compiles drivers (about a second) where the same package was never
        published before."""
        try:
            return self._packages.publish(package, modules, dependencies, previous)
        except (LinkError, CompileError) as error:
            kind = error.kind if isinstance(error, LinkError) else None
            raise MoveExecutionError(f"the package cannot be published: {error}", kind=kind) from error

    async def call(
        self,
        call: MoveCall,
        frame: TxFrame,
        children: Mapping[bytes, Sequence[ObjectValue]],
        *,
        clock_ms: int,
    ) -> CallOutcome:
        """As :meth:`MoveVm.call`. Time comes from the ``Clock`` object among the arguments; ``clock_ms`` is
        unused.

        ``init`` takes no arguments: the one-time witness and ``TxContext`` are supplied here. That pure
        bytes are what a transaction may pass for their type, and who owns what, is for the ledger to check.
        """
        del clock_ms
        packages = self._packages
        function = packages.function(call)
        named = _type_arguments(call, function)
        linkage = packages.linkage(call.package, named)
        types = [runtime_type(packages.package, one) for one in named]
        declared = [substitute(one, types) for one in function.parameters if not is_context(one)]
        arguments = self._arguments(call, declared, linkage)
        driver = await packages.driver(call, function)
        request = Request(
            driver,
            packages.closure(driver, linkage, types),
            {},
            tuple(map(canonical, types)),
            arguments,
            frame,
            {parent: tuple(map(self._as_run, values)) for parent, values in children.items()},
        )
        try:
            result = await self._pool.run(request, packages.code)
        except MoveAbortError as abort:
            raise _relocated(abort, linkage) from abort
        existing = frozenset(child.id for values in children.values() for child in values)
        return self._outcome(result, call, declared, linkage, existing)

    def _as_run(self, child: ObjectValue) -> ObjectValue:
        type_tag = self._packages.runtime_tag(child.type_tag)
        return child if type_tag == child.type_tag else replace(child, type_tag=type_tag)

    async def close(self) -> None:
        """End the workers."""
        await self._pool.close()

    def _arguments(self, call: MoveCall, declared: Sequence[MoveType], linkage: Linkage) -> tuple[bytes, ...]:
        if call.function == "init":
            return tuple(_WITNESS for _ in declared)
        if len(call.arguments) != len(declared):
            raise MoveExecutionError(f"{len(declared)} arguments are needed, {len(call.arguments)} came")
        values = []
        for position, (argument, parameter) in enumerate(zip(call.arguments, declared, strict=True)):
            bare = strip_reference(parameter)
            if isinstance(argument, ObjectInput):
                # The driver takes contents without a type, so this comparison is what types an object.
                expected = canonical(linkage.defining(bare))
                if expected != argument.value.type_tag:
                    raise MoveExecutionError(
                        f"argument {position} must be {expected}, not {argument.value.type_tag}"
                    )
                values.append(argument.value.contents)
            elif self._packages.has_key(bare, linkage):
                raise MoveExecutionError(f"argument {position} must be an object ({canonical(bare)})")
            else:
                values.append(argument.value)
        return tuple(values)

    def _outcome(
        self,
        result: Result,
        call: MoveCall,
        declared: Sequence[MoveType],
        linkage: Linkage,
        existing_children: frozenset[bytes],
    ) -> CallOutcome:
        objects = {
            position: argument
            for position, argument in enumerate(call.arguments)
            if isinstance(argument, ObjectInput)
        }
        by_value = [one for at, one in objects.items() if not isinstance(declared[at], Reference)]
        returned = [entry.type_tag for entry in result.entries if entry.kind is Kind.RETURN]
        is_object = [self._packages.has_key(parse_type(tag), linkage) for tag in returned]
        entries = [
            replace(entry, type_tag=linkage.defining_tag(entry.type_tag)) if entry.type_tag else entry
            for entry in result.entries
        ]
        effects = net_effects(entries, by_value, existing_children, is_object)
        return CallOutcome(
            (*effects.changes, *mutations(effects, objects)),
            tuple(effects.events),
            tuple(effects.returns),
            result.ids_created,
            result.gas_units,
            {at: contents for at, contents in effects.arguments.items() if at not in objects},
        )


def _relocated(abort: MoveAbortError, linkage: Linkage) -> MoveAbortError:
    """The abort in the version of the package that ran, as Sui names it."""
    address, _, module = abort.module.partition("::")
    package = linkage.version_of(bytes.fromhex(address.removeprefix("0x")))
    return MoveAbortError(f"0x{package.hex()}::{module}", abort.code, abort.function)


def _type_arguments(call: MoveCall, function: FunctionDeclaration) -> list[MoveType]:
    if len(call.type_arguments) != len(function.type_parameters):
        raise MoveExecutionError(
            f"{len(function.type_parameters)} type arguments are needed, {len(call.type_arguments)} came"
        )
    try:
        return [parse_type(text) for text in call.type_arguments]
    except TypeTextError as error:
        raise MoveExecutionError(str(error)) from error
