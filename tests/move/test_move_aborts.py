"""The abort constants: unique, in their module's block, in the Python table, and each with a test."""

from __future__ import annotations

import re
from pathlib import Path

from k3s_daas.aborts import ABORTS
from tests.move.harness import SOURCES, abort_names

BLOCKS = {"cluster": 100, "role": 200, "seal": 300, "k8s_gateway": 400}
HERE = Path(__file__).parent


def test_codes_are_unique_and_in_the_block_of_their_module() -> None:
    names = abort_names()
    codes = [code for _, code in names]
    assert len(set(codes)) == len(codes) == len(set(names.values()))
    for module, code in names:
        assert code // 100 * 100 == BLOCKS[module]


def test_every_abort_of_the_sources_is_a_named_constant() -> None:
    for source in SOURCES.glob("*.move"):
        text = re.sub(r"//.*", "", source.read_text())
        asserted = re.findall(r"assert!\((?:[^;]*?), *(\w+),?\s*\);", text, re.DOTALL)
        assert len(asserted) == text.count("assert!(")
        assert all(
            (source.stem, name) in {(m, n) for (m, _), n in abort_names().items()} for name in asserted
        )
        assert not re.search(r"\babort\b", text)


def test_the_product_knows_every_abort() -> None:
    assert {(m, c): n for m, codes in ABORTS.items() for c, n in codes.items()} == abort_names()


def test_every_abort_has_a_test() -> None:
    tests = [path for path in HERE.glob("test_*.py") if path != Path(__file__)]
    texts = "".join(path.read_text() for path in (*tests, HERE / "rbac_vectors.json"))
    missing = {name for name in abort_names().values() if f'"{name}"' not in texts}
    assert not missing
