"""Versions of packages: what a name in bytecode stands for when code of one version runs.

Bytecode of every version names a package by its *runtime id*, the id of its first version. Objects, events
and signatures name a type by its *defining id*, the version that introduced it. A linkage says which version
of every package runs together, and so translates between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .bytecode.types import Datatype, MoveType, Reference, Vector, canonical, parse_type
from .execution import Linked, PackageInterface

FindPackage = Callable[[bytes], PackageInterface | None]
"""A published package by the id of its version; None for the framework, which has one version."""


class Linkage:
    """The packages that run when a function of ``root`` is called with type arguments of ``extra`` packages.

    ``root`` runs in exactly its version; where two versions of another package are asked for, the newer one
    runs, as on Sui.
    """

    def __init__(self, find: FindPackage, root: PackageInterface | None, extra: Iterable[bytes] = ()) -> None:
        self._find = find
        self._linked: dict[bytes, Linked] = {}
        if root is not None:
            self._add(root)
        for package_id in extra:
            package = find(package_id)
            if package is not None:
                self._add(package)
        if root is not None:
            self._linked[root.runtime_id] = Linked(root.id, root.version)
        self._upgraded = any(linked.id != runtime for runtime, linked in self._linked.items())

    @property
    def key(self) -> tuple[tuple[bytes, bytes], ...]:
        """Equal for equal linkages."""
        return tuple(sorted((runtime, linked.id) for runtime, linked in self._linked.items()))

    def version_of(self, runtime_id: bytes) -> bytes:
        """The id of the version that runs."""
        linked = self._linked.get(runtime_id)
        return runtime_id if linked is None else linked.id

    def defining(self, move_type: MoveType) -> MoveType:
        """A type as bytecode names it (the package's own zero address is not understood), as a type tag."""
        return _readdressed(move_type, self._defining_id) if self._upgraded else move_type

    def defining_tag(self, type_tag: str) -> str:
        """As :meth:`defining`, for a canonical text."""
        return canonical(self.defining(parse_type(type_tag))) if self._upgraded else type_tag

    def _add(self, package: PackageInterface) -> None:
        for runtime, linked in (
            (package.runtime_id, Linked(package.id, package.version)),
            *package.linkage.items(),
        ):
            known = self._linked.get(runtime)
            if known is None or known.version < linked.version:
                self._linked[runtime] = linked

    def _defining_id(self, datatype: Datatype) -> bytes:
        package = self._find(self.version_of(datatype.address))
        if package is None:
            return datatype.address
        return package.type_origins.get((datatype.module, datatype.name), datatype.address)


def runtime_type(find: FindPackage, move_type: MoveType) -> MoveType:
    """A type tag (of any version of its package) as bytecode names it."""

    def runtime_id(datatype: Datatype) -> bytes:
        package = find(datatype.address)
        return datatype.address if package is None else package.runtime_id

    return _readdressed(move_type, runtime_id)


def defining_type(find: FindPackage, move_type: MoveType) -> MoveType:
    """A type tag with all types under the version that introduced it: a later version's id means the same."""

    def defining_id(datatype: Datatype) -> bytes:
        package = find(datatype.address)
        origins = {} if package is None else package.type_origins
        return origins.get((datatype.module, datatype.name), datatype.address)

    return _readdressed(move_type, defining_id)


def packages_named(move_type: MoveType) -> list[bytes]:
    """The addresses of all datatypes in a type."""
    match move_type:
        case Vector(element):
            return packages_named(element)
        case Reference(_, target):
            return packages_named(target)
        case Datatype(address, _, _, arguments):
            return [address, *(one for argument in arguments for one in packages_named(argument))]
    return []


def _readdressed(move_type: MoveType, address_of: Callable[[Datatype], bytes]) -> MoveType:
    match move_type:
        case Vector(element):
            return Vector(_readdressed(element, address_of))
        case Reference(mutable, target):
            return Reference(mutable, _readdressed(target, address_of))
        case Datatype(_, module, name, arguments):
            inner = tuple(_readdressed(argument, address_of) for argument in arguments)
            return Datatype(address_of(move_type), module, name, inner)
    return move_type
