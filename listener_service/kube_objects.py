"""The listener's own objects in Kubernetes, as JSON, under its own identity (nobody is impersonated).

Every reply's `Date` sets the `ClusterClock`. Calls run in threads of their own, so that commands that fill
their pool do not keep a lease from being renewed.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from k3s_daas.errors import DaasError
from listener_service.api_call import ApiCall, ApiServerError, RawReply
from listener_service.api_server import ApiServer
from listener_service.backoff import Backoff
from listener_service.clock import ClusterClock, boot_s

_log = logging.getLogger(__name__)

Json = dict[str, Any]

_MAX_REPLY_BYTES = 16 * 1024 * 1024
_ATTEMPTS = 3
# A collection is deleted object by object, by the server.
_COLLECTION_TIMEOUT_S = 30.0
_HEADERS = (
    ("Accept", "application/json"),
    ("Content-Type", "application/json"),
    ("User-Agent", "k3s-daas-listener"),
)


class KubeError(DaasError):
    """A call about one of the listener's own objects failed."""


class KubeUnavailableError(KubeError):
    """No usable reply: the API server is away or overloaded. Nothing is known about the call's effect."""


class KubeRefusedError(KubeError):
    """The API server refused, and most likely will go on refusing. `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the API server answered {status}: {message}")
        self.status = status
        self.message = message


class KubeForbiddenError(KubeRefusedError):
    """401 or 403. It may pass: an API server that restarts refuses everybody until it has read who may do
    what.
    """


class ObjectMissingError(KubeRefusedError):
    """404: there is no such object."""


class ObjectExistsError(KubeRefusedError):
    """409 AlreadyExists: somebody made an object of this name before."""


class ObjectChangedError(KubeRefusedError):
    """409 Conflict: somebody changed the object since it was read."""


class KubeObjects:
    """Calls to one API server. `timeout_s` bounds each attempt; reading and deleting have a few of them."""

    def __init__(
        self,
        api_server: ApiServer,
        clock: ClusterClock,
        *,
        threads: int,
        timeout_s: float,
        boot_s: Callable[[], float] = boot_s,
    ) -> None:
        self._api_server = api_server
        self._clock = clock
        self._timeout_s = timeout_s
        self._boot_s = boot_s
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="kube-objects")

    async def get(self, target: str) -> Json:
        """One object or list. Raises `KubeError`."""
        return await self._repeated("GET", target, self._timeout_s)

    async def create(self, target: str, body: Json) -> Json:
        """Raises `KubeError`, `ObjectExistsError` among others."""
        return await self._once("POST", target, self._timeout_s, body)

    async def replace(self, target: str, body: Json) -> Json:
        """Raises `KubeError`, `ObjectChangedError` and `ObjectMissingError` among others."""
        return await self._once("PUT", target, self._timeout_s, body)

    async def delete_collection(self, target: str) -> Json:
        """What the selector in the target chooses. Raises `KubeError`."""
        return await self._repeated("DELETE", target, _COLLECTION_TIMEOUT_S)

    def close(self) -> None:
        """Lets no further call start; does not wait for those in work."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._api_server.close()

    async def _repeated(self, method: str, target: str, timeout_s: float) -> Json:
        backoff = Backoff(base_s=0.05, cap_s=1.0)
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._once(method, target, timeout_s)
            except KubeUnavailableError as error:
                _log.debug("calling the API server again", extra={"error": str(error)})
                await self._clock.sleep(backoff.next_delay_s())
        return await self._once(method, target, timeout_s)

    async def _once(self, method: str, target: str, timeout_s: float, body: Json | None = None) -> Json:
        call = ApiCall(
            method=method,
            target=target,
            headers=_HEADERS,
            body=b"" if body is None else json.dumps(body, separators=(",", ":")).encode(),
            timeout_s=timeout_s,
            max_reply_bytes=_MAX_REPLY_BYTES,
        )
        loop = asyncio.get_running_loop()
        try:
            reply, sent_s, received_s = await loop.run_in_executor(self._threads, self._send, call)
        except ApiServerError as error:
            raise KubeUnavailableError(str(error)) from error
        self._tell_time(reply, sent_s, received_s)
        return _content(reply)

    def _send(self, call: ApiCall) -> tuple[RawReply, float, float]:
        sent_s = self._boot_s()
        reply = self._api_server.send(call, lambda: True)
        return reply, sent_s, self._boot_s()

    def _tell_time(self, reply: RawReply, sent_s: float, received_s: float) -> None:
        text = next((value for name, value in reply.headers if name.lower() == "date"), None)
        try:
            date = parsedate_to_datetime(text or "")
        except ValueError:
            _log.warning("a reply of the API server has no Date", extra={"status": reply.status})
            return
        self._clock.observe(int(date.timestamp()) * 1000, sent_s=sent_s, received_s=received_s)


def _content(reply: RawReply) -> Json:
    try:
        content = json.loads(reply.body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise KubeUnavailableError(f"the API server's reply ({reply.status}) is no JSON object")
    if reply.status < HTTPStatus.MULTIPLE_CHOICES:
        return content
    message = str(content.get("message") or "without a message")[:300]
    if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise KubeUnavailableError(f"the API server answered {reply.status}: {message}")
    if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise KubeForbiddenError(reply.status, message)
    if reply.status == HTTPStatus.NOT_FOUND:
        raise ObjectMissingError(reply.status, message)
    if reply.status == HTTPStatus.CONFLICT:
        exists = content.get("reason") == "AlreadyExists"
        raise (ObjectExistsError if exists else ObjectChangedError)(reply.status, message)
    raise KubeRefusedError(reply.status, message)
