"""Bodies that are kept outside the chain, at URLs that came inside a sealed envelope.

A URL is the gateway's word, and a gateway may be taken over, so what this client does with one is narrow:

1. Only ``https`` to a host and port that the settings name, with the certificate verified; ``http`` only to
   127.0.0.1, and only if the settings allow it for development. No user, no fragment, no second reading of
   the URL by another parser. A host whose name stands for an address inside this network is refused
   (`checked_addresses`), unless the settings say that the store is there.
2. Redirects are not followed, no proxy, cookie or credential is used, and nothing is decoded.
3. Not more bytes are read than the envelope says, and never more than ``MAX_BLOB_BYTES``; what comes too
   slowly is given up.
4. Bytes with another size or hash than the envelope says are thrown away.
5. An upload replaces nothing (``If-None-Match: *``).
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

import urllib3
from urllib3.connectionpool import HTTPConnectionPool

from k3s_daas.blobs.bodies import MAX_BLOB_BYTES
from k3s_daas.blobs.store import (
    BlobError,
    BlobExistsError,
    BlobMissingError,
    BlobUnavailableError,
    check_bytes,
)
from k3s_daas.envelope import BlobReference
from listener_service.checked_addresses import checked_pool
from listener_service.clock import Clock, SystemClock
from listener_service.transfers import AT_A_TIME, Transfers, timeout_until

LOOPBACK = "127.0.0.1"
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]{1,253})(:(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<target>/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)",
    re.ASCII,
)
_PORTS = {"https": 443, "http": 80}
_PIECE_BYTES = 64 * 1024


class BlobRefusedError(BlobError):
    """The envelope names a place or a size that this listener does not deal with."""


class BlobTooLargeError(BlobRefusedError):
    """Larger than any body that a gateway seals."""


@dataclass(frozen=True, slots=True)
class BlobPlaces:
    """Where bodies may be: ``host:port`` in lower case, each; whether 127.0.0.1 may be without TLS, and
    whether names may stand for addresses of this network."""

    hosts: frozenset[str]
    plain_loopback: bool = False
    private_addresses: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """A URL that was let through, taken apart once."""

    scheme: str
    host: str
    port: int
    target: str


class BlobClient:
    """Fetches and uploads, a few at a time, in threads of its own. `tls` stands in for the system's trust
    store."""

    def __init__(
        self, places: BlobPlaces, *, clock: Clock | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._places = places
        self._tls = tls or ssl.create_default_context()
        self._pools: dict[tuple[str, str, int], HTTPConnectionPool] = {}
        self._transfers = Transfers("blobs", clock or SystemClock())

    async def fetch(self, reference: BlobReference, *, timeout_s: float) -> bytes:
        """The bytes that `reference` names, or a `BlobError` that says why not."""
        if reference.size > MAX_BLOB_BYTES:
            raise BlobTooLargeError(f"the body outside the chain has more than {MAX_BLOB_BYTES} bytes")
        place = self._admit(reference.url)

        def get(deadline: float) -> bytes:
            return check_bytes(self._get(place, reference.size, deadline), reference)

        return await self._transfers.insist(get, timeout_s)

    async def upload(self, url: str, data: bytes, *, timeout_s: float) -> None:
        """Stores `data` at a presigned URL, once. Raises `BlobError`."""
        place = self._admit(url)
        attempts = 0

        def put(deadline: float) -> None:
            nonlocal attempts
            attempts += 1
            # Only our own earlier attempt, of which no answer came, may be what is there already.
            self._put(place, data, deadline, again=attempts > 1)

        await self._transfers.insist(put, timeout_s)

    def close(self) -> None:
        """Does not wait for transfers in work."""
        self._transfers.close()
        for pool in list(self._pools.values()):
            pool.close()

    def _admit(self, url: str) -> _Place:
        """The URL in its parts. The message names no part of it: they are secrets, and not ours."""
        match = _URL.fullmatch(url)
        if match is None:
            raise BlobRefusedError("the body outside the chain has a URL of a kind that is not read here")
        scheme, host = match["scheme"], match["host"]
        port = int(match["port"] or _PORTS[scheme])
        if scheme == "http" and not (self._places.plain_loopback and host == LOOPBACK):
            raise BlobRefusedError("the body outside the chain is not at an https:// URL")
        if f"{host}:{port}" not in self._places.hosts:
            raise BlobRefusedError("the body outside the chain is at a host that is not in DAAS_BLOB_HOSTS")
        return _Place(scheme, host, port, match["target"])

    def _get(self, place: _Place, size: int, deadline: float) -> bytes:
        response = self._send(place, "GET", {"Accept-Encoding": "identity"}, None, deadline)
        try:
            if response.status in (403, 404, 410):
                raise BlobMissingError(f"the blob store has no such body (it answered {response.status})")
            if response.status != 200:
                raise BlobUnavailableError(f"the blob store answered {response.status}")
            return _read(response, size, deadline)
        finally:
            # What is left unread is not read: the connection is given up with it.
            response.close()

    def _put(self, place: _Place, data: bytes, deadline: float, *, again: bool) -> None:
        headers = {"Content-Type": "application/octet-stream", "If-None-Match": "*"}
        response = self._send(place, "PUT", headers, data, deadline)
        response.close()
        if response.status == 412:
            if again:
                return
            raise BlobExistsError("something else stands already where the answer's body belongs")
        if response.status not in (200, 201, 204):
            raise BlobUnavailableError(f"the blob store answered {response.status}")

    def _send(
        self, place: _Place, method: str, headers: Mapping[str, str], body: bytes | None, deadline: float
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool(place).urlopen(
                method,
                place.target,
                body=body,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=timeout_until(deadline),
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise BlobUnavailableError(
                f"the blob store cannot be reached ({type(error).__name__})"
            ) from error

    def _pool(self, place: _Place) -> HTTPConnectionPool:
        """One per place; there are no more of them than the settings name."""
        key = (place.scheme, place.host, place.port)
        found = self._pools.get(key)
        if found is None:
            if place.scheme == "https":
                found = checked_pool(
                    place.host,
                    place.port,
                    private=self._places.private_addresses,
                    tls=self._tls,
                    connections=AT_A_TIME,
                )
            else:
                found = HTTPConnectionPool(place.host, place.port, maxsize=AT_A_TIME)
            found = self._pools.setdefault(key, found)
        return found


def _read(response: urllib3.BaseHTTPResponse, size: int, deadline: float) -> bytes:
    """At most one byte more than `size`: that tells a longer body."""
    received = bytearray()
    try:
        while len(received) <= size:
            if time.monotonic() > deadline:
                raise BlobUnavailableError("the blob store sends too slowly")
            # One receive at a time: a store that drips is noticed after each of them.
            piece = response.read1(min(_PIECE_BYTES, size + 1 - len(received)))
            if not piece:
                break
            received += piece
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise BlobUnavailableError(f"the blob store broke off ({type(error).__name__})") from error
    return bytes(received)
