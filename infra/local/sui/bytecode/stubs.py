"""Header-only Move sources from a package's bytecode: declarations to compile against, without bodies.

A package compiled against such stubs is the same, byte for byte, as one compiled against the real sources: a
caller's bytecode holds signatures only. What bytecode has forgotten is missing: macros, constants, test-only
code. Method aliases (``use fun``) and compiler attributes are forgotten too, and stated here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from .interface import DatatypeDeclaration, Field, FunctionDeclaration, ModuleInterface, Parameter
from .types import render

KEYWORDS = frozenset(
    [
        *(
            "abort",
            "as",
            "break",
            "const",
            "continue",
            "copy",
            "else",
            "entry",
            "enum",
            "false",
            "for",
            "friend",
        ),
        *(
            "fun",
            "has",
            "if",
            "invariant",
            "let",
            "loop",
            "macro",
            "match",
            "module",
            "move",
            "mut",
            "native",
        ),
        *("phantom", "public", "return", "spec", "struct", "true", "type", "use", "while"),
    ]
)
PRIMITIVE_MODULES = {
    **{("std", name): name for name in ("bool", "u8", "u16", "u32", "u64", "u128", "u256", "vector")},
    ("sui", "address"): "address",
}
"""Modules whose functions are methods of a primitive type."""
BYTECODE_INSTRUCTIONS = {
    ("std", "vector"): frozenset(
        {"empty", "length", "borrow", "push_back", "borrow_mut", "pop_back", "destroy_empty", "swap"}
    )
}
"""Functions that are compiled to an instruction instead of a call."""
INDEX_SYNTAX = {
    **{
        ("sui", module): frozenset({"borrow", "borrow_mut"})
        for module in ("table", "bag", "object_table", "object_bag", "linked_table", "table_vec")
    },
    ("std", "vector"): frozenset({"borrow", "borrow_mut"}),
    ("sui", "vec_map"): frozenset({"get", "get_mut"}),
}
"""Functions behind ``x[i]``."""
METHOD_ALIASES = {
    ("std", "vector"): (
        "std::string::utf8 as vector.to_string",
        "std::string::try_utf8 as vector.try_to_string",
        "std::ascii::string as vector.to_ascii_string",
        "std::ascii::try_string as vector.try_to_ascii_string",
    ),
    ("std", "ascii"): ("std::string::from_ascii as String.to_string",),
    ("sui", "address"): ("sui::object::id_from_address as address.to_id",),
    ("sui", "balance"): ("sui::coin::from_balance as Balance.into_coin",),
    ("sui", "object"): (
        "id_to_address as ID.to_address",
        "id_to_bytes as ID.to_bytes",
        "uid_as_inner as UID.as_inner",
        "uid_to_inner as UID.to_inner",
        "uid_to_address as UID.to_address",
        "uid_to_bytes as UID.to_bytes",
    ),
    ("sui", "package"): (
        "burn_publisher as Publisher.burn",
        "published_module as Publisher.module_",
        "published_package as Publisher.package",
        "upgrade_package as UpgradeCap.package",
        "ticket_package as UpgradeTicket.package",
        "ticket_policy as UpgradeTicket.policy",
        "ticket_digest as UpgradeTicket.digest",
        "receipt_cap as UpgradeReceipt.cap",
        "receipt_package as UpgradeReceipt.package",
    ),
    ("sui", "kiosk"): ("kiosk_owner_cap_for as KioskOwnerCap.kiosk",),
}
"""``public use fun`` entries whose method name is not the function's own."""


@dataclass(frozen=True, slots=True)
class StubOptions:
    """How declarations are written."""

    package_names: Mapping[bytes, str]
    """Named address of each package that may occur."""
    expose: Callable[[str], str] | None = None
    """If set, every function is declared public, under the name that this gives it."""
    omit: Collection[str] = field(default_factory=tuple)
    """Functions that are left out."""


def module_path(options: StubOptions, address: bytes, module: str) -> str:
    named = options.package_names.get(address)
    return f"{named or f'0x{address.hex()}'}::{module}"


