"""The IPFS node that takes replies too large for a transaction: the operator's own, named in the settings.

Unlike the places in an envelope its address is no gateway's word. It is still asked narrowly: over `https`
with the certificate verified, or on this machine; no redirects, no proxy, no credentials.

Blocks are not pinned. The gateway reads a reply within seconds of its answer; the node's garbage collection
removes it some time later, and nothing is left to remember that a listener which dies could forget.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from urllib3.connectionpool import HTTPConnectionPool

from k3s_daas.blobs.kubo import KuboNode
from listener_service.checked_addresses import checked_pool
from listener_service.clock import Clock, SystemClock
from listener_service.transfers import AT_A_TIME, Transfers, timeout_until


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where the node's API is. Without `tls` it is on this machine; `private_addresses` as for blob hosts."""

    host: str
    port: int
    tls: bool
    private_addresses: bool = False


class ReplyNode:
    """Keeps sealed replies. `tls` stands in for the system's trust store."""

    def __init__(
        self, place: NodePlace, *, clock: Clock | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        if place.tls:
            self._pool: HTTPConnectionPool = checked_pool(
                place.host,
                place.port,
                private=place.private_addresses,
                tls=tls or ssl.create_default_context(),
                connections=AT_A_TIME,
            )
        else:
            self._pool = HTTPConnectionPool(place.host, place.port, maxsize=AT_A_TIME)
        self._node = KuboNode(self._pool, "")
        self._transfers = Transfers("replies", clock or SystemClock())

    async def keep(self, data: bytes, *, timeout_s: float) -> None:
        """The node has these bytes under their content id. Raises `BlobError`."""

        def put(deadline: float) -> None:
            self._node.put(data, pin=False, timeout=timeout_until(deadline))

        await self._transfers.insist(put, timeout_s)

    def close(self) -> None:
        """Does not wait for transfers in work."""
        self._transfers.close()
        self._pool.close()
