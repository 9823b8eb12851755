"""One in-memory cluster: the store and everything that works on it, put together."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from infra.local.kube.app import build_app
from infra.local.kube.audit import AuditLog
from infra.local.kube.authentication import Authenticator, User
from infra.local.kube.controllers import Controllers
from infra.local.kube.controllers.pods import NODE_ADDRESS
from infra.local.kube.decoding import WriteOptions
from infra.local.kube.defaults import NODE_NAME
from infra.local.kube.discovery import VERSION
from infra.local.kube.errors import Json
from infra.local.kube.handlers import Handlers
from infra.local.kube.naming import Clock, utc_now
from infra.local.kube.openapi import OpenApi
from infra.local.kube.operations import Operations
from infra.local.kube.rbac import Authorizer
from infra.local.kube.registry import Registry
from infra.local.kube.store import Change, Store
from infra.local.kube.watch import Watch


class Cluster:
    """A whole cluster; `app` is its API as an ASGI application.

    `tokens` maps bearer tokens to users; a user in the group `system:masters` may do everything.
    With a running event loop, controllers follow each change by themselves; otherwise, and in
    tests, `settle` lets them do what there is to do.
    """

    def __init__(
        self, tokens: Mapping[str, User], *, clock: Clock = utc_now, audit_path: Path | None = None
    ) -> None:
        self.clock = clock
        self.store = Store()
        self.registry = Registry()
        self.openapi = OpenApi(self.registry)
        self.authenticator = Authenticator(tokens)
        self.authorizer = Authorizer(self.store)
        self.audit = AuditLog(audit_path)
        self.operations = Operations(self.store, self.registry, clock)
        self.watches: set[Watch] = set()
        self.handlers = Handlers(
            self.operations, self.registry, self.authenticator, self.authorizer, self.clock
        )
        self._audit_ids = itertools.count(1)
        self._controllers = Controllers(self.operations, self._schedule)
        self.store.subscribe(self._forget_tokens)
        self._bootstrap()
        self.settle()
        # Nobody saw how it came to this: a watch from before that is told so, as by a real server's cache.
        self.store.forget()
        self.app = build_app(self)

    def settle(self) -> None:
        """Runs the controllers until nothing is left to do."""
        self._controllers.drain()

    def close(self) -> None:
        """Ends all watches and the audit file."""
        for watch in tuple(self.watches):
            watch.close()
        self.audit.close()

    def next_audit_id(self) -> str:
        return f"{next(self._audit_ids):08x}"

    def _schedule(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # nobody to run them now; settle() will
        loop.call_soon(self._controllers.drain)

    def _forget_tokens(self, change: Change) -> None:
        if change.key == ("", "serviceaccounts") and change.type == "DELETED":
            self.authenticator.revoke(change.object["metadata"]["uid"])

    def _bootstrap(self) -> None:
        text = files("infra.local.kube").joinpath("data/bootstrap.yaml").read_text("utf-8")
        initial: dict[str, Any] = yaml.safe_load(text)
        for name in initial["namespaces"]:
            self._install({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for obj in initial["objects"]:
            self._install(obj)
        node = self.registry.builtin("", "nodes")
        stored = self.operations.get(node, "", NODE_NAME)
        self.operations.write_status(node, {**stored, "status": _node_status(self.operations.now())})

    def _install(self, obj: Json) -> None:
        resource = self.registry.by_kind(obj["apiVersion"], obj["kind"])
        if resource is None:
            raise KeyError(f"{obj['apiVersion']} {obj['kind']}")
        options = WriteOptions("kube-apiserver", field_validation="Strict")
        self.operations.create(resource, obj["metadata"].get("namespace", ""), obj, options)


def _node_status(now: str) -> Json:
    capacity = {"cpu": "2", "memory": "4Gi", "pods": "110"}
    unknown = dict.fromkeys(("machineID", "systemUUID", "bootID", "kernelVersion"), "")
    healthy: Json = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "InMemory",
                "message": "this node is declared, not real",
                **healthy,
            }
        ],
        "addresses": [
            {"type": "InternalIP", "address": NODE_ADDRESS},
            {"type": "Hostname", "address": NODE_NAME},
        ],
        "nodeInfo": {
            **unknown,
            "osImage": "none",
            "containerRuntimeVersion": "none://0",
            "kubeletVersion": VERSION["gitVersion"],
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
    }
