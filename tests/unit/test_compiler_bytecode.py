"""Reading Move bytecode, and declarations written from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.local.sui import framework
from infra.local.sui.bytecode.interface import read_interface
from infra.local.sui.bytecode.reader import (
    BytecodeError,
    Table,
    read_layout,
    replace_tables,
    table_bytes,
)
from infra.local.sui.bytecode.stubs import StubOptions, write_stub
from infra.local.sui.bytecode.types import (
    Datatype,
    Primitive,
    Reference,
    TypeParameter,
    TypeTextError,
    Vector,
    canonical,
    parse_type,
    substitute,
)
from infra.local.sui.compiler import TOOLCHAIN, compile_sources
from infra.local.sui.vm.linking import (
    LinkError,
    make_executable,
    publish_at,
    rename_functions,
    rename_modules,
    replace_addresses,
)

STD, SUI = framework.STD, framework.SUI
MANIFEST = '[package]\nname = "zoo"\nedition = "2024"\n[addresses]\nzoo = "0x0"\n'
ZOO = """module zoo::zoo;
use sui::vec_map::VecMap;
public enum Animal has copy, drop { Cat { lives: u8 }, Fish(u64), Stone }
public struct Cage<phantom Label, Inside: store> has key, store { id: UID, inside: Inside }
public struct Pair(u8, vector<address>) has drop;
public struct Empty has drop {}
fun init(_ctx: &mut TxContext) {}
fun hidden(animal: Animal): u8 {
    match (animal) { Animal::Cat { lives } => lives, Animal::Fish(_) => 1, Animal::Stone => 0 }
}
public(package) fun inner(): u8 { hidden(Animal::Stone) }
entry fun feed<Label, Inside: store + drop>(cage: &mut Cage<Label, Inside>, with: Inside) {
    cage.inside = with
}
public fun open(map: &VecMap<u8, Pair>): (u256, bool) { (map.length() as u256, true) }
public fun `match`(): u8 { inner() }
"""


@pytest.fixture(scope="module")
def zoo() -> bytes:
    (module,) = compile_sources({"Move.toml": MANIFEST, "sources/zoo.move": ZOO}).modules
    return module


# === Interfaces ===


def test_an_interface_has_every_declaration(zoo: bytes) -> None:
    interface = read_interface(zoo)
    assert interface.id == (bytes(32), "zoo")
    assert (SUI, "vec_map") in interface.dependencies
    assert [one.visibility for one in interface.functions.values()] == [
        "private",
        "private",
        "package",
        "private",
        "public",
        "public",
    ]
    feed = interface.functions["feed"]
    assert feed.entry
    assert feed.type_parameters[1].constraints == ("drop", "store")
    cage = Datatype(bytes(32), "zoo", "Cage", (TypeParameter(0), TypeParameter(1)))
    assert feed.parameters == (Reference(mutable=True, target=cage), TypeParameter(1))
    assert interface.functions["open"].returns == (Primitive("u256"), Primitive("bool"))


def test_an_interface_has_abilities_fields_and_variants(zoo: bytes) -> None:
    datatypes = read_interface(zoo).datatypes
    assert datatypes["Cage"].abilities == ("store", "key")
    assert [one.phantom for one in datatypes["Cage"].type_parameters] == [True, False]
    assert [one.name for one in datatypes["Pair"].fields] == ["pos0", "pos1"]
    assert datatypes["Pair"].fields[1].type == Vector(Primitive("address"))
    assert [(name, len(fields)) for name, fields in datatypes["Animal"].variants] == [
        ("Cat", 1),
        ("Fish", 1),
        ("Stone", 0),
    ]


@pytest.mark.parametrize(
    "damage", [b"", b"\xa1\x1c\xeb\x0b", b"MZ" + bytes(40), b"\xa1\x1c\xeb\x0b\x05\x00\x00\x00"]
)
def test_what_is_no_module_is_refused(damage: bytes) -> None:
    with pytest.raises(BytecodeError):
        read_interface(damage)


def test_a_module_cut_anywhere_is_refused(zoo: bytes) -> None:
    for length in range(0, len(zoo), 7):
        with pytest.raises(BytecodeError):
            read_interface(zoo[:length])


# === Patching ===


def test_rewriting_a_module_with_its_own_tables_changes_nothing(zoo: bytes) -> None:
    layout = read_layout(zoo)
    own = {kind: table_bytes(zoo, layout, kind) for kind in Table if layout.span(kind)}
    assert replace_tables(zoo, layout, own) == zoo


def test_an_address_is_patched_in_the_table_only(zoo: bytes) -> None:
    package = b"\x42" * 32
    patched = publish_at(zoo, package)
    assert read_interface(patched).address == package
    assert replace_addresses(patched, {package: bytes(32)}) == zoo
    with pytest.raises(LinkError, match="was published before"):
        publish_at(patched, package)


def test_modules_and_functions_are_renamed_by_their_handles(zoo: bytes) -> None:
    renamed = rename_modules(zoo, {(SUI, "vec_map"): "other_map", (bytes(32), "zoo"): "park"})
    interface = read_interface(renamed)
    assert interface.name == "park"
    assert (SUI, "other_map") in interface.dependencies
    assert (SUI, "vec_map") not in interface.dependencies
    assert "fetch" in read_interface(rename_functions(zoo, {"feed": "fetch"})).functions
    assert rename_modules(zoo, {(SUI, "clock"): "watch"}) == zoo


def test_the_executable_copy_opens_entry_functions_and_init_and_nothing_else(zoo: bytes) -> None:
    functions = read_interface(make_executable(zoo, {})).functions
    assert {name: one.visibility for name, one in functions.items()} == {
        "init": "public",
        "hidden": "private",
        "inner": "package",
        "feed": "public",
        "open": "public",
        "match": "public",
    }
    assert functions["feed"].entry


# === Stubs ===


def test_stubs_of_a_package_compile_to_the_same_interface(zoo: bytes) -> None:
    published = publish_at(zoo, b"\x42" * 32)
    names = {**framework.PACKAGE_NAMES, b"\x42" * 32: "zoo"}
    stub = write_stub(read_interface(published), StubOptions(names, expose=lambda name: name, omit=("init",)))
    manifest = MANIFEST.replace('"zoo"', '"stub"').replace('"0x0"', f'"0x{"42" * 32}"')
    (compiled,) = compile_sources({"Move.toml": manifest, "sources/zoo.move": stub}).modules
    original, copied = read_interface(published), read_interface(compiled)
    assert copied.datatypes == original.datatypes
    for name, function in copied.functions.items():
        assert function.parameters == original.functions[name].parameters
        assert function.type_parameters == original.functions[name].type_parameters


def test_every_framework_module_has_a_stub_and_the_methods_that_sources_use() -> None:
    stubs = framework.framework_stubs()
    assert {"std", "sui"} == set(stubs)
    assert {f"{name}.move" for name in framework.framework_modules()[SUI]} == set(stubs["sui"])
    source = """module zoo::zoo;
