"""One chain for all tests of the contract, with one cluster that no test changes for the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.local.sui.compiler import CompiledPackage, compile_package
from tests.move.harness import ROOT, Chain
from tests.move.world import World

MOVE = ROOT / "move"
BYTECODE = ROOT / "build" / "move" / "bytecode.json"


@pytest.fixture(scope="session")
def chain() -> Iterator[Chain]:
    chain = Chain(_compiled())
    yield chain
    chain.close()


@pytest.fixture(scope="session")
def world(chain: Chain) -> World:
    return World.create(chain)


def _compiled() -> CompiledPackage:
    """What `make move` made, if no source is newer."""
    sources = [MOVE / "Move.toml", *(MOVE / "sources").glob("*.move")]
    newest = max(source.stat().st_mtime for source in sources)
    if BYTECODE.exists() and BYTECODE.stat().st_mtime > newest:
        return CompiledPackage.from_json(BYTECODE.read_text())
    return compile_package(MOVE)
