"""Numbers that Python and the contract both fix must be the same, or a refusal would cost gas."""

import re
from pathlib import Path

import pytest

from k3s_daas import attributes, bearer, payload, sealing
from k3s_daas.contract import usage

SOURCES = Path(__file__).parents[2] / "move" / "sources"


def constant(module: str, name: str) -> int:
    text = (SOURCES / f"{module}.move").read_text(encoding="utf-8")
    found = re.search(rf"^const {name}: u\d+ = ([\d_]+);", text, re.M)
    assert found, f"{module}.move has no constant {name}"
    return int(found[1].replace("_", ""))


@pytest.mark.parametrize(
    ("module", "name", "ours"),
    [
        ("payload", "MAX_CHUNK_BYTES", payload.CHUNK_BYTES),
        ("k8s_gateway", "REQUEST_BYTES", usage.REQUEST_BYTES),
        ("k8s_gateway", "DEPOSIT_PER_BYTE", usage.DEPOSIT_PER_BYTE),
        ("usage", "MINUTE_MS", usage.MINUTE_MS),
        ("usage", "DAY_MS", usage.DAY_MS),
        ("claims", "MAX_VALIDITY_MS", bearer.MAX_VALIDITY_MS),
        ("executor", "HPKE_KEY_BYTES", sealing.PUBLIC_KEY_BYTES),
        ("attributes", "MAX_GROUP", attributes.MAX_GROUP_CHARS),
        ("attributes", "MAX_VERSION", attributes.MAX_SEGMENT_CHARS),
        ("attributes", "MAX_RESOURCE", attributes.MAX_SEGMENT_CHARS),
        ("attributes", "MAX_SUBRESOURCE", attributes.MAX_SEGMENT_CHARS),
        ("attributes", "MAX_NAMESPACE", attributes.MAX_SEGMENT_CHARS),
        ("attributes", "MAX_OBJECT_NAME", attributes.MAX_NAME_BYTES),
    ],
)
def test_both_sides_have_the_same_bounds(module: str, name: str, ours: int) -> None:
    assert constant(module, name) == ours


def test_the_contract_takes_as_many_chunks_as_we_cut() -> None:
    chunks = payload.split(bytes(payload.MAX_CIPHERTEXT_BYTES))
    assert len(chunks) <= constant("payload", "MAX_CHUNKS")
    assert constant("policy", "MAX_INLINE_BYTES") >= payload.MAX_CIPHERTEXT_BYTES
