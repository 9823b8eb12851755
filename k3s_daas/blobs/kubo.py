"""The HTTP API (``/api/v0``) of a kubo node, as far as a sealed body needs it: one raw block.

As one block its content id follows from its bytes: CIDv1, codec raw, SHA2-256. What kubo says it stored is
compared with that. Blocks over 1 MiB need ``allow-big-block``: other nodes may not exchange them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from http import HTTPStatus
from urllib.parse import urlencode

import urllib3
from urllib3.connectionpool import HTTPConnectionPool

from k3s_daas.blobs.store import BlobAlteredError, BlobUnavailableError

# CID version 1, codec raw, multihash SHA2-256 of 32 bytes.
_CID_PREFIX = bytes((0x01, 0x55, 0x12, 0x20))
_MAX_ANSWER_BYTES = 64 * 1024


def content_id(digest: bytes) -> str:
    """The CIDv1 (base32) of a raw block with this SHA-256."""
    return "b" + base64.b32encode(_CID_PREFIX + digest).decode("ascii").lower().rstrip("=")


class KuboNode:
    """One node. `pool` goes to its host; `path` is what stands before ``/api/v0`` there. For many threads."""

    def __init__(self, pool: HTTPConnectionPool, path: str) -> None:
        self._pool = pool
        self._path = path

    def put(self, data: bytes, *, pin: bool, timeout: urllib3.Timeout) -> str:
        """Stores a block, again if it is there; returns its content id.

        Without `pin` it stays until the node collects garbage. Raises ``BlobUnavailableError``, and
        ``BlobAlteredError`` if the node says another content id.
        """
        expected = content_id(hashlib.sha256(data).digest())
        query = {
            "cid-codec": "raw",
            "mhtype": "sha2-256",
            "mhlen": "32",
            "pin": "true" if pin else "false",
            "allow-big-block": "true",
        }
        status, answer = self._post("block/put", query, data, timeout)
        if status != HTTPStatus.OK:
            raise BlobUnavailableError(f"the IPFS node did not store the block (it answered {status})")
        if _stored_key(answer) != expected:
            raise BlobAlteredError(
                "the IPFS node stored something else than it was given: its CID is another"
            )
        return expected

    def _post(
        self, method: str, query: dict[str, str], data: bytes, timeout: urllib3.Timeout
    ) -> tuple[int, bytes]:
        """kubo takes POST only, and a block as a form's file."""
        try:
            response = self._pool.request(
                "POST",
                f"{self._path}/api/v0/{method}?{urlencode(query)}",
                fields={"data": ("block", data, "application/octet-stream")},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=timeout,
            )
            try:
                return response.status, response.read(_MAX_ANSWER_BYTES)
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise BlobUnavailableError(
                f"the IPFS node cannot be reached ({type(error).__name__}): try again"
            ) from error


def _stored_key(answer: bytes) -> str | None:
    try:
        found = json.loads(answer)
    except ValueError:
        return None
    return found.get("Key") if isinstance(found, dict) else None
