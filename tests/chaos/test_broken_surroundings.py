"""Stream, fullnode, API server and blob store fail under load: every command is run once, or refused with
the code for it, and the listener goes on by itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.chaos.commands import CONFIG_MAPS, Commands, Sent, Wanted, collect, executions, judge
from tests.chaos.faulty_blobs import ByBlob, FaultyBlobs, faulty_blobs
from tests.chaos.scale import scaled, tallied
from tests.chaos.tally import Tally
from tests.chaos.tcp_proxy import TcpProxy, tcp_proxy
from tests.integration.listener_stage import Stage, stage

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(scaled(240, 600))]

SOURCES = ("grpc", "websocket")
SECONDS = scaled(4, 60)
PER_SECOND = 3
# Shorter than the absence, so that some commands are too late when it is over.
START_WITHIN_MS = scaled(3_000, 20_000)
CUT_EVERY_S = 0.2
# Claims and objects, before the fault begins: it hits a command that is claimed and run, but not answered.
STEPS_BEFORE = 4
# After the fault, and all of these are run.
AFTERWARDS = 4
# More than a transaction takes, also compressed.
LARGE_BYTES = 150_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("broken"), jsonrpc_ports=1) as made:
        yield made


async def under(
    chain: Stage,
    name: str,
    tally: Tally,
    fault: Coroutine[Any, Any, None],
    settings: dict[str, str],
    *,
    start_within_ms: int = START_WITHIN_MS,
) -> None:
    """Sends commands before the fault and while it lasts, and some afterwards."""
    count = (SECONDS + 2) * PER_SECOND
    commands = await Commands.prepare(chain, name, count + AFTERWARDS, reads=True)
    async with chain.listener(**settings):
        async with asyncio.TaskGroup() as group:
            group.create_task(at_work(commands, fault))
            for _ in range(count):
                group.create_task(commands.send(start_within_ms=start_within_ms))
                await asyncio.sleep(1 / PER_SECOND)
        await commands.collect(start_within_ms / 1000 + 60)
        already = len(commands.sent)
        await commands.send(AFTERWARDS)
        await commands.collect(60)
    commands.judge(tally)
    for one in commands.sent[already:]:
        if one.answer is None or one.answer.status != one.wanted.status:
            tally.violated(f"after the fault: {one.wanted.method} was answered {one.answer}")


async def at_work(commands: Commands, fault: Coroutine[Any, Any, None]) -> None:
    """The fault begins while the listener waits to hear whether an object was stored."""
    reached, loop = asyncio.Event(), asyncio.get_running_loop()
    with commands.at_step(STEPS_BEFORE, lambda: loop.call_soon_threadsafe(reached.set)):
        await reached.wait()
    await fault


@pytest.mark.parametrize("source", SOURCES)
async def test_the_event_stream_is_cut_all_the_time(source: str, chain: Stage) -> None:
    with tallied(f"3 stream cut every 200 ms, events by {source}") as tally:
        settings = chain.event_source(source)
        await under(chain, f"cut-{source}", tally, cuts(chain), settings, start_within_ms=20_000)
        assert tally.executed_once > AFTERWARDS, "between two cuts there is time for something"


async def cuts(chain: Stage) -> None:
    """Every connection to the fullnode, the stream's among them."""
    for _ in range(round(SECONDS / CUT_EVERY_S)):
        for port in chain.listeners_ports:
            port.drop_connections()
        await asyncio.sleep(CUT_EVERY_S)


@pytest.mark.parametrize("source", scaled(SOURCES[:1], SOURCES))
async def test_the_fullnode_is_away(source: str, chain: Stage) -> None:
    with tallied(f"3 fullnode away {SECONDS} s, events by {source}") as tally:
        await under(chain, f"node-{source}", tally, no_fullnode(chain), chain.event_source(source))


async def no_fullnode(chain: Stage) -> None:
    """Whatever it speaks."""
    await asyncio.gather(*(port.restart(SECONDS * 1000) for port in chain.listeners_ports))


async def test_the_api_server_is_away(chain: Stage, tmp_path: Path) -> None:
    text = chain.kubeconfig.read_text()
    [port] = re.findall(r"https://127\.0\.0\.1:(\d+)", text)
    with tallied(f"3 API server away {SECONDS} s") as tally:
        async with tcp_proxy(int(port)) as proxy:
            kubeconfig = tmp_path / "kubeconfig"
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(text.replace(f":{port}", f":{proxy.port}"))
            settings = {"KUBECONFIG": str(kubeconfig), "DAAS_LEASE_SECONDS": "2"}
            await under(chain, "api", tally, absence(proxy), settings)


async def absence(proxy: TcpProxy) -> None:
    """Half of the time its port is closed, the other half it hangs."""
    await proxy.refuse()
    await asyncio.sleep(SECONDS / 2)
    await proxy.fall_silent()
    await asyncio.sleep(SECONDS / 2)
    await proxy.refuse()
    await proxy.open()


async def test_the_blob_store_fails_every_second_call(chain: Stage) -> None:
    with tallied("3 blob store fails every 2nd call") as tally, faulty_blobs() as blobs:
        sent: list[Sent] = []
        settings = {"DAAS_BLOB_HOSTS": f"127.0.0.1:{blobs.port}", "DAAS_BLOB_PLAIN_HTTP": "loopback"}
        async with chain.listener(**settings):
            blobs.fails = lambda number: number % 2 == 0
            async with asyncio.TaskGroup() as group:
                for number in range(SECONDS * PER_SECOND):
                    group.create_task(large(chain, blobs, number, sent))
                    await asyncio.sleep(1 / PER_SECOND)
            await collect(chain, sent, 60)
        runs = executions(chain)
        for one in sent:
            judge(one, runs[one.asked.request_id], tally)
            answer = one.answer
            if answer and answer.status == one.wanted.status and not blobs.kept(one.asked, answer):
                tally.violated(f"the reply of {one.asked.request_id.hex()} is not where the answer says")
        assert blobs.failed >= SECONDS * PER_SECOND
        assert tally.executed_once


async def large(chain: Stage, blobs: FaultyBlobs, number: int, sent: list[Sent]) -> None:
    """Creates an object that no transaction takes, neither on its way there nor back."""
    content = base64.b64encode(random.randbytes(LARGE_BYTES)).decode()
    body = {"metadata": {"generateName": "large-"}, "data": {"number": str(number), "content": content}}
    wanted = Wanted("POST", CONFIG_MAPS, 201, json.dumps(body).encode())
    assert chain.services.sealing is not None
    who = chain.holder("operator")
    detour = ByBlob(blobs, chain.services.sealing.public_key, who.cluster, who.seal)
    asked = await chain.submit(
        wanted.method, wanted.path, body=wanted.body, payload_for=detour.learn, envelope_with=detour.moved
    )
    sent.append(Sent(wanted, asked))


async def test_a_blob_store_that_is_away_is_told_and_nothing_is_run(chain: Stage) -> None:
    with tallied("3 blob store away") as tally, faulty_blobs() as blobs:
        sent: list[Sent] = []
        settings = {"DAAS_BLOB_HOSTS": f"127.0.0.1:{blobs.port}", "DAAS_BLOB_PLAIN_HTTP": "loopback"}
        async with chain.listener(**settings):
            blobs.fails = lambda number: True
            await large(chain, blobs, 0, sent)
            await collect(chain, sent, 60)
        runs = executions(chain)
        judge(sent[0], runs[sent[0].asked.request_id], tally)
        assert tally.refused == {503: 1}
