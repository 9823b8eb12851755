"""What a kubelet and Prometheus see of a listener process, while its surroundings come and go."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from k3s_daas.ids import to_hex
from tests.chaos.tcp_proxy import TcpProxy, tcp_proxy
from tests.integration.listener_stage import Process, Stage, stage

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
CONNECTIONS = 'stream_connections_total{source="1"}'
SECRET = "correct-horse-battery-staple"
SETTINGS = {
    "DAAS_HEALTH_ADDRESS": "127.0.0.1:0",
    "DAAS_LEASE_SECONDS": "2",
    "DAAS_READY_LAG_SECONDS": "5",
    "DAAS_DRAIN_MS": "60000",
    "DAAS_LOG_LEVEL": "debug",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("listener-health")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(chain: Stage) -> AsyncIterator[TcpProxy]:
    """Between the listener and the API server."""
    async with tcp_proxy(api_server_port(chain)) as made:
        yield made


def api_server_port(chain: Stage) -> int:
    [line] = [line for line in chain.kubeconfig.read_text().splitlines() if "server" in line]
    return int(line.rpartition(":")[2].strip(" \"'/,}"))


@pytest.fixture
def kubeconfig(chain: Stage, proxy: TcpProxy, tmp_path: Path) -> str:
    path = tmp_path / "kubeconfig"
    path.touch(mode=0o600)
    text = chain.kubeconfig.read_text()
    path.write_text(text.replace(f":{api_server_port(chain)}", f":{proxy.port}"))
    return str(path)


async def fetch(process: Process, path: str) -> tuple[int, str]:
    """Status and text."""

    def get() -> tuple[int, str]:
        url = f"http://127.0.0.1:{process.facts['health_port']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)


async def ready_when(process: Process, status: int, words: str, seconds: float = 30.0) -> float:
    """Waits until /readyz says so; how long that took. /livez passes all the time."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while True:
            assert (await fetch(process, "/livez"))[0] == 200
            seen, text = await fetch(process, "/readyz?verbose")
            if seen == status and words in text:
                return time.monotonic() - began
            await asyncio.sleep(0.1)


async def metrics(process: Process) -> dict[str, float]:
    """Ours, by name with labels."""
    status, text = await fetch(process, "/metrics")
    assert status == 200
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name.removeprefix("daas_listener_"): float(value) for name, _, value in lines}


async def metrics_when(process: Process, name: str, value: float) -> dict[str, float]:
    """As soon as one of them has this value."""
    async with asyncio.timeout(10):
        while True:
            found = await metrics(process)
            if found.get(name) == value:
                return found
            await asyncio.sleep(0.05)


async def test_metrics_count_commands_and_neither_they_nor_the_log_tell_what_was_in_them(
    chain: Stage, kubeconfig: str
) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "metered"},
        "data": {"k": SECRET},
    }
    async with chain.listener(**SETTINGS, KUBECONFIG=kubeconfig) as process:
        created = await chain.ask(
            "POST", CONFIG_MAPS, f"fieldManager={SECRET}", body=json.dumps(body).encode()
        )
        assert created.status == 201
        assert (await chain.ask("GET", f"{CONFIG_MAPS}/metered")).status == 200
        assert (await chain.ask("GET", f"{CONFIG_MAPS}/nowhere")).status == 404
        # An answer is on chain before its maker has counted it.
        found = await metrics_when(process, 'stage_seconds_count{kind="read",stage="total"}', 2)
        assert found['answers_total{code="2xx"}'] == 2
        assert found['answers_total{code="4xx"}'] == 1
        # The list that closes the gap behind a new subscription may be quicker than the stream.
        assert found['events_total{origin="live"}'] + found['events_total{origin="replayed"}'] == 3
        assert found['claims_total{event="made"}'] == 1
        assert found["claims_open"] == 1
        assert found['transactions_total{outcome="executed"}'] == found["transaction_answers_count"]
        assert found["transaction_answers_sum"] == 3
        assert found['api_server_calls_total{code="2xx",purpose="command"}'] == 2
        assert found['api_server_calls_total{code="2xx",purpose="claim"}'] >= 1
        for stage_name in ("queue", "verify", "run", "answer", "total"):
            assert found[f'stage_seconds_count{{kind="read",stage="{stage_name}"}}'] == 2
        assert found['stage_seconds_count{kind="mutation",stage="claim"}'] == 1
        assert found["leading"] == 1
        assert found["sealing_keys"] >= 1
        assert found["sealing_key_generation"] >= 1
        assert 0 <= found["sealing_key_age_seconds"] < 3_600
        assert found["stream_lag_seconds"] < 5
        assert found["queue_in_work"] == 0
        assert found["process_resident_memory_bytes"] > 10_000_000
        assert found[CONNECTIONS] == 1
        _, text = await fetch(process, "/metrics")
        await process.end(signal.SIGTERM)
        answered = [line for line in process.logged if line["message"] == "command answered"]
        assert len(answered) == 3
        assert len({line["request_id"] for line in answered}) == 3
        assert all(line["queue_ms"] >= 0 for line in answered)
        # Whoever may read metrics need not know who does what, and nobody reads bodies or queries in a log.
        assert to_hex(chain.chain.addresses["operator"]) not in text
        assert "metered" not in text
        assert SECRET not in json.dumps(process.logged) + "".join(process.other_lines) + text


