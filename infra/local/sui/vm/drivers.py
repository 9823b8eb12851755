"""Generated Move code that calls one function of a package and reports everything that came of it.

The VM runs a function and gives back its return values, nothing else. So each callable function gets a
driver: a module with one function ``call`` which takes all arguments by value, builds the ``TxContext``,
calls, and returns the record that the shims kept. One module per function, so that a call loads only what
it needs.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..bytecode.interface import FunctionDeclaration, ModuleInterface, read_interface
from ..bytecode.stubs import StubOptions, module_path, type_parameter_list, write_stub
from ..bytecode.types import Datatype, MoveType, Reference, render, strip_reference
from ..compiler import compile_sources
from ..framework import PACKAGE_NAMES, SUI
from ..paths import build_directory, write_atomically
from .linking import is_callable, rename_functions, replace_addresses
from .shims import stubs_with_shims

DRIVER_ADDRESS = b"Move driver".rjust(32, b"\x00")
DRIVER_FUNCTION = "call"
BORROWABLE_FIELD_TYPES = 8
"""How many types of dynamic fields one call may borrow mutably."""
_EXPOSED_INIT = "init_at_publication"
"""The compiler refuses calls to a function named ``init``; the name is restored in the bytecode."""


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver of one function."""

    module: str
    code: bytes


def is_context(parameter: MoveType) -> bool:
    """Is it ``TxContext``, which the VM supplies?"""
    inner = strip_reference(parameter)
    return isinstance(inner, Datatype) and (inner.address, inner.module, inner.name) == (
        SUI,
        "tx_context",
        "TxContext",
    )


def build_drivers(
    targets: Iterable[ModuleInterface], known: Mapping[bytes, Iterable[ModuleInterface]]
) -> dict[tuple[str, str], Driver]:
    """(module, function) -> driver, for every callable function of ``targets``, which are of one package.

    ``known`` has the interfaces of the published packages (not the framework's) that may occur in signatures.
    Compiled drivers are kept in the build directory, by the digest of their source, in which packages have
    placeholders for addresses: the same package published again needs no compiler.

    Raises:
        CompileError: the compiler is missing or refused a driver.
    """
    targets = list(targets)
    names = {
        (module.name, function): f"call_{index}"
        for index, (module, function) in enumerate(_callable(targets))
    }
    placeholders = {address: _placeholder(index) for index, address in enumerate(known)}
    files = _driver_sources(targets, known, placeholders, names)
    framework = stubs_with_shims()
    key = hashlib.sha256(json.dumps([files, framework]).encode()).hexdigest()[:24]
    cached = build_directory() / "drivers" / f"{key}.json"
    if not cached.exists():
        compiled = compile_sources(files, framework).modules if names else ()
        own = {
            interface.name: base64.b64encode(rename_functions(code, {_EXPOSED_INIT: "init"})).decode()
            for code in compiled
            if (interface := read_interface(code)).address == DRIVER_ADDRESS
        }
        write_atomically(cached, json.dumps(own).encode())
    stored: dict[str, str] = json.loads(cached.read_bytes())
    real = {placeholder: address for address, placeholder in placeholders.items()}
    return {
        target: Driver(name, replace_addresses(base64.b64decode(stored[name]), real))
        for target, name in names.items()
    }


def _placeholder(index: int) -> bytes:
    return b"Move package" + index.to_bytes(20, "big")


def _callable(targets: list[ModuleInterface]) -> list[tuple[ModuleInterface, str]]:
    return [
        (module, function.name)
        for module in targets
        for function in module.functions.values()
        if is_callable(function)
    ]


def _driver_sources(
    targets: list[ModuleInterface],
    known: Mapping[bytes, Iterable[ModuleInterface]],
    placeholders: Mapping[bytes, bytes],
    names: Mapping[tuple[str, str], str],
) -> dict[str, str]:
    packages = {**PACKAGE_NAMES, **{address: f"p{index}" for index, address in enumerate(known)}}
    options = StubOptions(packages, expose=lambda name: _EXPOSED_INIT if name == "init" else name)
    addresses = {packages[address]: placeholder for address, placeholder in placeholders.items()}
    addresses["driver"] = DRIVER_ADDRESS
    listed = "\n".join(f'{alias} = "0x{address.hex()}"' for alias, address in addresses.items())
    files = {"Move.toml": f'[package]\nname = "generated"\nedition = "2024"\n[addresses]\n{listed}\n'}
    for address, modules in known.items():
        for module in modules:
            files[f"sources/{packages[address]}_{module.name}.move"] = write_stub(module, options)
    for module in targets:
        for function in module.functions.values():
            name = names.get((module.name, function.name))
            if name is not None:
                files[f"sources/{name}.move"] = write_driver(name, module, function, options)
    return files


def write_driver(
    name: str, module: ModuleInterface, function: FunctionDeclaration, options: StubOptions
) -> str:
    """Source of the driver module ``name``.

    ``call<T…, F0…F7>(a0: …, sender, digest, epoch, epoch_timestamp_ms, ids_created, borrowed)`` returns the
    record and the number of ids that were created; ``a…`` are the function's arguments without
    ``TxContext``, by value.
    """

    def text(move_type: MoveType) -> str:
        return render(move_type, lambda address, name: module_path(options, address, name))

    declared, passed, after = [], [], []
    position = 0
    for parameter in function.parameters:
        if is_context(parameter):
            passed.append("&mut context")
            continue
        argument = f"a{position}"
        if isinstance(parameter, Reference):
            declared.append(f"mut {argument}: {text(parameter.target)}")
            passed.append(f"&mut {argument}" if parameter.mutable else f"&{argument}")
            if parameter.mutable:
                after.append(f"trace::argument({position}, &{argument});")
            after.append(f"trace::consume({argument});")
        else:
            declared.append(f"{argument}: {text(parameter)}")
            passed.append(argument)
        position += 1

    results = [f"r{index}" for index in range(len(function.returns))]
    bound = ", ".join(results)
    if results:
        bound = f"let ({bound}) = " if len(results) > 1 else f"let {bound} = "
    generics = type_parameter_list(function.type_parameters).strip("<>")
    fields = [f"F{index}" for index in range(BORROWABLE_FIELD_TYPES)]
    all_generics = ", ".join([generics] * bool(generics) + [f"{one}: key" for one in fields])
    instantiated = ", ".join(f"T{index}" for index in range(len(function.type_parameters)))
    callee = module_path(options, module.address, module.name)
    called = f"{callee}::{_EXPOSED_INIT if function.name == 'init' else f'`{function.name}`'}"
    frame = [
        "sender: address",
        "digest: vector<u8>",
        "epoch: u64",
        "timestamp: u64",
        "ids: u64",
        "borrowed: u64",
    ]
    lines = [
        "#[allow(unused, lint(all))]",
        f"module driver::{name};",
        "use sui::{dynamic_field, trace};",
        f"public fun {DRIVER_FUNCTION}<{all_generics}>({', '.join(declared + frame)}): (vector<u8>, u64) {{",
        "let mut context = sui::tx_context::of_call(sender, digest, epoch, timestamp, ids);",
        f"{bound}{called}{f'<{instantiated}>' if instantiated else ''}({', '.join(passed)});",
        *(f"trace::returned({result});" for result in results),
        *after,
        *(
            f"if (borrowed > {index}) dynamic_field::report_borrowed<{one}>();"
            for index, one in enumerate(fields)
        ),
        "(trace::recorded(), context.ids_created_so_far())",
        "}",
    ]
    return "\n".join(lines) + "\n"
