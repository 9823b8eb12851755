"""The Move VM behind the seam: packages, objects, dynamic fields, events and failures."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest

from infra.local.sui.bytecode.interface import read_interface
from infra.local.sui.compiler import CompiledPackage, compile_package, compile_sources, read_sources
from infra.local.sui.execution import (
    ChildRemoved,
    ChildWritten,
    Consumed,
    Frozen,
    MoveAbortError,
    MoveExecutionError,
    Mutated,
    ObjectInput,
    ObjectValue,
    PureInput,
    Shared,
    Transferred,
    TxFrame,
)
from infra.local.sui.vm import SandboxVm
from infra.local.sui.vm.linking import make_executable
from infra.local.sui.vm.shims import REDIRECTS
from tests.integration.gallery_scene import (
    CLOCK,
    COIN_TYPE,
    DIGEST,
    GALLERY,
    GUIDE,
    NOW_MS,
    PACKAGES,
    SENDER,
    STD,
    SUI,
    Scene,
    blob,
    coin,
    compiled_gallery,
    only,
    published_gallery,
    pure,
    u64,
)


@pytest.fixture
def compiled() -> CompiledPackage:
    return compiled_gallery()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with published_gallery() as scene:
        yield scene


def test_published_code_differs_from_compiled_code_in_the_package_address_only(
    compiled: CompiledPackage,
) -> None:
    package = SandboxVm().publish(GALLERY, compiled.modules, compiled.dependencies)
    assert package.initializers == ("gallery", "token")
    for module in compiled.modules:
        published = package.modules[read_interface(module).name]
        assert read_interface(published).address == GALLERY
        assert len(published) == len(module)
        start = published.index(GALLERY)
        assert published[start : start + 32] == GALLERY
        assert published[:start] + bytes(32) + published[start + 32 :] == module


def test_executed_code_differs_from_published_code_in_opened_functions_and_named_redirects_only(
    compiled: CompiledPackage,
) -> None:
    package = SandboxVm().publish(GALLERY, compiled.modules, compiled.dependencies)
    published = package.modules["gallery"]
    executable = make_executable(published, REDIRECTS)
    differences = [at for at, (a, b) in enumerate(zip(published, executable, strict=True)) if a != b]
    functions = read_interface(published).functions
    assert differences == sorted(functions[name].visibility_offset for name in ("init", "hang", "admit"))
    assert {executable[at] for at in differences} == {1}
    seals = package.modules["seals"]
    assert (SUI, "ed25519") in read_interface(seals).dependencies
    assert (SUI, "ed25519_by_reference") in read_interface(make_executable(seals, REDIRECTS)).dependencies


async def test_a_constant_of_zero_bytes_is_not_taken_for_the_package_address(
    scene: Scene, compiled: CompiledPackage
) -> None:
    (gallery,) = [one for one in compiled.modules if read_interface(one).name == "gallery"]
    assert gallery.count(bytes(32)) > 1
    assert (await scene.call("owner_of_nothing")).returns[0].contents == bytes(32)


def test_signatures_tell_how_parameters_are_passed(compiled: CompiledPackage) -> None:
    package = SandboxVm().publish(GALLERY, compiled.modules, compiled.dependencies)
    hang = package.functions["gallery"]["hang"]
    gallery, clock = f"&mut 0x{GALLERY.hex()}::gallery::Gallery", f"&0x{SUI.hex()}::clock::Clock"
    assert hang.parameters == (gallery, f"0x{STD.hex()}::string::String", "u64", clock)
    assert hang.object_parameters == (True, False, False, True)
    assert (hang.public, hang.entry) == (False, True)
    give = package.functions["gallery"]["give"]
    assert (give.parameters, give.object_parameters) == (("T0", "address"), (True, False))
    assert give.type_parameters == 1
    buy = package.functions["gallery"]["buy"]
    assert buy.returns == (f"0x{GALLERY.hex()}::gallery::Frame", "u64")


def test_a_package_links_against_another_published_one() -> None:
    guide = compile_package(PACKAGES / "guide")
    visitor = {
        "Move.toml": (PACKAGES / "guide" / "Move.toml")
        .read_text()
        .replace('"guide"', '"tour"')
        .replace('guide = "0x0"', f'guide = "0x{GUIDE.hex()}"\ntour = "0x0"'),
        "sources/guide.move": read_sources(PACKAGES / "guide")["sources/guide.move"],
        "sources/tour.move": "module tour::tour;\n"
        "use guide::guide::{Self, Badge};\n"
        "public fun join(ctx: &mut TxContext): Badge { guide::badge(7, ctx) }\n",
    }
    tour = [m for m in compile_sources(visitor).modules if read_interface(m).name == "tour"]
    vm = SandboxVm()
    with pytest.raises(MoveExecutionError, match="is not published"):
        vm.publish(GALLERY, tour, (STD, SUI, GUIDE))
    vm.publish(GUIDE, guide.modules, guide.dependencies)
    with pytest.raises(MoveExecutionError, match="not among the dependencies"):
        vm.publish(GALLERY, tour, (STD, SUI))
    package = vm.publish(GALLERY, tour, (STD, SUI, GUIDE))
    assert package.functions["tour"]["join"].returns == (f"0x{GUIDE.hex()}::guide::Badge",)


def test_publishing_the_same_again_is_the_same(compiled: CompiledPackage) -> None:
    vm = SandboxVm()
    first = vm.publish(GALLERY, compiled.modules, compiled.dependencies)
    assert vm.publish(GALLERY, compiled.modules, compiled.dependencies) == first
    with pytest.raises(MoveExecutionError, match="another package is published at"):
        vm.publish(GALLERY, compiled.modules[:1], compiled.dependencies)


@pytest.mark.parametrize(
    ("modules", "complaint"),
    [
        ((b"not Move",), "not a Move module"),
        ((), "at least one module"),
        ((b"\xa1\x1c\xeb\x0b",), "end in the middle"),
    ],
)
def test_what_is_no_package_is_refused(modules: tuple[bytes, ...], complaint: str) -> None:
    with pytest.raises(MoveExecutionError, match=complaint):
        SandboxVm().publish(GALLERY, modules, (STD, SUI))


# === Initialisation ===


async def test_init_gets_a_one_time_witness(scene: Scene) -> None:
    outcome = await scene.call("init", module="token")
    token = f"0x{GALLERY.hex()}::token::TOKEN"
    assert only(outcome, Frozen).value.type_tag == f"0x{SUI.hex()}::coin::CoinMetadata<{token}>"
    treasury = only(outcome, Transferred)
    assert treasury.value.type_tag == f"0x{SUI.hex()}::coin::TreasuryCap<{token}>"
    assert treasury.recipient == SENDER


async def test_new_ids_are_those_that_sui_derives(scene: Scene) -> None:
    frame = TxFrame(SENDER, DIGEST, 0, 0, ids_created=5)
    outcome = await scene.call("new_frame", pure(0), frame=frame)
    derived = hashlib.blake2b(b"\xf1" + DIGEST + u64(5), digest_size=32).digest()
    assert outcome.returns[0].contents[:32] == derived
    assert outcome.ids_created == 6


# === Objects ===


async def test_private_entry_functions_run_and_change_shared_objects(scene: Scene) -> None:
    before = scene.gallery.value.contents
    outcome = await scene.call("admit", scene.gallery)
    after = only(outcome, Mutated).value.contents
    assert (before[-8:], after[-8:]) == (u64(0), u64(1))


async def test_coins_are_consumed_and_results_returned(scene: Scene) -> None:
    await scene.call("hang", scene.gallery, pure("Sun"), pure(50), CLOCK)
    outcome = await scene.call("buy", scene.gallery, pure("Sun"), coin(60))
    assert only(outcome, Consumed).id == b"\xc0" * 32
    frame, price = outcome.returns
    assert (frame.type_tag, frame.is_object) == (scene.type_of("Frame"), True)
    assert (price.type_tag, price.contents, price.is_object) == ("u64", u64(50), False)
    curator = ObjectInput(ObjectValue(b"\xcc" * 32, scene.type_of("Curator"), b"\xcc" * 32), shared=False)
    collected = (await scene.call("collect", curator, scene.gallery)).returns[0]
    assert (collected.type_tag, collected.contents[32:]) == (COIN_TYPE, u64(60))


async def test_objects_by_value_end_where_the_code_puts_them(scene: Scene) -> None:
    frame = await scene.new_frame(9)
    assert only(await scene.call("break_frame", frame), Consumed).id == frame.value.id
    assert only(await scene.call("keep_frozen", frame), Frozen).value == frame.value
    assert only(await scene.call("make_public", frame), Shared).value == frame.value
    given = await scene.call("give", frame, PureInput(b"\xb0" * 32), types=(scene.type_of("Frame"),))
    assert given.changes == (Transferred(frame.value, b"\xb0" * 32),)


async def test_two_objects_of_one_type_change_in_one_call(scene: Scene) -> None:
    mine = await scene.new_frame(1)
    other = ObjectValue(b"\x0f" * 32, mine.value.type_tag, b"\x0f" * 32 + u64(2))
    outcome = await scene.call("swap_frames", mine, ObjectInput(other, shared=False))
    assert [(c.value.id, c.value.contents[32:]) for c in outcome.changes if isinstance(c, Mutated)] == [
        (mine.value.id, u64(2)),
        (other.id, u64(1)),
    ]


async def test_a_value_lent_mutably_comes_back(scene: Scene) -> None:
    frame = await scene.new_frame(1)
    outcome = await scene.call("polish", frame, pure(4))
    assert only(outcome, Mutated).value.contents[32:] == u64(5)
    assert outcome.mutated_values == {1: u64(0)}


async def test_an_object_of_another_type_is_refused(scene: Scene) -> None:
    with pytest.raises(MoveExecutionError, match=r"argument 0 must be .*Frame, not .*Coin"):
        await scene.call("break_frame", coin(1))
    with pytest.raises(MoveExecutionError, match="argument 0 must be an object"):
        await scene.call("break_frame", PureInput(bytes(40)))
    with pytest.raises(MoveExecutionError, match="2 arguments are needed, 1 came"):
        await scene.call("polish", await scene.new_frame(1))


async def test_enums_and_structs_without_drop_are_returned(scene: Scene) -> None:
    await scene.call("hang", scene.gallery, pure("Sun"), pure(500), CLOCK)
    (mood,) = (await scene.call("gallery_mood", scene.gallery, pure("Sun"))).returns
    assert (mood.type_tag, mood.contents) == (scene.type_of("Mood"), b"\x02\x01\x02")
    (receipt,) = (await scene.call("receipt", pure(3))).returns
    assert (await scene.call("settle", PureInput(receipt.contents))).returns[0].contents == u64(3)


async def test_the_context_is_the_transaction_s(scene: Scene) -> None:
    outcome = await scene.call("describe")
    assert [one.contents for one in outcome.returns] == [SENDER, u64(3), u64(1_000), blob(DIGEST)]


# === Dynamic fields ===


async def test_a_table_entry_is_a_child_with_the_address_that_sui_gives_it(scene: Scene) -> None:
    outcome = await scene.call("hang", scene.gallery, pure("Sun"), pure(50), CLOCK)
    written = only(outcome, ChildWritten)
    string = bytes([7]) + STD + blob("string") + blob("String") + b"\x00"
    key = blob("Sun")
    expected = hashlib.blake2b(
        b"\xf0" + written.parent + u64(len(key)) + key + string, digest_size=32
    ).digest()
    assert written.value.id == expected
    assert written.parent == scene.gallery.value.contents[32:64]  # the table
    assert written.value.contents[32:] == key + SENDER + u64(50) + u64(NOW_MS) + b"\x00"


async def test_a_field_borrowed_mutably_is_reported_with_its_last_state(scene: Scene) -> None:
    await scene.call("hang", scene.gallery, pure("Sun"), pure(50), CLOCK)
    outcome = await scene.call("reprice", scene.gallery, pure("Sun"), pure(7))
    assert only(outcome, ChildWritten).value.contents[-18:] == u64(7) + u64(NOW_MS) + b"\x01\x07"


async def test_a_removed_field_is_gone_and_can_be_put_back_in_the_same_call(scene: Scene) -> None:
    first = only(await scene.call("label", scene.gallery, PureInput(b"\x01"), pure("a")), ChildWritten)
    outcome = await scene.call("replace", scene.gallery, PureInput(b"\x01"), pure("b"))
    second = only(outcome, ChildWritten)
    assert first.value.id == second.value.id
    assert second.value.contents[33:] == blob("b")
    with pytest.raises(MoveAbortError) as refused:
        await scene.call("remove_twice", scene.gallery, PureInput(b"\x01"))
    assert (refused.value.module, refused.value.code) == (f"0x{SUI.hex()}::dynamic_field", 1)


async def test_a_field_that_comes_and_goes_within_a_call_is_not_reported(scene: Scene) -> None:
    outcome = await scene.call("come_and_go", scene.gallery)
    assert [type(change) for change in outcome.changes] == [Mutated]


async def test_object_fields_hold_objects_that_keep_their_id(scene: Scene) -> None:
    frame = await scene.new_frame(5)
    put = await scene.call("put_in_frame", scene.gallery, pure(1), frame)
    holder, held = [change for change in put.changes if isinstance(change, ChildWritten)]
    assert (held.parent, held.value) == (holder.value.id, frame.value)
    polished = only(await scene.call("polish_inside", scene.gallery, pure(1)), ChildWritten)
    assert polished.value.contents == frame.value.id + u64(6)
    taken = await scene.call("take_from_frame", scene.gallery, pure(1))
    assert {change.id for change in taken.changes if isinstance(change, ChildRemoved)} == {
        holder.value.id,
        held.value.id,
    }
    assert taken.returns[0].contents == frame.value.id + u64(6)


async def test_a_call_may_change_fields_of_eight_types_and_no_more(scene: Scene) -> None:
    await scene.call("scatter", scene.gallery)
    touched = await scene.call("touch_eight", scene.gallery)
    written = [change for change in touched.changes if isinstance(change, ChildWritten)]
    assert [change.value.contents[-1] for change in written] == [1] * 8
    with pytest.raises(MoveExecutionError, match="fields of 9 types; this VM can report 8"):
        await scene.call("touch_nine", scene.gallery)
    again = await scene.call("touch_eight", scene.gallery)
    assert len([change for change in again.changes if isinstance(change, ChildWritten)]) == 8


# === Events and failures ===


async def test_events_come_in_order(scene: Scene) -> None:
    outcome = await scene.call("announce", PureInput(b"\x03" + u64(3) + u64(1) + u64(2)))
    assert [event.type_tag for event in outcome.events] == [scene.type_of("Announced")] * 3
    assert [event.contents for event in outcome.events] == [u64(3), u64(1), u64(2)]


async def test_an_abort_names_module_code_and_function(scene: Scene) -> None:
    with pytest.raises(MoveAbortError) as refused:
        await scene.call("hang", scene.gallery, pure(""), pure(50), CLOCK)
    assert refused.value.module == f"0x{GALLERY.hex()}::gallery"
    assert (refused.value.code, refused.value.function) == (1, "hang_piece")
    with pytest.raises(MoveAbortError) as missing:
        await scene.call("reprice", scene.gallery, pure("Moon"), pure(7))
    assert (missing.value.module, missing.value.code) == (f"0x{SUI.hex()}::dynamic_field", 1)


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        ("nowhere", "there is no function"),
        ("hang_piece", "cannot be called from a transaction"),
        ("borrow_takings", "cannot be called from a transaction"),
        ("forever", "OUT_OF_GAS"),
    ],
)
async def test_what_cannot_run_fails(scene: Scene, function: str, complaint: str) -> None:
    with pytest.raises(MoveExecutionError, match=complaint):
        await scene.call(function)


async def test_an_arithmetic_error_and_bad_bytes_are_no_aborts(scene: Scene) -> None:
    with pytest.raises(MoveExecutionError, match="ARITHMETIC_ERROR"):
        await scene.call("divide", pure(1), pure(0))
    with pytest.raises(MoveExecutionError, match="DESERIALIZE"):
        await scene.call("divide", PureInput(b"\x01"), pure(1))


async def test_what_the_vm_cannot_do_fails_loudly_by_name(scene: Scene) -> None:
    with pytest.raises(MoveExecutionError, match=r"sui::transfer::receive .* does not support"):
        await scene.call("receive_frame", scene.gallery, PureInput(bytes(40)))
    with pytest.raises(MoveExecutionError, match=r"sui::funds_accumulator::add_impl .* does not support"):
        await scene.call("send_funds", coin(5), PureInput(b"\xb0" * 32))
    with pytest.raises(MoveExecutionError):
        await scene.call("bls", *[PureInput(blob(bytes(n))) for n in (48, 96, 1)], module="seals")


@pytest.mark.parametrize("types", [("u64", "u64"), ("0x2::nowhere::Nothing",), ("not a type",), ("u64>",)])
async def test_bad_type_arguments_are_refused(scene: Scene, types: tuple[str, ...]) -> None:
    with pytest.raises(MoveExecutionError):
        await scene.call("count_of", PureInput(b"\x00"), types=types)
