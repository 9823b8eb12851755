"""`/livez`, `/readyz` and `/metrics` over plain HTTP: three pages, GET and HEAD, and nothing else.

Nothing that is said here is secret, and nobody can change anything. Requests are bounded in size, time and
number, and a connection serves one of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from k3s_daas.errors import ConfigurationError
from listener_service.health import checks
from listener_service.health.address import HealthAddress
from listener_service.health.checks import Check
from listener_service.vitals import Vitals

_log = logging.getLogger(__name__)

_MAX_HEAD_BYTES = 8 * 1024
_TIMEOUT_S = 5.0
_MOST_CONNECTIONS = 32
_PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """A reply."""

    status: HTTPStatus
    body: bytes
    content_type: str = _PLAIN


@dataclass(slots=True)
class HealthServer:
    """Serves what `vitals` says and `metrics` renders (its content type, and the text)."""

    vitals: Vitals
    metrics: Callable[[], tuple[str, bytes]]
    timeout_s: float = _TIMEOUT_S
    _open: dict[asyncio.StreamWriter, None] = field(default_factory=dict)
    """Oldest first."""

    @asynccontextmanager
    async def serving(self, address: HealthAddress) -> AsyncGenerator[int, None]:
        """Serves while the block runs, and gives the port. Raises `ConfigurationError` if it is taken."""
        try:
            server = await asyncio.start_server(
                self._accept, address.host, address.port, limit=_MAX_HEAD_BYTES
            )
        except OSError as error:
            raise ConfigurationError(
                f"DAAS_HEALTH_ADDRESS is {address}, which cannot be served ({error.strerror}): "
                "give an address of this machine and a free port"
            ) from None
        async with server:
            try:
                yield int(server.sockets[0].getsockname()[1])
            finally:
                for writer in self._open:
                    writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= _MOST_CONNECTIONS:
            # A probe needs milliseconds: who has been here longest only holds a place.
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        self._open[writer] = None
        try:
            async with asyncio.timeout(self.timeout_s):
                await self._serve(reader, writer)
                writer.close()
                # Until the peer has taken it all: who does not read keeps no connection.
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            _log.debug("a request for health was not complete, or its answer was not taken")
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        target, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1."):
            page = Page(HTTPStatus.BAD_REQUEST, b"this is no HTTP/1.1 request\n")
        elif method not in ("GET", "HEAD"):
            page = Page(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET is served\n")
        else:
            page = self._page(target)
        writer.write(_head(page) + (b"" if method == "HEAD" else page.body))
        await writer.drain()

    def _page(self, target: str) -> Page:
        try:
            parts = urlsplit(target)
        except ValueError:
            return Page(HTTPStatus.BAD_REQUEST, b"the path cannot be read\n")
        verbose = "verbose" in parse_qs(parts.query, keep_blank_values=True)
        match parts.path:
            case "/livez":
                return _verdict("livez", checks.live(self.vitals), verbose=verbose)
            case "/readyz":
                return _verdict("readyz", checks.ready(self.vitals), verbose=verbose)
            case "/metrics":
                content_type, text = self.metrics()
                return Page(HTTPStatus.OK, text, content_type)
            case _:
                return Page(HTTPStatus.NOT_FOUND, b"there are /livez, /readyz and /metrics\n")


def _verdict(name: str, found: Sequence[Check], *, verbose: bool) -> Page:
    passed = all(check.passed for check in found)
    status = HTTPStatus.OK if passed else HTTPStatus.SERVICE_UNAVAILABLE
    verdict = f"{name} check {'passed' if passed else 'failed'}\n"
    text = checks.report(found) + verdict if verbose or not passed else "ok"
    return Page(status, text.encode())


def _head(page: Page) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if page.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
