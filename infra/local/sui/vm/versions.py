"""What a new version of a package is linked against, and which version introduced each of its types."""

from __future__ import annotations

from collections.abc import Sequence

from ..bytecode.interface import ModuleInterface
from ..execution import Linked, PackageInterface
from ..framework import PACKAGE_NAMES
from ..linkage import FindPackage
from .linking import LinkError


def link(dependencies: Sequence[bytes], find: FindPackage) -> dict[bytes, Linked]:
    """Runtime id -> version of the packages that a publisher names as dependencies.

    Raises:
        LinkError: one is not published, or a dependency needs another one, or a newer one, than is named.
    """
    linked: dict[bytes, Linked] = {}
    for dependency in dependencies:
        package = find(dependency)
        if package is None and dependency not in PACKAGE_NAMES:
            raise LinkError(f"the dependency 0x{dependency.hex()} is not published")
        runtime_id, version = (dependency, 1) if package is None else (package.runtime_id, package.version)
        linked[runtime_id] = Linked(dependency, version)
    for one in linked.values():
        package = find(one.id)
        for runtime_id, needed in ({} if package is None else package.linkage).items():
            if runtime_id not in linked:
                raise LinkError(
                    f"0x{one.id.hex()} depends on 0x{needed.id.hex()}, which is not among the dependencies",
                    "PUBLISH_UPGRADE_MISSING_DEPENDENCY",
                )
            if linked[runtime_id].version < needed.version:
                raise LinkError(
                    f"0x{one.id.hex()} depends on version {needed.version} of 0x{runtime_id.hex()}, "
                    f"the dependencies name version {linked[runtime_id].version}",
                    "PUBLISH_UPGRADE_DEPENDENCY_DOWNGRADE",
                )
    return linked


def check_dependencies(draft: PackageInterface, interfaces: Sequence[ModuleInterface]) -> None:
    """Raises:
    LinkError: no modules, two of one name, or a module of a package that is no dependency is used.
    """
    if len({one.name for one in interfaces}) != len(interfaces) or not interfaces:
        raise LinkError("a package has at least one module, and each has a name of its own")
    available = {*draft.linkage, draft.runtime_id}
    for interface in interfaces:
        for address, name in interface.dependencies:
            if address not in available:
                raise LinkError(
                    f"0x{address.hex()}::{name} is used, but not among the dependencies",
                    "PUBLISH_UPGRADE_MISSING_DEPENDENCY",
                )


def type_origins(
    package: bytes, interfaces: Sequence[ModuleInterface], previous: PackageInterface | None
) -> dict[tuple[str, str], bytes]:
    """(module, datatype) -> id of the version that introduced it."""
    known = {} if previous is None else previous.type_origins
    return {
        (one.name, datatype): known.get((one.name, datatype), package)
        for one in interfaces
        for datatype in one.datatypes
    }