use sui::{balance::Balance, coin::Coin, sui::SUI, table::Table};
public fun methods(id: &UID, coin: Coin<SUI>, table: &mut Table<u8, u64>, ctx: &mut TxContext): Coin<SUI> {
    *&mut table[1] = table[1] + b"text".to_string().length() + b"text".to_ascii_string().to_string().length();
    let _: ID = id.to_address().to_id();
    let balance: Balance<SUI> = coin.into_balance();
    assert!(vector[1u64, 2].length() == 2u64.max(1));
    balance.into_coin(ctx)
}
"""
    assert compile_sources({"Move.toml": MANIFEST, "sources/zoo.move": source}).modules


# === Types ===


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u64", "u64"),
        ("vector<vector<u8>>", "vector<vector<u8>>"),
        ("0x2::coin::Coin<0x2::sui::SUI>", f"0x{SUI.hex()}::coin::Coin<0x{SUI.hex()}::sui::SUI>"),
        (" 0x1 :: a :: B < u8 , bool > ", f"0x{STD.hex()}::a::B<u8,bool>"),
    ],
)
def test_types_are_read_and_written_canonically(text: str, expected: str) -> None:
    assert canonical(parse_type(text)) == expected
    assert canonical(parse_type(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "u7", "vector", "vector<>", "vector<u8,u8>", "0x2::coin", "0x2::coin::Coin<", "u8>", "a b", "&u8"],
)
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(TypeTextError):
        parse_type(text)


def test_type_arguments_are_put_in() -> None:
    generic = Reference(mutable=True, target=Vector(Datatype(SUI, "coin", "Coin", (TypeParameter(1),))))
    put_in = substitute(generic, [Primitive("u8"), Primitive("bool")])
    assert canonical(put_in) == f"&mut vector<0x{SUI.hex()}::coin::Coin<bool>>"


# === The toolchain ===


def test_the_toolchain_is_pinned_and_names_no_registry() -> None:
    package = json.loads((TOOLCHAIN / "package.json").read_text())
    lock = json.loads((TOOLCHAIN / "package-lock.json").read_text())
    (name,) = package["dependencies"]
    locked = lock["packages"][f"node_modules/{name}"]
    assert locked["version"] == package["dependencies"][name]
    assert locked["integrity"].startswith("sha512-")
    for file in (path for path in Path(TOOLCHAIN).rglob("*") if path.is_file()):
        assert 'resolved":' not in file.read_text()
        assert "https://registry" not in file.read_text()
