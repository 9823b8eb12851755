"""Transactions: golden bytes, agreement with pysui's codec, strict decoding, arguments read back."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pysui.sui.sui_bcs import bcs as pysui_bcs

from k3s_daas.bcs import Writer
from k3s_daas.contract import calls
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.errors import PayloadTooLargeError, WireFormatError
from k3s_daas.sui.digests import digest_bytes, to_base58
from k3s_daas.sui.transaction_bcs import encode_transaction
from k3s_daas.sui.transaction_data import ArgumentKind, PureInput, SharedInput, ValidDuring
from k3s_daas.sui.transactions import (
    GAS_COIN,
    AddressBalanceGas,
    Argument,
    CoinGas,
    ObjectRef,
    PtbBuilder,
    decode_transaction,
    transaction_digest,
)
from k3s_daas.sui.type_tags import parse_type_tag

# Bytes and digests that Sui's TypeScript SDK 2.33.1 parses, rebuilds identically and hashes alike.
GOLDEN = json.loads((Path(__file__).parents[1] / "vectors" / "sui_transactions.json").read_text())

PACKAGE = b"\x0a" * 32
CLUSTER, SEAL = SharedRef(b"\x01" * 32, 5), SharedRef(b"\x02" * 32, 6)
CHAIN = to_base58(bytes(range(32)))
GAS = AddressBalanceGas(budget=5_000_000, price=1000, epoch=7, chain_id=CHAIN, nonce=0xDEADBEEF)
SENDER = b"\x08" * 32
COMMAND = calls.Command(
    request_id=b"\x03" * 16,
    session_key=b"\x04" * 32,
    secret_hash=b"\x05" * 32,
    not_before_ms=1,
    token_expires_at_ms=2,
    claims_signature=b"\x06" * 64,
    attributes=OnChainAttributes("get", "apps", "v1", "deployments", "", "default", "web"),
    executor=b"\x07" * 32,
    start_by_ms=10,
    finish_by_ms=20,
    answer_by_ms=30,
    payload=[b"first chunk", b"second"],
)


def execute_transaction() -> bytes:
    builder = PtbBuilder()
    calls.execute_command(builder, PACKAGE, CLUSTER, SEAL, COMMAND)
    return builder.build(SENDER, gas=GAS)


def responses_transaction() -> bytes:
    builder = PtbBuilder()
    for number in (1, 2):
        response = calls.Response(bytes([number]) * 16, 200 + number, [b"answer", bytes([number])])
        calls.store_response(builder, PACKAGE, CLUSTER, SEAL, response)
    gas = AddressBalanceGas(budget=6_000_000, price=1000, epoch=7, chain_id=CHAIN, nonce=1)
    return builder.build(b"\x09" * 32, gas=gas)


def administration_transaction() -> bytes:
    builder = PtbBuilder()
    cap = builder.owned(ObjectRef(b"\x0e" * 32, 1, to_base58(b"\x0f" * 32)))
    calls.stake(builder, PACKAGE, CLUSTER, role="viewer", coin=GAS_COIN, amount=5, expires_at_ms=9)
    calls.deposit_to_address_balance(builder, coin=GAS_COIN, recipient=b"\x0c" * 32, amount=3)
    builder.transfer([builder.publish([b"mod1", b"mod2"], [b"\x01" * 32])], b"\x10" * 32)
    calls.add_rule(
        builder,
        PACKAGE,
        CLUSTER,
        cap,
        role="viewer",
        verbs=["get"],
        api_groups=["*"],
        resources=["pods", "pods/log"],
    )
    coin = ObjectRef(b"\x11" * 32, 3, to_base58(b"\x12" * 32))
    return builder.build(SENDER, gas=CoinGas(budget=5, price=6, coins=(coin,), last_epoch=9))


BUILT = {
    "execute": execute_transaction,
    "responses": responses_transaction,
    "administration": administration_transaction,
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_transaction_has_the_golden_bytes_and_digest(name: str) -> None:
    transaction = BUILT[name]()
    assert transaction.hex() == "".join(GOLDEN[name]["bcs"])
    assert transaction_digest(transaction) == GOLDEN[name]["digest"]


def test_pysui_reads_the_same_transaction() -> None:
    """Without `vector<u8>`, whose type tag pysui gets wrong."""
    transaction = administration_transaction()
    data = pysui_bcs.TransactionData.deserialize(transaction)
    assert data.serialize() == transaction
    assert bytes(data.value.Sender.Address) == SENDER


def test_gas_from_the_address_balance_is_valid_for_two_epochs_on_one_chain() -> None:
    data = decode_transaction(execute_transaction()).data
    assert data.expiration == ValidDuring(7, 8, CHAIN, 0xDEADBEEF)
    assert (data.gas.payment, data.gas.owner, data.gas.price, data.gas.budget) == (
        (),
        SENDER,
        1000,
        5_000_000,
    )


def test_the_nonce_decides_the_digest() -> None:
    builder = PtbBuilder()
    digests = {
        transaction_digest(builder.build(SENDER, gas=AddressBalanceGas(1, 1, 1, CHAIN, nonce)))
        for nonce in (1, 1, 2)
    }
    assert len(digests) == 2


def test_a_shared_object_used_twice_is_one_input_and_mutable_if_any_use_is() -> None:
    builder = PtbBuilder()
    first = builder.shared(b"\x01" * 32, 5, mutable=False)
    second = builder.shared(b"\x01" * 32, 5, mutable=True)
    third = builder.shared(b"\x01" * 32, 5, mutable=False)
    assert first == second == third
    assert decode_transaction(builder.build(SENDER, gas=GAS)).inputs == (SharedInput(b"\x01" * 32, 5, True),)


def test_one_object_cannot_be_two_inputs() -> None:
    builder = PtbBuilder()
    builder.shared(b"\x01" * 32, 5, mutable=False)
    with pytest.raises(ValueError, match="two different inputs"):
        builder.shared(b"\x01" * 32, 6, mutable=False)
    with pytest.raises(ValueError, match="two different inputs"):
        builder.owned(ObjectRef(b"\x01" * 32, 5, CHAIN))


def test_sui_limits_are_kept() -> None:
    builder = PtbBuilder()
    builder.pure(bytes(16 * 1024 - 1))
    with pytest.raises(PayloadTooLargeError, match="split"):
        builder.pure(bytes(16 * 1024))
    for _ in range(8):
        builder.pure(bytes(16 * 1024 - 1))
    with pytest.raises(PayloadTooLargeError, match="131072"):
        builder.build(SENDER, gas=GAS)


def test_chunks_are_read_back_out_of_the_inputs() -> None:
    decoded = decode_transaction(execute_transaction())
    [call] = decoded.move_calls
    assert decoded.sender == SENDER
    assert (call.package, call.module, call.function) == (
        PACKAGE,
        "k8s_gateway",
        "execute_kubectl_command_with_id",
    )
    assert decoded.resolve_chunks(call.arguments[calls.EXECUTE_PAYLOAD]) == COMMAND.payload
    assert decoded.resolve_object(call.arguments[calls.EXECUTE_SEAL]) == SEAL.id
    request_id = decoded.resolve_pure(call.arguments[calls.EXECUTE_REQUEST_ID])
    assert request_id == b"\x10" + COMMAND.request_id


def test_chunks_in_one_input_are_read_too() -> None:
    builder = PtbBuilder()
    argument = builder.pure(Writer().vector([b"a", b"bc"], Writer.byte_vector).finish())
    assert decode_transaction(builder.build(SENDER, gas=GAS)).resolve_chunks(argument) == [b"a", b"bc"]


def test_arguments_that_are_something_else_are_refused() -> None:
    builder = PtbBuilder()
    shared = builder.shared(b"\x01" * 32, 5, mutable=False)
    pure = builder.pure(b"\x05abc")
    broken_vector = builder.make_vec_of_bytes([pure])
    call = builder.move_call(PACKAGE, "m", "f", [broken_vector])
    decoded = decode_transaction(builder.build(SENDER, gas=GAS))
    beyond = Argument(ArgumentKind.INPUT, 99)
    for argument in (shared, call, GAS_COIN, beyond):
        with pytest.raises(WireFormatError):
            decoded.resolve_pure(argument)
    for argument in (pure, call, GAS_COIN, beyond):
        with pytest.raises(WireFormatError):
            decoded.resolve_object(argument)
    for argument in (shared, pure, call, broken_vector, GAS_COIN, beyond, Argument(ArgumentKind.RESULT, 9)):
        with pytest.raises(WireFormatError):
            decoded.resolve_chunks(argument)


@given(st.binary(max_size=300))
def test_junk_is_one_kind_of_error(junk: bytes) -> None:
    with pytest.raises(WireFormatError):
        decode_transaction(b"\x00\x00" + junk + b"\xff")
    with pytest.raises(WireFormatError):
        decode_transaction(junk[:60])


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_gives_other_values_or_an_error(position: int, value: int) -> None:
    """What decodes at all encodes to the same bytes again: no two encodings of one transaction."""
    transaction = bytearray(execute_transaction())
    transaction[position % len(transaction)] = value
    try:
        decoded = decode_transaction(bytes(transaction))
    except WireFormatError:
        return
    assert encode_transaction(decoded.data) == bytes(transaction)


@pytest.mark.parametrize("cut", [0, 1, 2, 100, -1])
def test_a_truncated_transaction_is_refused(cut: int) -> None:
    with pytest.raises(WireFormatError):
        decode_transaction(execute_transaction()[:cut])


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(WireFormatError, match="follow"):
        decode_transaction(execute_transaction() + b"\x00")


def test_pure_inputs_are_kept_as_they_are() -> None:
    builder = PtbBuilder()
    builder.pure(b"\x01\x02")
    assert decode_transaction(builder.build(SENDER, gas=GAS)).inputs == (PureInput(b"\x01\x02"),)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("u8", "u8"),
        ("vector<vector<u8>>", "vector<vector<u8>>"),
        ("0x2::sui::SUI", f"0x{2:064x}::sui::SUI"),
        ("0x2::coin::Coin<0x2::sui::SUI>", f"0x{2:064x}::coin::Coin<0x{2:064x}::sui::SUI>"),
        ("0x2::m::P<u64, vector<bool>>", f"0x{2:064x}::m::P<u64, vector<bool>>"),
        ("0x2::m::P<u64,0x1::a::B<address>>", f"0x{2:064x}::m::P<u64, 0x{1:064x}::a::B<address>>"),
    ],
)
def test_type_tags_have_one_text(text: str, canonical: str) -> None:
    assert str(parse_type_tag(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        *("", "u7", "0x2", "0x2::sui", "0x2::sui::SUI>", "0x2::sui::SUI<", "vector", "vector<u8,u8>"),
        *("0x2::1::A", "0x" + "1" * 65 + "::a::B", "0x2::a::B x", "vector<" * 20 + "u8" + ">" * 20),
    ],
)
def test_other_texts_are_no_type_tags(text: str) -> None:
    with pytest.raises(ValueError, match=r"Move type|vector"):
        parse_type_tag(text)


def test_base58_is_that_of_32_bytes_only() -> None:
    for data in (bytes(32), b"\x00" + b"\xff" * 31, bytes(range(32))):
        assert digest_bytes(to_base58(data)) == data
    for text in ("", "0", "1" * 45, to_base58(bytes(31)), "z" * 44):
        with pytest.raises(ValueError, match=r"digest|base58"):
            digest_bytes(text)
