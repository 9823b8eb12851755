"""``make bench``: how long a warm ``kubectl get --raw /api/v1/namespaces`` takes, how much of it is ours, and
what CPU it costs gateway and listener (without what they use while nobody asks) and what memory they take.

The floor is what no design can avoid: two transactions' finality, one checkpoint (both are settings of the
local ledger), and the call to the Kubernetes API. The Move VM's own time counts as finality, so what is
called ours here still contains it. The gateway's process also serves TLS and makes Lambda events, which is
API Gateway's work at AWS.
"""

from __future__ import annotations

import argparse
import json
import ssl
import statistics
import sys
import tempfile
import time
from pathlib import Path

import urllib3
import yaml

from infra.local.demo.commands import Kubectl
from infra.local.kubectl import bundled_kubectl, find_kubectl
from infra.local.stack.options import StackOptions
from infra.local.stack.up import running
from tests.bench.usage import Usage, cpu_per_command_ms, idle_percent, resident_mb

PATH = "/api/v1/namespaces"
WARM_UP = 10
IDLE_S = 5.0


def main() -> int:
    """Run the benchmark and print one JSON line; the exit code says whether every command worked."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.latency", description=__doc__)
    parser.add_argument("--commands", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory)
        stack_options = StackOptions(state=state, port=0)
        with running(stack_options) as (_, stack):
            # Not the one on PATH if it can be helped: a dispatcher asks for the version before each command.
            program = bundled_kubectl() or find_kubectl()
            kubectl = Kubectl(program, stack.kubeconfig, state / "home")
            for _ in range(WARM_UP):
                kubectl.run("get", "--raw", PATH)
            seconds = []
            pids = {name: stack.pids[name] for name in ("gateway", "listener")}
            resting = Usage.of(pids)
            time.sleep(IDLE_S)
            idle = (resting, Usage.of(pids))
            before = Usage.of(pids)
            for _ in range(options.commands):
                result = kubectl.run("get", "--raw", PATH)
                if result.code != 0:
                    print(result.errors, file=sys.stderr)
                    return 1
                seconds.append(result.seconds)
            used = {
                "cpu_per_command_ms": cpu_per_command_ms(idle, (before, Usage.of(pids)), options.commands),
                "cpu_idle_percent": idle_percent(idle),
                "resident_mb": resident_mb(pids),
            }
            direct_ms = _direct_ms(state, options.commands)
            gateway_ms = gateway_ms_of(state / "logs" / "gateway.log", options.commands)
        print(json.dumps(_report(stack_options, seconds, gateway_ms, direct_ms) | used, indent=2))
    return 0


def _report(
    options: StackOptions, seconds: list[float], gateway_ms: list[float], direct_ms: list[float]
) -> dict[str, object]:
    kubernetes = statistics.median(direct_ms)
    floor = 2 * options.finality_ms + options.checkpoint_ms + kubernetes
    gateway = statistics.median(gateway_ms)
    return {
        "commands": len(seconds),
        "kubectl_p50_ms": round(statistics.median(seconds) * 1000, 1),
        "kubectl_p99_ms": round(_p99(seconds) * 1000, 1),
        "gateway_p50_ms": round(gateway, 1),
        "gateway_p99_ms": round(_p99(gateway_ms), 1),
        "kubernetes_p50_ms": round(kubernetes, 1),
        "floor_ms": round(floor, 1),
        "ours_p50_ms": round(gateway - floor, 1),
        "ours_p99_ms": round(_p99(gateway_ms) - floor, 1),
    }


def _p99(values: list[float]) -> float:
    return sorted(values)[max(0, round(len(values) * 0.99) - 1)]


def gateway_ms_of(log: Path, count: int) -> list[float]:
    """What the gateway logged for the last commands on the path, from request to reply."""
    found = []
    for line in log.read_text().splitlines():
        if line.startswith("{"):
            fields = json.loads(line)
            if fields.get("resource") == "namespaces" and fields.get("verb") == "list":
                found.append(fields["ms"]["total"])
    return found[-count:]


def _direct_ms(state: Path, count: int) -> list[float]:
    """The same request straight to the API server, over one kept connection."""
    config = yaml.safe_load((state / "keys" / "kubernetes-admin.kubeconfig").read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    pool = urllib3.PoolManager(ssl_context=context)
    taken = []
    for _ in range(count):
        start = time.monotonic()
        pool.request("GET", cluster["server"] + PATH, headers={"Authorization": f"Bearer {user['token']}"})
        taken.append((time.monotonic() - start) * 1000)
    pool.clear()
    return taken


if __name__ == "__main__":
    sys.exit(main())
