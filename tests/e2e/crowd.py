"""Many holders at once, over HTTP: what client-go does, without a process for each command."""

from __future__ import annotations

import base64
import json
import ssl
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import yaml

from k3s_daas.cli.holder import Holder

# Further holders of the shared stack.
CROWD = 20
# client-go repeats a request so often, if the reply has an integer Retry-After (`with_retry.go`).
MOST_RETRIES = 10
_RETRIED = (429, 500, 502, 503, 504)
# The local gateway lets requests wait for a place before they count as arrived.
_TIMEOUT_S = 150.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a kubectl process of its own. `about` is what its reply must be about."""

    holder: str
    method: str
    target: str
    about: str
    body: bytes = b""
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """The last reply to a request, and how often it was sent."""

    status: int
    body: Mapping[str, Any]
    sendings: int
    seconds: float


class Crowd:
    """Holders of a running stack, known by the names of their files; sends from many threads."""

    def __init__(self, state: Path, url: str) -> None:
        self._url = url
        self._keys = state / "keys"
        self._holders: dict[str, Holder] = {}
        trust = ssl.create_default_context(cafile=str(state / "tls" / "ca.crt"))
        self._pool = urllib3.PoolManager(ssl_context=trust, maxsize=400, retries=False)

    def all_at_once(self, requests: Sequence[Request]) -> list[Reply]:
        """The replies, in the order of the requests."""
        with ThreadPoolExecutor(len(requests)) as threads:
            return list(threads.map(self.send, requests))

    def send(self, request: Request) -> Reply:
        """One request with one token and session; the same bytes again where client-go would."""
        headers = {
            "Authorization": f"Bearer {self._token(request.holder)}",
            "Accept": "application/json",
            "Kubectl-Session": str(uuid.uuid4()),
            "User-Agent": "kubectl/v1.37.0 (linux/amd64) kubernetes/0000000",
        }
        if request.body:
            headers["Content-Type"] = request.content_type
        started = time.monotonic()
        reply, sendings = self._exchange(request, headers), 1
        while sendings <= MOST_RETRIES and (pause_s := _retry_after(reply)) is not None:
            time.sleep(pause_s)
            reply, sendings = self._exchange(request, headers), sendings + 1
        return Reply(reply.status, json.loads(reply.data), sendings, time.monotonic() - started)

    def close(self) -> None:
        """Ends all connections."""
        self._pool.clear()

    def _exchange(self, request: Request, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            request.method,
            self._url + request.target,
            headers=headers,
            body=request.body or None,
            timeout=_TIMEOUT_S,
            redirect=False,
        )

    def _token(self, name: str) -> str:
        holder = self._holders.get(name)
        if holder is None:
            holder = self._holders.setdefault(name, Holder.load(self._keys / f"{name}.json"))
        return holder.token(time.time_ns() // 1_000_000).encode()


def _retry_after(reply: urllib3.BaseHTTPResponse) -> int | None:
    after = reply.headers.get("Retry-After", "")
    return int(after) if reply.status in _RETRIED and after.isdecimal() else None


class Administrator:
    """The cluster itself, past the gateway."""

    def __init__(self, state: Path) -> None:
        config = yaml.safe_load((state / "keys" / "kubernetes-admin.kubeconfig").read_text())
        entry, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        if "certificate-authority-data" in entry:
            trust = ssl.create_default_context(
                cadata=base64.b64decode(entry["certificate-authority-data"]).decode()
            )
        else:
            trust = ssl.create_default_context(cafile=entry["certificate-authority"])
        self._server = entry["server"]
        self._pool = urllib3.PoolManager(
            ssl_context=trust,
            headers={"Authorization": f"Bearer {user['token']}", "Content-Type": "application/json"},
        )

    def create(self, path: str, document: Mapping[str, Any]) -> None:
        """Creates an object that must not be there yet."""
        reply = self._pool.request("POST", self._server + path, body=json.dumps(document))
        assert reply.status == 201, reply.data

    def items(self, path: str) -> list[dict[str, Any]]:
        """All objects of a list."""
        reply = self._pool.request("GET", self._server + path)
        assert reply.status == 200, reply.data
        return list(json.loads(reply.data)["items"])

    def close(self) -> None:
        """Ends all connections."""
        self._pool.clear()
