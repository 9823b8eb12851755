"""``daas up --event-source websocket``: the same commands, heard over JSON-RPC."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


def ask(stack: Any, path: str, *, method: str = "GET") -> Any:
    """The local ledger's control port."""
    request = urllib.request.Request(f"{stack.endpoints['control']}{path}", method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
        return json.loads(reply.read())


def test_commands_are_heard_also_after_the_connection_was_cut(own_stack: Any) -> None:
    stack = own_stack("--event-source", "websocket")
    kubectl = stack.kubectl()
    created = kubectl.run("create", "configmap", "heard", "--from-literal=over=websocket")
    assert created.code == 0, created.errors
    for port in ask(stack, "/ports")["ports"]:
        ask(stack, f"/ports/{port}/drop", method="POST")
    found = kubectl.run("get", "configmap", "heard", "-o", "jsonpath={.data.over}")
    assert found.output == "websocket", found.errors
    calls = ask(stack, "/counters")["rpc"]
    assert calls["suix_subscribeEvent"] == 2
    assert "SubscribeEvents" not in calls
