"""``make bench``: many reads at once through the whole stack: how many a second, and what each costs.

All parts share this machine's cores, the Move VM and moto among them, so the rate is the machine's and not
the product's; what is the product's is CPU per command of gateway and listener, and transactions per command.
The ledger's Move VM runs in processes of its own, which are not counted under `sui`. The gateway's process
also serves TLS and makes Lambda events, which is API Gateway's work at AWS (`gateway_front`, measured by
itself); the rest is the function's (`gateway_function`), for which there is a budget.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.local.stack.options import StackOptions
from infra.local.stack.up import running
from k3s_daas.contract.audit import read_audit
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.grpc import GrpcLedger
from tests.bench.front import front
from tests.bench.usage import Usage, cpu_per_command_ms, idle_percent, resident_mb
from tests.e2e.crowd import Crowd, Request

HOLDERS = 20
WARM_UP = 40
IDLE_S = 5.0
PATH = "/api/v1/namespaces/default"


def main() -> int:
    """Run the benchmark and print one JSON object; the exit code says whether every command worked."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description=__doc__)
    parser.add_argument("--commands", type=int, default=400)
    parser.add_argument("--at-once", type=int, default=40)
    parser.add_argument("--finality-ms", type=int, default=StackOptions.finality_ms)
    parser.add_argument("--checkpoint-ms", type=int, default=StackOptions.checkpoint_ms)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        stack_options = StackOptions(
            state=Path(directory),
            port=0,
            crowd=HOLDERS,
            finality_ms=options.finality_ms,
            checkpoint_ms=options.checkpoint_ms,
        )
        with running(stack_options) as (_, stack):
            crowd = Crowd(stack_options.state, stack.endpoints.gateway)
            _send(crowd, WARM_UP, options.at_once)
            resting = Usage.of(stack.pids)
            time.sleep(IDLE_S)
            idle = (resting, Usage.of(stack.pids))
            before = Usage.of(stack.pids)
            seconds, statuses = _send(crowd, options.commands, options.at_once)
            busy = (before, Usage.of(stack.pids))
            crowd.close()
            cpu = cpu_per_command_ms(idle, busy, options.commands)
            cpu["gateway_front"] = _front_cpu_ms(stack_options.state, options.commands, options.at_once)
            cpu["gateway_function"] = round(cpu["gateway"] - cpu["gateway_front"], 1)
            report = {
                "commands": options.commands,
                "at_once": options.at_once,
                "statuses": dict(statuses),
                "commands_per_s": round(options.commands / (busy[1].at_s - busy[0].at_s), 1),
                "p50_s": round(statistics.median(seconds), 2),
                "p99_s": round(sorted(seconds)[round(len(seconds) * 0.99) - 1], 2),
                "answers_per_transaction": _answers_per_transaction(stack.endpoints.sui, stack.roots),
                "cpu_per_command_ms": cpu,
                "cpu_idle_percent": idle_percent(idle),
                "resident_mb": resident_mb(stack.pids),
            }
        print(json.dumps(report, indent=2))
    return 0 if statuses == {200: options.commands} else 1


def _send(crowd: Crowd, commands: int, at_once: int) -> tuple[list[float], Counter[int]]:
    """Seconds of each command, and how many had which status."""
    requests = [Request(f"crowd-{1 + n % HOLDERS}", "GET", PATH, "default") for n in range(commands)]
    with ThreadPoolExecutor(at_once) as threads:
        replies = list(threads.map(crowd.send, requests))
    return [reply.seconds for reply in replies], Counter(reply.status for reply in replies)


def _front_cpu_ms(state: Path, commands: int, at_once: int) -> float:
    """CPU milliseconds for a command of what stands in for API Gateway."""
    with front(state / "tls") as (pid, url):
        crowd = Crowd(state, url)
        _send(crowd, WARM_UP, at_once)
        resting = Usage.of({"front": pid})
        time.sleep(1)
        before = Usage.of({"front": pid})
        _send(crowd, commands, at_once)
        busy = (before, Usage.of({"front": pid}))
        crowd.close()
    return cpu_per_command_ms((resting, before), busy, commands)["front"]


def _answers_per_transaction(sui_url: str, roots: Path) -> float:
    async def read() -> float:
        ledger = GrpcLedger(sui_url)
        try:
            records = await read_audit(ledger, TrustRoots.load(roots), 0)
        finally:
            await ledger.close()
        answered = [record.response_digest for record in records if record.response_digest is not None]
        return round(len(answered) / len(set(answered)), 1)

    return asyncio.run(read())


if __name__ == "__main__":
    sys.exit(main())
