"""The seam between the local ledger (Python, simulated) and the Move VM (real).

The ledger owns objects, owners, versions, digests, gas accounts and time; it hands one Move call at a
time to a :class:`MoveVm`, which runs the published bytecode and says what happened. Nothing that a Move
module decides is decided in Python, and nothing that a validator decides is left to the VM.

Type tags are strings in canonical form: 64-digit addresses, no spaces, for example
``0x000…0002::coin::Coin<0x000…0002::sui::SUI>``. Contents are BCS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectValue:
    """A Move object: its 32-byte id, its type tag and its BCS contents (which begin with the id)."""

    id: bytes
    type_tag: str
    contents: bytes


@dataclass(frozen=True, slots=True)
class PureInput:
    """A non-object argument, already in BCS."""

    value: bytes


@dataclass(frozen=True, slots=True)
class ObjectInput:
    """An object argument. ``shared`` tells the VM how the object is owned before the call."""

    value: ObjectValue
    shared: bool


CallInput = PureInput | ObjectInput


@dataclass(frozen=True, slots=True)
class TxFrame:
    """What ``TxContext`` shows to Move. ``ids_created`` continues across the commands of one transaction."""

    sender: bytes
    digest: bytes
    epoch: int
    epoch_timestamp_ms: int
    ids_created: int


@dataclass(frozen=True, slots=True)
class MoveCall:
    """One command: ``package`` is the 32-byte id of the version that was called."""

    package: bytes
    module: str
    function: str
    type_arguments: tuple[str, ...]
    arguments: tuple[CallInput, ...]


@dataclass(frozen=True, slots=True)
class Transferred:
    value: ObjectValue
    recipient: bytes


@dataclass(frozen=True, slots=True)
class Shared:
    value: ObjectValue


@dataclass(frozen=True, slots=True)
class Frozen:
    value: ObjectValue


@dataclass(frozen=True, slots=True)
class Mutated:
    """An object that came in by mutable reference, with its contents after the call."""

    value: ObjectValue


@dataclass(frozen=True, slots=True)
class Consumed:
    """An object that came in by value and was neither returned, transferred, shared nor frozen."""

    id: bytes


@dataclass(frozen=True, slots=True)
class ChildWritten:
    """A dynamic field (or child object) created or changed under ``parent``."""

    parent: bytes
    value: ObjectValue


@dataclass(frozen=True, slots=True)
class ChildRemoved:
    parent: bytes
    id: bytes


Change = Transferred | Shared | Frozen | Mutated | Consumed | ChildWritten | ChildRemoved


@dataclass(frozen=True, slots=True)
class ReturnValue:
    type_tag: str
    contents: bytes
    is_object: bool


@dataclass(frozen=True, slots=True)
class EmittedEvent:
    """An event. It was emitted by the module that declares its type: the Move compiler allows no other."""

    type_tag: str
    contents: bytes


@dataclass(frozen=True, slots=True)
class CallOutcome:
    changes: tuple[Change, ...] = ()
    events: tuple[EmittedEvent, ...] = ()
    returns: tuple[ReturnValue, ...] = ()
    ids_created: int = 0
    """As in :class:`TxFrame`, after the call."""
    gas_units: int = 0
    mutated_values: Mapping[int, bytes] = field(default_factory=dict)
    """BCS after the call of arguments that are no objects and were passed by ``&mut``, by position."""


@dataclass(frozen=True, slots=True)
class FunctionSignature:
    """What the ledger must know before a call: how every parameter (without TxContext) is passed."""

    parameters: tuple[str, ...]
    """Canonical Move types, ``&``/``&mut `` in front of references; type parameters as ``T0``, ``T1``."""
    object_parameters: tuple[bool, ...]
    """True where the parameter's type has the ``key`` ability."""
    returns: tuple[str, ...]
    type_parameters: int
    public: bool
    entry: bool


@dataclass(frozen=True, slots=True)
class Linked:
    """The version of a dependency that a package runs with."""

    id: bytes
    version: int


@dataclass(frozen=True, slots=True)
class PackageInterface:
    """Module -> function -> signature of one published package, and its bytecode as published.

    A package has two ids: ``id``, under which this version is stored and called, and ``runtime_id``, which
    its first version was given and which the bytecode of every version names. Type tags name the version that
    introduced the type (``type_origins``); signatures are written with type tags.
    """

    id: bytes
    modules: Mapping[str, bytes]
    functions: Mapping[str, Mapping[str, FunctionSignature]] = field(default_factory=dict)
    initializers: tuple[str, ...] = ()
    """Modules with an ``init`` function, in publication order."""
    original: bytes = b""
    """The first version's id; empty in the first version itself."""
    version: int = 1
    type_origins: Mapping[tuple[str, str], bytes] = field(default_factory=dict)
    """(module, datatype) -> id of the version that introduced it."""
    linkage: Mapping[bytes, Linked] = field(default_factory=dict)
    """Runtime id of every dependency -> its version."""

    @property
    def runtime_id(self) -> bytes:
        return self.original or self.id


class MoveAbortError(Exception):
    """A Move abort: ``module`` is ``0x<64 hex>::name``; ``code`` the abort code; ``function`` if known."""

    def __init__(self, module: str, code: int, function: str | None = None) -> None:
        super().__init__(f"MoveAbort in {module}: {code}")
        self.module = module
        self.code = code
        self.function = function


class MoveExecutionError(Exception):
    """Every other failure: unknown function, wrong type, bad bytes, out of gas, modules that do not link.

    ``kind`` is Sui's ``ExecutionErrorKind`` where the VM knows it.
    """

    def __init__(self, message: str, *, kind: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind


class MoveVm(Protocol):
    """The real VM. Guarantees:

    1. A call is deterministic and keeps no state between calls: all it may read is in the arguments.
    2. The bytecode that runs is the published bytecode; what is patched for execution is stated and asserted.
    3. ``publish`` links a package so that it can be called by its id; it runs no ``init`` and does not ask
       whether an upgrade is allowed.
    4. Every type tag that goes in or comes out names the version of a package that introduced the type.
    """

    def publish(
        self,
        package: bytes,
        modules: Sequence[bytes],
        dependencies: Sequence[bytes],
        previous: PackageInterface | None = None,
    ) -> PackageInterface:
        """Link modules at ``package``, as the next version of ``previous`` if that is given.

        Raises:
            MoveExecutionError: they cannot be linked, or not be called.
        """
        ...

    async def call(
        self,
        call: MoveCall,
        frame: TxFrame,
        children: Mapping[bytes, Sequence[ObjectValue]],
        *,
        clock_ms: int,
    ) -> CallOutcome:
        """Run one call. ``children`` maps a parent id to its dynamic fields, as many as the call may reach.

        ``init`` is called as function ``init``; a one-time witness is supplied by the VM.

        Raises:
            MoveAbortError: the code aborted.
            MoveExecutionError: the call could not be run.
        """
        ...

    async def close(self) -> None: ...
