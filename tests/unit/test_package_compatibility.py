"""Which changes an upgraded package may make."""

from __future__ import annotations

import pytest

from infra.local.sui.bytecode.compatibility import incompatibilities
from infra.local.sui.bytecode.reader import BytecodeError
from infra.local.sui.compiler import compile_sources
from infra.local.sui.vm.linking import publish_at

MANIFEST = '[package]\nname = "shop"\nedition = "2024"\n[addresses]\nshop = "0x0"\n'
PUBLISHED_AT = b"\x51" * 32

SHOP = """module shop::shop;
public struct Till has key { id: UID, cash: u64, best: Item }
public struct Item has copy, drop, store { price: u64 }
public struct Box<phantom T, V: store> has store { inside: V }
public enum Mood has copy, drop { Good, Bad { since: u64 } }
public fun sell(till: &mut Till, item: Item): u64 { till.cash = till.cash + item.price; item.price }
public fun wrap<T: store + drop>(inside: T): vector<T> { vector[inside] }
public(package) fun count(): u64 { 1 }
fun secret(): u64 { count() }
entry fun close(till: &mut Till) { till.cash = secret() }
"""
ANNEX = "module shop::annex;\npublic fun open(): bool { true }\n"

WIDER = """module shop::shop;
public struct Till has key { id: UID, cash: u64, best: Item }
public struct Item has copy, drop, store { price: u64 }
public struct Box<phantom T, V: store> has store { inside: V }
public enum Mood has copy, drop { Good, Bad { since: u64 } }
public struct Sign has copy, drop { text: vector<u8> }
public fun sell(till: &mut Till, item: Item): u64 { till.cash = till.cash + 2 * item.price; till.cash }
public fun wrap<T: store>(inside: T): vector<T> { vector[inside] }
public fun count(more: u64): u64 { more }
entry fun close(_till: &Till, _why: vector<u8>) {}
public fun paint(text: vector<u8>): Sign { Sign { text } }
"""

BROKEN = """module shop::shop;
public struct Till has key, store { id: UID, cash: u64, best: Item }
public struct Item has copy, drop, store { price: u64, name: vector<u8> }
public struct Box<T, V: store> has store { inside: V, label: T }
public enum Mood has copy, drop { Good, Bad { since: u64 }, Odd }
public fun sell(till: &mut Till, item: &Item): u32 { till.cash = item.price; 1 }
public fun wrap<T: store + drop + copy>(inside: T): vector<T> { vector[inside] }
"""

HIDDEN = """module shop::shop;
public struct Till has key { id: UID, best: Item, cash: u64 }
public struct Item has copy, drop, store { price: u64 }
public struct Box<phantom T, V: store> has store { inside: V }
public struct Mood has copy, drop { since: u64 }
public(package) fun sell(till: &mut Till, item: Item): u64 { till.cash = item.price; item.price }
"""


def compiled(shop: str, annex: str | None = ANNEX) -> tuple[bytes, ...]:
    files = {"Move.toml": MANIFEST, "sources/shop.move": shop}
    if annex is not None:
        files["sources/annex.move"] = annex
    return compile_sources(files).modules


@pytest.fixture(scope="module")
def original() -> tuple[bytes, ...]:
    return compiled(SHOP)


def test_the_same_package_is_compatible_with_itself_published_or_not(original: tuple[bytes, ...]) -> None:
    published = [publish_at(module, PUBLISHED_AT) for module in original]
    assert incompatibilities(original, original) == []
    assert incompatibilities(published, original) == []
    assert incompatibilities(published, published) == []


def test_additions_and_changes_of_what_nobody_outside_can_call_are_allowed(
    original: tuple[bytes, ...],
) -> None:
    extra = "module shop::extra;\npublic fun hello(): u8 { 1 }\n"
    files = {"Move.toml": MANIFEST, "sources/shop.move": WIDER}
    files |= {"sources/annex.move": ANNEX, "sources/extra.move": extra}
    assert incompatibilities(original, compile_sources(files).modules) == []


def test_every_break_of_a_type_or_a_public_function_is_named(original: tuple[bytes, ...]) -> None:
    assert incompatibilities(original, compiled(BROKEN, annex=None)) == [
        "module annex is missing",
        "type shop::Till changes its abilities from key to store, key",
        "type shop::Item changes its fields",
        "type shop::Box changes its type parameters",
        "type shop::Box changes its fields",
        "type shop::Mood changes its variants",
        "public function shop::sell changes its parameters",
        "public function shop::sell changes its return values",
        "public function shop::wrap changes its type parameters",
    ]


def test_public_functions_stay_public_and_types_stay_what_they_are(original: tuple[bytes, ...]) -> None:
    annex = "module shop::annex;\nfun open(): bool { true }\n"
    assert incompatibilities(original, compiled(HIDDEN, annex)) == [
        "public function annex::open is no longer public",
        "type shop::Till changes its fields",
        "type shop::Mood is a struct in one version and an enum in the other",
        "public function shop::sell is no longer public",
        "public function shop::wrap is missing",
    ]


def test_what_is_no_module_is_refused(original: tuple[bytes, ...]) -> None:
    with pytest.raises(BytecodeError):
        incompatibilities(original, [b"not a module"])
