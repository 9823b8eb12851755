"""Bytes and signatures: what the ledger reads, and what it refuses."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pysui.sui.sui_bcs import bcs as pysui_bcs

from infra.local.sui.builder import GAS, TransactionBuilder, nested, valid_now
from infra.local.sui.keys import Key, ed25519_key, secp256k1_key, secp256r1_key
from infra.local.sui.ledger import bcs
from infra.local.sui.ledger.bcs import BcsError, Reader
from infra.local.sui.ledger.digests import base58, parse_base58
from infra.local.sui.ledger.errors import Refusal, TransactionRefusedError
from infra.local.sui.ledger.objects import Owner, StoredObject, address_owner, seal_object, shared_since
from infra.local.sui.ledger.signatures import SECP256K1_ORDER, authorise
from infra.local.sui.ledger.transactions import Pure, Withdrawal, decode_transaction
from infra.local.sui.ledger.type_tags import SUI, encode_type, parsed
from tests.unit.ledger_world import BOX, PACKAGE, box

CHAIN = bytes(range(32))


def everything(generic: str = f"vector<{SUI}>") -> TransactionBuilder:
    """A transaction with every kind of input and command that users send."""
    transaction = TransactionBuilder()

    def sealed(object_id: bytes, owner: Owner) -> StoredObject:
        return seal_object(
            box(object_id, 1),
            version=5,
            owner=owner,
            previous_transaction=CHAIN,
            storage_rebate=0,
            public_transfer=True,
        )

    owned = sealed(b"\1" * 32, address_owner(b"\2" * 32))
    shared = sealed(b"\3" * 32, shared_since(4))
    amounts = transaction.split(GAS, transaction.u64(1), transaction.u64(2))
    transaction.merge(nested(amounts, 0), nested(amounts, 1))
    elements = transaction.vector(transaction.owned(owned), element_type=BOX)
    types = ["u8", generic, f"0x{PACKAGE.hex()}::pair::Pair<address,{SUI}>"]
    withdrawal = transaction.withdrawal(7, SUI)
    shared_argument = transaction.shared(shared, mutable=False)
    transaction.call(PACKAGE, "box::f", elements, withdrawal, shared_argument, type_arguments=types)
    transaction.publish([b"code", b"more"], [PACKAGE])
    transaction.transfer(b"\4" * 32, nested(amounts, 0), GAS)
    return transaction


@pytest.mark.parametrize("expiration", [None, 3, valid_now(CHAIN, 1, 99)], ids=["none", "epoch", "window"])
@pytest.mark.parametrize("generic", ["u256", f"vector<{SUI}>"])
def test_reads_what_it_writes(expiration: object, generic: str) -> None:
    transaction, key = everything(generic), ed25519_key()
    encoded = transaction.build(key, expiration=expiration)  # type: ignore[arg-type]  # a parameter of the test
    data = decode_transaction(encoded)
    assert list(data.inputs) == transaction.inputs
    assert list(data.commands) == transaction.commands
    assert data.expiration == expiration
    if not generic.startswith("vector"):
        assert pysui_bcs.TransactionData.deserialize(encoded).serialize() == encoded


def test_pysui_writes_vector_types_as_nobody_reads_them() -> None:
    """Sui's ``TypeTag::Vector`` holds one tag; pysui 1.5 writes a list of one, which validators refuse."""
    assert encode_type(parsed("vector<u8>")) == b"\6\1"
    assert pysui_bcs.TypeTag.type_tag_from("vector<u8>").serialize() == b"\6\1\1"


