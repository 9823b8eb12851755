"""Packages, datatypes and functions as ``sui.rpc.v2`` messages, read from published bytecode."""

from __future__ import annotations

from collections.abc import Sequence

from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..bytecode.interface import (
    DatatypeDeclaration,
    Field,
    FunctionDeclaration,
    ModuleInterface,
    Parameter,
    read_interface,
)
from ..bytecode.types import Datatype, MoveType, Primitive, Reference, TypeParameter, Vector
from ..execution import PackageInterface
from ..ledger.datatypes import Datatypes
from ..ledger.digests import hex_address
from ..linkage import Linkage
from .masks import Tree, subtree, wants

_ABILITIES = {
    "copy": v2.Ability.COPY,
    "drop": v2.Ability.DROP,
    "store": v2.Ability.STORE,
    "key": v2.Ability.KEY,
}
_VISIBILITIES = {
    "private": v2.FunctionDescriptorVisibility.PRIVATE,
    "public": v2.FunctionDescriptorVisibility.PUBLIC,
    "package": v2.FunctionDescriptorVisibility.FRIEND,
}


def package_message(types: Datatypes, package: PackageInterface, mask: Tree) -> v2.Package:
    message = v2.Package(
        storage_id=hex_address(package.id),
        original_id=hex_address(package.runtime_id),
        version=package.version,
    )
    if wants(mask, "modules"):
        inner = subtree(mask, "modules")
        message.modules = [
            _module(types, package, name, code, inner) for name, code in sorted(package.modules.items())
        ]
    if wants(mask, "type_origins"):
        message.type_origins = [
            v2.TypeOrigin(module_name=name, datatype_name=datatype, package_id=hex_address(origin))
            for (name, datatype), origin in package.type_origins.items()
        ]
    if wants(mask, "linkage"):
        message.linkage = [
            v2.Linkage(
                original_id=hex_address(runtime_id),
                upgraded_id=hex_address(linked.id),
                upgraded_version=linked.version,
            )
            for runtime_id, linked in sorted(package.linkage.items())
        ]
    return message


def _module(types: Datatypes, package: PackageInterface, name: str, code: bytes, mask: Tree) -> v2.Module:
    message = v2.Module(name=name, contents=code)
    if wants(mask, "datatypes") or wants(mask, "functions"):
        interface = read_interface(code)
        message.datatypes = [
            datatype_message(types, package, interface, declared) for declared in interface.datatypes.values()
        ]
        message.functions = [
            function_message(types.linkage(package.id), declared) for declared in interface.functions.values()
        ]
    return message


def function_message(linkage: Linkage, function: FunctionDeclaration) -> v2.FunctionDescriptor:
    """A function with all its parameters, ``TxContext`` included."""
    return v2.FunctionDescriptor(
        name=function.name,
        visibility=_VISIBILITIES[function.visibility],
        is_entry=function.entry,
        type_parameters=_type_parameters(function.type_parameters),
        parameters=[_signature(linkage, parameter) for parameter in function.parameters],
        returns=[_signature(linkage, returned) for returned in function.returns],
    )


def datatype_message(
    types: Datatypes, package: PackageInterface, module: ModuleInterface, datatype: DatatypeDeclaration
) -> v2.DatatypeDescriptor:
    linkage = types.linkage(package.id)
    defining_id = hex_address(package.type_origins.get((module.name, datatype.name), package.id))
    kinds = v2.DatatypeDescriptorDatatypeKind
    return v2.DatatypeDescriptor(
        type_name=f"{defining_id}::{module.name}::{datatype.name}",
        defining_id=defining_id,
        module=module.name,
        name=datatype.name,
        abilities=[_ABILITIES[ability] for ability in datatype.abilities],
        type_parameters=_type_parameters(datatype.type_parameters),
        kind=kinds.ENUM if datatype.variants else kinds.STRUCT,
        fields=_fields(linkage, datatype.fields),
        variants=[
            v2.VariantDescriptor(name=name, position=position, fields=_fields(linkage, fields))
            for position, (name, fields) in enumerate(datatype.variants)
        ],
    )


def _fields(linkage: Linkage, fields: Sequence[Field]) -> list[v2.FieldDescriptor]:
    return [
        v2.FieldDescriptor(name=field.name, position=position, type=_body(linkage.defining(field.type)))
        for position, field in enumerate(fields)
    ]


def _type_parameters(parameters: Sequence[Parameter]) -> list[v2.TypeParameter]:
    return [
        v2.TypeParameter(constraints=[_ABILITIES[a] for a in p.constraints], is_phantom=p.phantom)
        for p in parameters
    ]


def _signature(linkage: Linkage, move_type: MoveType) -> v2.OpenSignature:
    references = v2.OpenSignatureReference
    if isinstance(move_type, Reference):
        reference = references.MUTABLE if move_type.mutable else references.IMMUTABLE
        return v2.OpenSignature(reference=reference, body=_body(linkage.defining(move_type.target)))
    return v2.OpenSignature(body=_body(linkage.defining(move_type)))


def _body(move_type: MoveType) -> v2.OpenSignatureBody:
    types = v2.OpenSignatureBodyType
    match move_type:
        case Primitive(name):
            return v2.OpenSignatureBody(type=types[name.upper()])
        case Vector(element):
            return v2.OpenSignatureBody(type=types.VECTOR, type_parameter_instantiation=[_body(element)])
        case TypeParameter(index):
            return v2.OpenSignatureBody(type=types.TYPE_PARAMETER, type_parameter=index)
        case Datatype(address, module, name, arguments):
            return v2.OpenSignatureBody(
                type=types.DATATYPE,
                type_name=f"{hex_address(address)}::{module}::{name}",
                type_parameter_instantiation=[_body(argument) for argument in arguments],
            )
    raise TypeError("a reference cannot stand inside a type")