async def test_while_it_starts_it_lives_and_is_not_ready_and_ends_when_told(
    chain: Stage, kubeconfig: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    chain.listeners_port.misbehave({"frozen": True})
    settings = SETTINGS | {"DAAS_HEALTH_ADDRESS": address, "KUBECONFIG": kubeconfig}
    process = Process(
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "listener_service"),
            env=chain.environment(**settings),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    )
    process.facts = {"health_port": address.rpartition(":")[2]}
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    status, text = await fetch(process, "/readyz")
                    break
                except urllib.error.URLError:
                    await asyncio.sleep(0.05)
        assert status == 503
        assert "[-]running failed: it is starting" in text
        assert (await fetch(process, "/livez"))[0] == 200
        began = time.monotonic()
        assert await process.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 5, "the chain's deadline is 10 s"
    finally:
        chain.listeners_port.reform()
        await process.end(signal.SIGKILL)


async def test_it_is_not_ready_while_api_server_chain_or_stream_are_away_and_is_again_afterwards(
    chain: Stage, proxy: TcpProxy, kubeconfig: str
) -> None:
    async with chain.listener(**SETTINGS, KUBECONFIG=kubeconfig) as process:
        await ready_when(process, 200, "[+]api-server ok")
        await proxy.refuse()
        await ready_when(process, 503, "[-]api-server failed: it has not answered for")
        await proxy.open()
        await ready_when(process, 200, "[+]api-server ok")
        port = chain.listeners_port
        port.misbehave({"away": True})
        port.drop_connections()
        await ready_when(process, 503, "[-]chain failed: too few endpoints have answered for")
        port.reform()
        await ready_when(process, 200, "[+]stream ok")
        assert (await chain.ask("GET", CONFIG_MAPS)).status == 200
        before = (await metrics(process))[CONNECTIONS]
        port.misbehave({"half_open": True})
        await ready_when(process, 503, "[-]stream failed: events are")
        assert (await metrics(process))["stream_lag_seconds"] > 5
        port.reform()
        port.drop_connections()
        await ready_when(process, 200, "[+]stream ok")
        assert (await metrics(process))[CONNECTIONS] > before


async def test_a_standby_is_ready(chain: Stage) -> None:
    async with chain.listener(**SETTINGS) as leader, chain.listener(**SETTINGS) as standby:
        await ready_when(leader, 200, "[+]running ok")
        await ready_when(standby, 200, "[+]running ok")
        assert (await metrics(leader))["leading"] == 1
        found = await metrics(standby)
        assert (found["leading"], found['phase{phase="standby"}']) == (0, 1)


async def test_while_it_drains_it_is_not_ready_and_ends_at_once_when_told_again(
    chain: Stage, proxy: TcpProxy, kubeconfig: str
) -> None:
    settings = SETTINGS | {"DAAS_LEASE_SECONDS": "15"}
    async with chain.listener(**settings, KUBECONFIG=kubeconfig) as process:
        await chain.ask("GET", CONFIG_MAPS)
        await proxy.fall_silent()
        await chain.submit("GET", CONFIG_MAPS)
        await metrics_when(process, "queue_in_work", 1)
        process.send(signal.SIGTERM)
        took_s = await ready_when(process, 503, "[-]running failed: it was told to end")
        assert took_s < 5
        assert process.process.returncode is None, "it waits for the command in work"
        began = time.monotonic()
        assert await process.end(signal.SIGTERM) == 128 + signal.SIGTERM
        assert time.monotonic() - began < 5
    await proxy.refuse()
    await proxy.open()