def test_a_digest_is_that_of_sui() -> None:
    encoded = TransactionBuilder().build(ed25519_key())
    with pytest.raises(TransactionRefusedError):
        decode_transaction(encoded + b"\0")
    digest = decode_transaction(encoded).digest
    assert parse_base58(base58(digest)) == digest


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"\1" + b[1:], lambda _: b"", lambda b: b[:40]],
)
def test_malformed_bytes_are_refused_with_a_sentence(damage: object) -> None:
    encoded = everything().build(ed25519_key())
    with pytest.raises(TransactionRefusedError) as refused:
        decode_transaction(damage(encoded))  # type: ignore[operator]  # a parameter of the test
    assert refused.value.reason is Refusal.INVALID_ARGUMENT
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize("encoded", [b"\x80\0", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x80\1"])
def test_lengths_must_be_in_their_shortest_form(encoded: bytes) -> None:
    with pytest.raises(BcsError):
        Reader(encoded).uleb()


def test_limits_of_size_are_those_of_sui() -> None:
    def with_pure(*sizes: int) -> bytes:
        transaction = TransactionBuilder()
        for size in sizes:
            transaction.pure(bytes(size))
        return transaction.build(ed25519_key())

    assert decode_transaction(with_pure(16_383)).inputs == (Pure(bytes(16_383)),)
    with pytest.raises(TransactionRefusedError, match="16384"):
        decode_transaction(with_pure(16_384))
    with pytest.raises(TransactionRefusedError, match="131072"):
        decode_transaction(with_pure(*[16_383] * 9))


def test_withdrawals_know_their_source() -> None:
    transaction = everything()
    (withdrawal,) = (one for one in transaction.inputs if isinstance(one, Withdrawal))
    assert withdrawal == Withdrawal(7, SUI, from_sponsor=False)


@pytest.mark.parametrize("make", [ed25519_key, secp256k1_key, secp256r1_key])
def test_every_scheme_of_single_keys_is_accepted(make: object) -> None:
    key: Key = make()  # type: ignore[operator]  # a parameter of the test
    data = decode_transaction(everything().build(key))
    authorise(data, [key.sign(data.encoded)])


@pytest.mark.parametrize("make", [ed25519_key, secp256k1_key, secp256r1_key])
def test_a_signature_of_other_bytes_is_refused(make: object) -> None:
    key: Key = make()  # type: ignore[operator]  # a parameter of the test
    data = decode_transaction(everything().build(key))
    with pytest.raises(TransactionRefusedError, match="does not fit"):
        authorise(data, [key.sign(data.encoded + b"\0")])


def test_a_high_s_is_refused_though_it_verifies() -> None:
    key = secp256k1_key()
    data = decode_transaction(everything().build(key))
    low = key.sign(data.encoded)
    high_s = SECP256K1_ORDER - int.from_bytes(low[33:65], "big")
    high = low[:33] + high_s.to_bytes(32, "big") + low[65:]
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), low[65:])
    with pytest.raises(TransactionRefusedError, match="high s"):
        authorise(data, [high])


def test_only_the_sender_may_sign_and_pay() -> None:
    key, other = ed25519_key(), ed25519_key()
    data = decode_transaction(everything().build(key))
    for signatures, sentence in (
        ([other.sign(data.encoded)], "sender is"),
        ([], "One signature"),
        ([key.sign(data.encoded)] * 2, "One signature"),
        ([b""], "scheme flag"),
        ([key.sign(data.encoded)[:-1]], "97 bytes"),
    ):
        with pytest.raises(TransactionRefusedError, match=sentence):
            authorise(data, signatures)
    with pytest.raises(TransactionRefusedError) as refused:
        authorise(data, [b"\3" + bytes(100)])
    assert refused.value.reason is Refusal.UNIMPLEMENTED


def test_sponsors_are_refused_clearly() -> None:
    key, other = ed25519_key(), ed25519_key()
    encoded = everything().build(key)
    sponsored = encoded.replace(key.address + bcs.u64(1_000), other.address + bcs.u64(1_000))
    assert sponsored != encoded
    data = decode_transaction(sponsored)
    with pytest.raises(TransactionRefusedError, match="sponsored"):
        authorise(data, [key.sign(sponsored)])
