"""What the Move VM computes natively, and the framework around it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from infra.local.sui.execution import (
    MoveExecutionError,
    PureInput,
    Transferred,
)
from tests.integration.gallery_scene import (
    COIN_TYPE,
    STD,
    SUI,
    SUI_TYPE,
    Scene,
    blob,
    coin,
    published_gallery,
    pure,
    u64,
)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with published_gallery() as scene:
        yield scene


async def test_ed25519_signatures_are_verified(scene: Scene) -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    arguments = (pure(key.sign(b"message")), pure(public))
    valid = await scene.call("ed25519_is_valid", *arguments, pure(b"message"), module="seals")
    other = await scene.call("ed25519_is_valid", *arguments, pure(b"massage"), module="seals")
    assert (valid.returns[0].contents, other.returns[0].contents) == (b"\x01", b"\x00")


@pytest.mark.parametrize(
    ("function", "curve", "order"),
    [
        (
            "k1_is_valid",
            ec.SECP256K1(),
            0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
        ),
        (
            "r1_is_valid",
            ec.SECP256R1(),
            0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        ),
    ],
)
async def test_ecdsa_signatures_are_verified(
    scene: Scene, function: str, curve: ec.EllipticCurve, order: int
) -> None:
    key = ec.generate_private_key(curve)
    r, s = decode_dss_signature(key.sign(b"message", ec.ECDSA(hashes.SHA256())))
    signature = r.to_bytes(32, "big") + min(s, order - s).to_bytes(32, "big")
    public = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    arguments = (pure(signature), pure(public))
    valid = await scene.call(function, *arguments, pure(b"message"), module="seals")
    other = await scene.call(function, *arguments, pure(b"massage"), module="seals")
    assert (valid.returns[0].contents, other.returns[0].contents) == (b"\x01", b"\x00")


@pytest.mark.parametrize(
    ("function", "digest"),
    [
        ("blake2b", hashlib.blake2b(b"abc", digest_size=32).hexdigest()),
        ("keccak", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
        ("sha2", hashlib.sha256(b"abc").hexdigest()),
        ("sha3", hashlib.sha3_256(b"abc").hexdigest()),
    ],
)
async def test_hashes_are_those_of_everybody(scene: Scene, function: str, digest: str) -> None:
    outcome = await scene.call(function, pure(b"abc"), module="seals")
    assert outcome.returns[0].contents == blob(bytes.fromhex(digest))


async def test_hmac_is_that_of_everybody(scene: Scene) -> None:
    outcome = await scene.call("mac", pure(b"key"), pure(b"abc"), module="seals")
    assert outcome.returns[0].contents == blob(hmac.digest(b"key", b"abc", "sha3_256"))


async def test_addresses_and_numbers_convert_as_on_sui(scene: Scene) -> None:
    outcome = await scene.call("numbered", PureInput(bytes(30) + b"\x01\x02"))
    number, address, text = (one.contents for one in outcome.returns)
    assert int.from_bytes(number, "little") == 0x0102
    assert address == bytes(30) + b"\x01\x02"
    assert text == blob((bytes(30) + b"\x01\x02").hex())


# === The framework ===


async def test_framework_functions_are_called_like_others(scene: Scene) -> None:
    outcome = await scene.call("value", coin(60), module="coin", types=(SUI_TYPE,), package=SUI)
    assert outcome.returns[0].contents == u64(60)
    to = PureInput(b"\xb0" * 32)
    sent = await scene.call(
        "public_transfer", coin(60), to, module="transfer", types=(COIN_TYPE,), package=SUI
    )
    assert sent.changes == (Transferred(coin(60).value, b"\xb0" * 32),)
    larger = await scene.call("max", pure(1), pure(2), module="u64", package=STD)
    assert larger.returns[0].contents == u64(2)


async def test_framework_functions_that_only_a_type_s_module_may_call_are_refused(scene: Scene) -> None:
    with pytest.raises(MoveExecutionError, match="invalid private transfer call"):
        await scene.call(
            "transfer",
            coin(60),
            PureInput(b"\xb0" * 32),
            module="transfer",
            types=(COIN_TYPE,),
            package=SUI,
        )
    with pytest.raises(MoveExecutionError, match=r"there is no function .*event::record"):
        await scene.call("record", module="event", package=SUI)
