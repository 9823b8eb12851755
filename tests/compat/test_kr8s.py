"""kr8s, through the gateway and the chain, on both API servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kr8s.asyncio
import pytest
from kr8s.asyncio.objects import ConfigMap

from tests.compat.clients import Place, fading, place_on
from tests.compat.stages import Stage

pytestmark = [
    # The first test of a server may wait for the compiler.
    pytest.mark.timeout(1800),
    # It says which versions of Kubernetes it was made for: one of ours is older, one newer.
    pytest.mark.filterwarnings("ignore:Kubernetes version:UserWarning"),
]


@pytest.fixture(scope="module", params=["memory", "real"])
def place(request: pytest.FixtureRequest) -> Place:
    return place_on(request.getfixturevalue(f"{request.param}_stage"))


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncGenerator[Any, None]:
    """Its client; it has no way of its own to close connections."""
    api: Any = await kr8s.asyncio.api(kubeconfig=str(kubeconfig))
    try:
        yield api
    finally:
        await api._session.aclose()


async def test_it_writes_reads_and_waits(place: Place) -> None:
    async with connected(place.stage.chain) as api:
        body = {"metadata": {"name": "written", "namespace": place.namespace}, "data": {"n": "0"}}
        written: Any = await ConfigMap(body, api=api)
        await written.create()
        await written.patch({"data": {"n": "1"}})
        read = await ConfigMap.get("written", namespace=place.namespace, api=api)
        assert read.data == {"n": "1"}
        waiting = asyncio.create_task(written.wait("jsonpath='{.data.n}'=2", timeout=60))
        await asyncio.to_thread(place.changes, "written", n="2")
        await waiting
        assert written.data == {"n": "2"}
        await written.delete()
        await written.wait("delete", timeout=60)
        assert not await read.exists()


async def test_its_watch_shows_what_happened_and_ends_with_its_window(place: Place) -> None:
    async with connected(place.stage.chain) as api:
        place.happens("watched", n="0")
        watched: Any = await ConfigMap.get("watched", namespace=place.namespace, api=api)
        place.changes("watched", n="1")
        place.ends("watched")
        seen = [(kind, found.data) async for kind, found in watched.watch()]
    assert seen == [("MODIFIED", {"n": "1"}), ("DELETED", {"n": "1"})]


async def test_a_token_that_ended_is_renewed(memory_stage: Stage, tmp_path: Path) -> None:
    tokens = fading(memory_stage, tmp_path, dead=1)
    async with connected(tokens.kubeconfig) as api:
        assert [found async for found in api.get("namespaces", "default")]
    assert tokens.runs == 2
