"""Sealed bodies in IPFS: put through the API of a kubo node, read through a gateway, verified by content id.

A request's body is put here, pinned: nothing expires by itself, and the operator ends old pins. A reply's
body is put by the listener, into a node of its own (``OWN_IPFS_NODE``): kubo's API has no permission for a
single object, so there is no upload URL. The gateway is in front of that node, or of one that exchanges
blocks with it.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from urllib.parse import urlsplit

import urllib3
from urllib3.connectionpool import HTTPConnectionPool

from k3s_daas.blobs.kubo import KuboNode, content_id
from k3s_daas.blobs.store import (
    OWN_IPFS_NODE,
    BlobMissingError,
    BlobUnavailableError,
    check_bytes,
)
from k3s_daas.envelope import BlobReference
from k3s_daas.errors import ConfigurationError

_CONNECT_S = 1.0
_PIECE_BYTES = 64 * 1024
_HEADERS = {"Accept": "application/vnd.ipld.raw", "Accept-Encoding": "identity"}


class IpfsBlobStore:
    """`api` is the URL of a node's API, `gateway` that of the gateway that readers ask; this one, too.

    A body may take twice `timeout_s`, and the gateway may be silent for `timeout_s`.
    """

    def __init__(self, api: str, gateway: str, *, timeout_s: float = 5.0) -> None:
        node_pool, node_path = _opened(api, "DAAS_BLOB_IPFS_API")
        self._node = KuboNode(node_pool, node_path)
        self._gateway = gateway.rstrip("/")
        self._readers, self._path = _opened(gateway, "DAAS_BLOB_IPFS_GATEWAY")
        self._timeout = urllib3.Timeout(connect=_CONNECT_S, read=timeout_s)
        self._longest_s = 2 * timeout_s

    def put(self, name: str, data: bytes, *, lifetime_s: int) -> str:
        """Names mean nothing here: other bytes have another address."""
        return f"{self._gateway}/ipfs/{self._node.put(data, pin=True, timeout=self._timeout)}"

    def upload_url(self, name: str, *, lifetime_s: int) -> str:
        return OWN_IPFS_NODE

    def get(self, name: str, reference: BlobReference) -> bytes:
        """By the content id that follows from the reference's hash; that its bytes have this hash is at once
        that they have this content id."""
        target = f"{self._path}/ipfs/{content_id(reference.hash)}?format=raw"
        deadline = time.monotonic() + self._longest_s
        try:
            response = self._readers.request(
                "GET",
                target,
                headers=_HEADERS,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=self._timeout,
            )
            try:
                if response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                    raise BlobMissingError("the IPFS gateway finds no such block")
                if response.status != HTTPStatus.OK:
                    raise BlobUnavailableError(
                        f"the IPFS gateway did not give out the block (it answered {response.status})"
                    )
                return check_bytes(_read(response, reference.size, deadline), reference)
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise BlobUnavailableError(
                f"the IPFS gateway cannot be reached ({type(error).__name__})"
            ) from error


def _read(response: urllib3.BaseHTTPResponse, size: int, deadline: float) -> bytes:
    """At most one byte more than `size`: that tells a longer block."""
    received = bytearray()
    while len(received) <= size:
        if time.monotonic() > deadline:
            raise BlobUnavailableError("the IPFS gateway sends too slowly")
        piece = response.read1(min(_PIECE_BYTES, size + 1 - len(received)))
        if not piece:
            break
        received += piece
    return bytes(received)


def _opened(url: str, setting: str) -> tuple[HTTPConnectionPool, str]:
    """Connections to the host, and the path there. ``ConfigurationError``."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"{setting} must be http(s)://host:port")
    return urllib3.connection_from_url(url), parts.path.rstrip("/")
