"""Sealed bodies in IPFS, through one kubo node's HTTP API (``/api/v0``), which must be ours alone.

A body is one raw block, so that its content id follows from its bytes: CIDv1, codec raw, SHA2-256. What kubo
says it stored is compared with that. Blocks over 1 MiB need ``allow-big-block``: other nodes may not exchange
them, and the URL is therefore that of a gateway in front of the same node.

There is no upload URL: kubo's API has no permission for a single object, so replies that do not fit a
transaction are refused. Nothing expires by itself: blocks are pinned, and the operator ends old pins.
"""

from __future__ import annotations

import base64
import hashlib
import json
from http import HTTPStatus
from urllib.parse import urlencode, urlsplit

import urllib3

from k3s_daas.blobs.store import BlobAlteredError, BlobMissingError, BlobUnavailableError, check_bytes
from k3s_daas.envelope import BlobReference
from k3s_daas.errors import ConfigurationError

# CID version 1, codec raw, multihash SHA2-256 of 32 bytes.
_CID_PREFIX = bytes((0x01, 0x55, 0x12, 0x20))
_MAX_SMALL_REPLY_BYTES = 64 * 1024


def content_id(digest: bytes) -> str:
    """The CIDv1 (base32) of a raw block with this SHA-256."""
    return "b" + base64.b32encode(_CID_PREFIX + digest).decode("ascii").lower().rstrip("=")


class IpfsBlobStore:
    """One kubo node. `api` is its API's URL, `gateway` that of the gateway that readers ask."""

    def __init__(self, api: str, gateway: str, *, timeout_s: float = 5.0) -> None:
        self._api = _base(api, "DAAS_BLOB_IPFS_API")
        self._gateway = _base(gateway, "DAAS_BLOB_IPFS_GATEWAY")
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=1.0, read=timeout_s))

    def put(self, name: str, data: bytes, *, lifetime_s: int) -> str:
        """Names mean nothing here: other bytes have another address."""
        expected = content_id(hashlib.sha256(data).digest())
        query = {
            "cid-codec": "raw",
            "mhtype": "sha2-256",
            "mhlen": "32",
            "pin": "true",
            "allow-big-block": "true",
        }
        status, body = self._post("block/put", query, data=data, limit=_MAX_SMALL_REPLY_BYTES)
        if status != HTTPStatus.OK:
            raise BlobUnavailableError(f"the IPFS node did not store the block (it answered {status})")
        if _stored_key(body) != expected:
            raise BlobAlteredError(
                "the IPFS node stored something else than it was given: its CID is another"
            )
        return f"{self._gateway}/ipfs/{expected}"

    def upload_url(self, name: str, *, lifetime_s: int) -> str | None:
        return None

    def get(self, name: str, reference: BlobReference) -> bytes:
        # Offline: the node has it or not; a search through the network has no end.
        query = {"arg": content_id(reference.hash), "offline": "true"}
        status, body = self._post("block/get", query, data=None, limit=reference.size + 1)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR and b"not found" in body:
            raise BlobMissingError("the IPFS node has no such block")
        if status != HTTPStatus.OK:
            raise BlobUnavailableError(f"the IPFS node did not give out the block (it answered {status})")
        return check_bytes(body, reference)

    def _post(
        self, method: str, query: dict[str, str], *, data: bytes | None, limit: int
    ) -> tuple[int, bytes]:
        """Status and at most `limit` bytes. kubo takes POST only, and a block as a form's file."""
        fields = None if data is None else {"data": ("block", data, "application/octet-stream")}
        url = f"{self._api}/api/v0/{method}?{urlencode(query)}"
        try:
            response = self._http.request(
                "POST", url, fields=fields, redirect=False, preload_content=False, decode_content=False
            )
            try:
                return response.status, _read(response, limit)
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise BlobUnavailableError(
                f"the IPFS node cannot be reached ({type(error).__name__}): try again"
            ) from error


def _read(response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
    received = bytearray()
    while len(received) < limit and (piece := response.read(limit - len(received))):
        received += piece
    return bytes(received)


def _stored_key(body: bytes) -> str | None:
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer.get("Key") if isinstance(answer, dict) else None


def _base(url: str, setting: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"{setting} must be http(s)://host:port")
    return url.rstrip("/")
