"""What exists on the local chain before the first transaction when it runs the real Move VM."""

from __future__ import annotations

from .bytecode.interface import FunctionDeclaration, ModuleInterface, read_interface
from .bytecode.types import Datatype, MoveType, Reference, TypeParameter, canonical, strip_reference
from .execution import FunctionSignature, MoveVm, PackageInterface
from .framework import framework_modules

_TX_CONTEXT = ("tx_context", "TxContext")


def start_vm() -> MoveVm:
    """The real Move VM, in worker processes."""
    from .vm import SandboxVm  # noqa: PLC0415 - starts processes and loads a native library

    return SandboxVm()


def framework_packages() -> list[PackageInterface]:
    """The framework's packages, callable by their ids 0x1, 0x2 and 0x3."""
    return [_package(address, modules) for address, modules in framework_modules().items()]


def _package(address: bytes, modules: dict[str, bytes]) -> PackageInterface:
    interfaces = {name: read_interface(code) for name, code in modules.items()}
    functions = {
        name: {f.name: _signature(f, interfaces) for f in interface.functions.values()}
        for name, interface in interfaces.items()
    }
    origins = {(name, datatype): address for name, one in interfaces.items() for datatype in one.datatypes}
    return PackageInterface(address, modules, functions, type_origins=origins)


def _signature(function: FunctionDeclaration, siblings: dict[str, ModuleInterface]) -> FunctionSignature:
    parameters = [p for p in function.parameters if not _is_context(p)]
    return FunctionSignature(
        parameters=tuple(map(canonical, parameters)),
        object_parameters=tuple(_is_object(p, function, siblings) for p in parameters),
        returns=tuple(map(canonical, function.returns)),
        type_parameters=len(function.type_parameters),
        public=function.visibility == "public",
        entry=function.entry,
    )


def _is_context(parameter: MoveType) -> bool:
    bare = strip_reference(parameter)
    return (
        isinstance(parameter, Reference)
        and isinstance(bare, Datatype)
        and (bare.module, bare.name) == _TX_CONTEXT
    )


def _is_object(
    parameter: MoveType, function: FunctionDeclaration, siblings: dict[str, ModuleInterface]
) -> bool:
    match strip_reference(parameter):
        case TypeParameter(index):
            return "key" in function.type_parameters[index].constraints
        case Datatype(_, module, name) if module in siblings and name in siblings[module].datatypes:
            return "key" in siblings[module].datatypes[name].abilities
    return False
