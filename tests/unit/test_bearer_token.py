"""Bearer tokens: their bytes, and every way in which one is not accepted."""

import base64
import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from k3s_daas.bearer import MAX_VALIDITY_MS, PREFIX, BearerToken, Claims, mint, verify
from k3s_daas.errors import TokenError

NOW_MS = 1_763_864_000_000
CLUSTER, SEAL, GATEWAY = b"\x11" * 32, b"\x22" * 32, b"\x33" * 32
SECRET = bytes(range(32))


def session_key(label: str = "session") -> Ed25519PrivateKey:
    """A key that everybody can derive: SHA-256 of a label is its seed. For tests only."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(label.encode()).digest())


def token(**changes: int) -> BearerToken:
    return mint(
        session_key(),
        cluster=CLUSTER,
        seal=SEAL,
        gateway=GATEWAY,
        now_ms=NOW_MS,
        random=lambda size: SECRET[:size],
        **changes,
    )


def check(candidate: BearerToken, *, now_ms: int = NOW_MS) -> None:
    verify(candidate, cluster=CLUSTER, gateway=GATEWAY, now_ms=now_ms)


def test_the_signed_bytes_are_those_that_the_contract_rebuilds() -> None:
    secret_hash = hashlib.sha3_256(SECRET).digest()
    expected = (
        *("12", b"k3s-daas/claims/v1".hex(), "11" * 32, "22" * 32, "33" * 32),
        *("0100000000000000", "0201000000000000"),
        *("20", "050a48733bd5c2756ba95c5828cc83ee16fabcd3c086885b7744f84a0f9e0d94"),
    )
    assert Claims(CLUSTER, SEAL, GATEWAY, 1, 258, secret_hash).signing_bytes().hex() == "".join(expected)


def test_a_token_has_golden_bytes() -> None:
    minted = token()
    raw = base64.urlsafe_b64decode(minted.encode().removeprefix(PREFIX) + "==")
    assert len(raw) == 164 + 32 + 64 + 32
    assert raw[:164] == minted.claims.signing_bytes()
    assert raw[164:196] == session_key().public_key().public_bytes_raw()
    assert raw[-32:] == SECRET
    assert (
        hashlib.sha256(raw).hexdigest() == "0031ba21ab11781813574c2820f0441ead6e8b6f29bdba1c5d52475a3faed35f"
    )


def test_a_fresh_token_is_accepted_and_survives_its_text_form() -> None:
    minted = token()
    decoded = BearerToken.decode(minted.encode())
    assert decoded == minted
    check(decoded)
    assert minted.claims.not_before_ms == NOW_MS - 60_000
    assert minted.claims.expires_at_ms == NOW_MS + 600_000


def test_every_token_has_its_own_secret() -> None:
    first, second = (
        mint(session_key(), cluster=CLUSTER, seal=SEAL, gateway=GATEWAY, now_ms=NOW_MS) for _ in range(2)
    )
    assert first.secret != second.secret


def test_a_token_is_accepted_in_its_window_only() -> None:
    minted = token()
    check(minted, now_ms=NOW_MS - 60_000)
    check(minted, now_ms=NOW_MS + 599_999)
    with pytest.raises(TokenError, match=r"valid only in 1 s.*clock"):
        check(minted, now_ms=NOW_MS - 60_001)
    with pytest.raises(TokenError, match=r"expired 0 s ago.*again"):
        check(minted, now_ms=NOW_MS + 600_000)


def test_a_token_for_another_cluster_or_gateway_is_refused() -> None:
    with pytest.raises(TokenError, match=r"for cluster 0x1111.*kubeconfig"):
        verify(token(), cluster=b"\x99" * 32, gateway=GATEWAY, now_ms=NOW_MS)
    with pytest.raises(TokenError, match=r"for gateway 0x3333.*gateway"):
        verify(token(), cluster=CLUSTER, gateway=b"\x99" * 32, now_ms=NOW_MS)


def test_a_token_signed_by_another_key_is_refused() -> None:
    other = session_key("another").public_key().public_bytes_raw()
    with pytest.raises(TokenError, match="not signed by its session key"):
        check(replace(token(), session_key=other))


def test_claims_without_their_secret_are_worth_nothing() -> None:
    # What the chain shows: claims, key and signature. The secret has to be guessed.
    with pytest.raises(TokenError, match="secret does not fit"):
        check(replace(token(), secret=bytes(32)))


def test_a_secret_hash_that_was_swapped_breaks_the_signature() -> None:
    other = b"s" * 32
    claims = replace(token().claims, secret_hash=hashlib.sha3_256(other).digest())
    with pytest.raises(TokenError, match="not signed"):
        check(replace(token(), claims=claims, secret=other))


def test_a_token_that_lives_too_long_is_neither_made_nor_accepted() -> None:
    with pytest.raises(ValueError, match=str(MAX_VALIDITY_MS)):
        token(lifetime_ms=MAX_VALIDITY_MS)
    claims = replace(token().claims, expires_at_ms=NOW_MS + MAX_VALIDITY_MS)
    signed = replace(token(), claims=claims, signature=session_key().sign(claims.signing_bytes()))
    with pytest.raises(TokenError, match="at most 900 s"):
        check(signed)


@given(position=st.integers(0, 291), bit=st.integers(0, 7))
def test_no_bit_can_be_flipped(position: int, bit: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(token().encode().removeprefix(PREFIX) + "=="))
    raw[position] ^= 1 << bit
    text = PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    with pytest.raises(TokenError):
        check(BearerToken.decode(text))


@given(cut=st.integers(0, 396))
def test_no_prefix_of_a_token_is_one(cut: int) -> None:
    text = token().encode()
    assert len(text) == 397
    with pytest.raises(TokenError):
        BearerToken.decode(text[:cut])


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "kdaas1.", "kdaas1.====", "Bearer kdaas1.AAAA", "eyJhbGciOi.eyJpc3.c2ln"),
        *(prefix + "A" * 390 for prefix in ("kdaas1.", "kdaas2.", "KDAAS1.")),
        *("kdaas1." + "ä" * 390, "kdaas1." + "A" * 400_000),
    ],
)
def test_junk_is_no_token(text: str) -> None:
    with pytest.raises(TokenError) as caught:
        BearerToken.decode(text)
    assert ":" in str(caught.value), "the message says what to do"


@pytest.mark.parametrize("change", ["{}=", "{}\n", " {}", "{}A"])
def test_one_token_has_one_text(change: str) -> None:
    with pytest.raises(TokenError):
        BearerToken.decode(change.format(token().encode()))


def test_standard_base64_is_not_the_text_form() -> None:
    text = token().encode()
    assert "-" in text or "_" in text
    with pytest.raises(TokenError):
        BearerToken.decode(text.replace("-", "+").replace("_", "/"))


def test_unused_bits_of_the_last_character_must_be_zero() -> None:
    text = token().encode()
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(text[-1])
    altered = text[:-1] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last ^ 1]
    with pytest.raises(TokenError):
        BearerToken.decode(altered)


def test_neither_token_nor_secret_reach_a_log() -> None:
    minted = token()
    shown = repr(minted) + str(minted)
    assert SECRET.hex() not in shown
    assert repr(SECRET) not in shown
    assert repr(minted.signature) not in shown
    for broken in (minted.encode()[:-4], "kdaas1.secret-looking-text"):
        with pytest.raises(TokenError) as caught:
            BearerToken.decode(broken)
        assert broken[7:20] not in str(caught.value)
        assert caught.value.__cause__ is None