def write_stub(module: ModuleInterface, options: StubOptions) -> str:
    """The module's declarations as Move 2024 source text."""
    package = options.package_names[module.address]
    key = (package, module.name)
    lines = ["#[allow(unused, unused_field, unused_function, lint(all))]"]
    if key in PRIMITIVE_MODULES:
        lines.append(f"#[defines_primitive({PRIMITIVE_MODULES[key]})]")
    lines.append(f"module {package}::{module.name};")
    lines += [f"public use fun {alias};" for alias in METHOD_ALIASES.get(key, ())]
    lines += [_datatype(declared, options) for declared in module.datatypes.values()]
    for declared in module.functions.values():
        lines += _function(key, declared, options)
    return "\n".join(lines) + "\n"


def quote(name: str) -> str:
    return f"`{name}`" if name in KEYWORDS else name


def type_parameter_list(parameters: Sequence[Parameter]) -> str:
    """``<T0: key + store, phantom T1>``, or nothing."""
    if not parameters:
        return ""
    return f"<{', '.join(map(_type_parameter, range(len(parameters)), parameters))}>"


def _type_parameter(index: int, parameter: Parameter) -> str:
    constraints = f": {' + '.join(parameter.constraints)}" if parameter.constraints else ""
    return f"{'phantom ' if parameter.phantom else ''}T{index}{constraints}"


def _datatype(declared: DatatypeDeclaration, options: StubOptions) -> str:
    name = f"{quote(declared.name)}{type_parameter_list(declared.type_parameters)}"
    abilities = f" has {', '.join(declared.abilities)}" if declared.abilities else ""
    if declared.variants:
        variants = ", ".join(
            quote(variant) + (_fields(fields, options) if fields else "")
            for variant, fields in declared.variants
        )
        return f"public enum {name}{abilities} {{ {variants} }}"
    fields = declared.fields
    if [one.name for one in fields] == ["dummy_field"]:  # what the compiler puts into an empty struct
        fields = ()
    if fields and _is_positional(fields):
        return f"public struct {name}{_fields(fields, options)}{abilities};"
    return f"public struct {name}{abilities} {_fields(fields, options)}"


def _is_positional(fields: Sequence[Field]) -> bool:
    return all(one.name == f"pos{index}" for index, one in enumerate(fields))


def _fields(fields: Sequence[Field], options: StubOptions) -> str:
    types = [render(one.type, lambda a, m: module_path(options, a, m)) for one in fields]
    if fields and _is_positional(fields):
        return f"({', '.join(types)})"
    return f"{{ {', '.join(f'{quote(one.name)}: {text}' for one, text in zip(fields, types, strict=True))} }}"


def _function(key: tuple[str, str], declared: FunctionDeclaration, options: StubOptions) -> list[str]:
    if declared.name in options.omit:
        return []
    if options.expose is not None:
        name, visibility = options.expose(declared.name), "public"
    elif declared.visibility == "private" or declared.name == "init":
        return []
    else:
        name, visibility = (
            declared.name,
            {"public": "public", "package": "public(package)"}[declared.visibility],
        )

    lines = []
    if declared.name in BYTECODE_INSTRUCTIONS.get(key, ()):
        lines.append("#[bytecode_instruction]")
    if declared.name in INDEX_SYNTAX.get(key, ()):
        lines.append("#[syntax(index)]")
    parameters = ", ".join(
        f"a{index}: {render(one, lambda a, m: module_path(options, a, m))}"
        for index, one in enumerate(declared.parameters)
    )
    returns = [render(one, lambda a, m: module_path(options, a, m)) for one in declared.returns]
    result = ", ".join(returns)
    if len(returns) > 1:
        result = f"({result})"
    generics = type_parameter_list(declared.type_parameters)
    lines.append(
        f"{visibility} native fun {quote(name)}{generics}({parameters}){': ' if result else ''}{result};"
    )
    return lines
