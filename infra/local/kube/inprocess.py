"""A client without a socket: requests go straight to the ASGI application, then the controllers settle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from infra.local.kube.cluster import Cluster


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class InProcessClient:
    """Not for watches, which would have to end before there is an answer."""

    def __init__(self, cluster: Cluster, token: str) -> None:
        self.cluster = cluster
        self._token = token

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: list[tuple[str, str]] | None = None,
    ) -> Reply:
        """Sends one request; a body that is not bytes goes out as JSON. `headers` may repeat names."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = [("authorization", f"Bearer {self._token}"), *(headers or [])]
        if content and not any(name.lower() == "content-type" for name, _ in sent):
            sent.append(("content-type", "application/json"))
        reply = asyncio.run(self._exchange(method, path, urlencode(query or {}), sent, content))
        self.cluster.settle()
        return reply

    async def _exchange(
        self, method: str, path: str, query: str, headers: list[tuple[str, str]], content: bytes
    ) -> Reply:
        started: MutableMapping[str, Any] = {}
        received = bytearray()

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                received.extend(message.get("body", b""))

        scope: MutableMapping[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
            "server": ("in-process", 443),
        }
        await self.cluster.app(scope, receive, send)
        replied = {name.decode(): value.decode() for name, value in started["headers"]}
        return Reply(started["status"], replied, bytes(received))
