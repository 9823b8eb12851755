"""Loading only what a call can reach."""

from __future__ import annotations

import pytest

from infra.local.sui.bytecode.callgraph import FunctionId, definitions, keep_bodies, reachable
from infra.local.sui.bytecode.interface import read_interface
from infra.local.sui.compiler import compile_sources
from infra.local.sui.framework import SUI, framework_modules
from infra.local.sui.vm.linking import ModuleId
from infra.local.sui.vm.pruning import prune

OWN = bytes(32)
FILES = {
    "Move.toml": '[package]\nname = "maze"\nedition = "2024"\n[addresses]\nmaze = "0x0"\n',
    "sources/maze.move": """module maze::maze;
use maze::cellar;
public enum Door has drop { Open, Locked { code: u64 } }
public fun enter(door: Door): u64 {
    match (door) { Door::Open => walk(), Door::Locked { code } => cellar::first(vector[code]) }
}
fun walk(): u64 { if (lost()) walk() else 1 }
fun lost(): bool { false }
public fun elsewhere(): u64 { cellar::second() }
""",
    "sources/cellar.move": """module maze::cellar;
public(package) fun first<T: copy + drop>(things: vector<T>): u64 { things.length() }
public(package) fun second(): u64 { 2 }
""",
}


@pytest.fixture(scope="module")
def modules() -> dict[ModuleId, bytes]:
    return {read_interface(code).id: code for code in compile_sources(FILES).modules}


def maze(function: str) -> FunctionId:
    return (OWN, "maze", function)


def test_calls_are_followed_through_modules_generics_and_matches(modules: dict[ModuleId, bytes]) -> None:
    found = reachable(list(modules.values()), [maze("enter")])
    assert found == {maze("enter"), maze("walk"), maze("lost"), (OWN, "cellar", "first")}


def test_only_unreachable_bodies_go(modules: dict[ModuleId, bytes]) -> None:
    pruned = prune(modules, maze("enter"))
    assert {name for _, name in pruned} == {"maze", "cellar"}
    for (_, name), code in pruned.items():
        whole = {one.id[2]: one.encoded for one in definitions(modules[OWN, name])}
        left = {one.id[2]: one.encoded for one in definitions(code)}
        changed = {function for function, encoded in whole.items() if left[function] != encoded}
        assert changed == ({"elsewhere"} if name == "maze" else {"second"})
        before, after = read_interface(modules[OWN, name]), read_interface(code)
        assert (after.datatypes, after.dependencies) == (before.datatypes, before.dependencies)
        assert list(after.functions) == list(before.functions)


def test_a_module_that_is_needed_whole_stays_the_same(modules: dict[ModuleId, bytes]) -> None:
    cellar = {id_: code for id_, code in modules.items() if id_[1] == "cellar"}
    assert prune(cellar, (OWN, "cellar", "first")).keys() != cellar.keys()
    code = cellar[OWN, "cellar"]
    assert keep_bodies(code, {one.id for one in definitions(code)}) is code


def test_natives_of_the_framework_are_left_alone() -> None:
    code = framework_modules()[SUI]["transfer"]
    emptied = keep_bodies(code, set())
    natives = [name for name, one in read_interface(code).functions.items() if one.native]
    assert natives
    left = read_interface(emptied).functions
    assert all(left[name].native for name in natives)
    assert len(emptied) < len(code)
