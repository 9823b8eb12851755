"""The local Sui as a process: what it prints, how it ends, how it refuses to start."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import time
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from grpclib.client import Channel
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2
from websockets.asyncio.client import connect

from infra.local.certificates import LocalAuthority

ENDS_WITHIN = 3.0
"""Seconds."""


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.local.sui", *arguments, stdout=PIPE, stderr=PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            line = await process.stdout.readline()
        yield process, json.loads(line) if line else {}
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def test_it_says_where_it_listens_and_ends_on_demand(tmp_path: Path) -> None:
    authority = LocalAuthority(tmp_path)
    issued = authority.issue("sui")
    tls = ("--tls-cert", str(issued.certificate), "--tls-key", str(issued.key))
    ports = ("--grpc-port", "0", "--grpc-port", "0", "--jsonrpc-port", "0")
    async with running(*ports, *tls) as (process, ready):
        assert len(ready["grpc_ports"]) == 2
        trust = _trusting(authority.certificate_file)
        for port in ready["grpc_ports"]:
            channel = Channel("127.0.0.1", port, ssl=trust)
            info = await v2.LedgerServiceStub(channel).get_service_info()
            assert info.chain_id == ready["chain_id"]
            frames = v2.SubscriptionServiceStub(channel).subscribe_events(v2.SubscribeEventsRequest())
            await anext(frames)
            channel.close()
        (json_port,) = ready["jsonrpc_ports"]
        url, subscribe = (
            f"ws://127.0.0.1:{json_port}",
            '{"id":1,"method":"suix_subscribeEvent","params":[{"All":[]}]}',
        )
        async with connect(url, proxy=None) as first:
            await first.send(subscribe)
            assert '"result":1' in str(await first.recv())
            control = f"http://127.0.0.1:{ready['control_port']}/ports/{json_port}/restart"
            await asyncio.to_thread(_post, control)
            await asyncio.wait_for(first.wait_closed(), 5)
        second = await connect(url, proxy=None)
        await second.send(subscribe)
        assert '"result":2' in str(await second.recv())
        asked = time.monotonic()
        process.terminate()
        assert await process.wait() == 0
        assert time.monotonic() - asked < ENDS_WITHIN
        await second.close()


async def test_a_port_in_use_is_one_sentence_and_exit_code_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "infra.local.sui", "--grpc-port", port, stdout=PIPE, stderr=PIPE
        )
        output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, output) == (1, b"")
    (sentence,) = errors.decode().strip().splitlines()
    assert sentence.startswith("the local Sui cannot start:")
    assert port in sentence


def _post(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=5):  # noqa: S310 - our own port
        pass


def _trusting(authority: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(["h2"])
    return context
