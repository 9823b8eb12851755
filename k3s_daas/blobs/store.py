"""The port to whatever keeps sealed bodies for as long as a command lives.

What every store guarantees (``tests/unit/test_blobs_stores.py`` holds each adapter to it):

1. ``put`` is create-only: what stands under a name is never replaced. The same bytes once more are fine, so a
   ``put`` of which nobody knows the outcome may be repeated; other bytes raise ``BlobExistsError``, or get a
   URL of their own where addresses follow from contents.
2. When ``put`` has returned, one GET of its URL gives exactly these bytes, without credentials, for
   ``lifetime_s``.
3. ``upload_url`` lets whoever has it store one object under the name by one PUT with ``If-None-Match: *``,
   without credentials, for ``lifetime_s``; it replaces nothing. Or it is ``OWN_IPFS_NODE``: whoever has a
   node adds the bytes there as a raw block, and ``get`` finds them by their hash alone.
4. ``get`` returns bytes of exactly the size and hash asked for, and never reads more than that size:
   ``BlobMissingError`` if there are none, ``BlobAlteredError`` if they are others.
5. ``BlobUnavailableError`` means that nothing is known. No error quotes a URL or a body.

The store is believed in nothing: it sees ciphertext, and hashes that came another way decide.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from k3s_daas.envelope import BlobReference
from k3s_daas.errors import DaasError

# In the place of an upload URL. With it a reference's hash is the content id: CIDv1, raw, SHA2-256.
OWN_IPFS_NODE = "ipfs:"


class BlobError(DaasError):
    """A body outside the chain cannot be had or kept."""


class BlobUnavailableError(BlobError):
    """The store does not answer, or refuses for a reason of its own."""


class BlobExistsError(BlobError):
    """Other bytes stand under this name already."""


class BlobMissingError(BlobError):
    """Nothing stands under this name."""


class BlobAlteredError(BlobError):
    """What the store gave out has not the size or the hash that it should have."""


class BlobStore(Protocol):
    """Names are ASCII paths such as ``requests/0123…``. Safe to use from many threads."""

    def put(self, name: str, data: bytes, *, lifetime_s: int) -> str:
        """Keep these bytes; returns the URL for the one who reads them."""
        ...

    def upload_url(self, name: str, *, lifetime_s: int) -> str:
        """Where somebody without credentials may store one object under this name."""
        ...

    def get(self, name: str, reference: BlobReference) -> bytes:
        """The bytes that have this size and hash."""
        ...


def reference_to(url: str, data: bytes) -> BlobReference:
    """What names these bytes."""
    return BlobReference(url, len(data), hashlib.sha256(data).digest())


def check_bytes(data: bytes, reference: BlobReference) -> bytes:
    """`data`, if it is what `reference` names; ``BlobAlteredError`` otherwise."""
    if len(data) != reference.size:
        raise BlobAlteredError(f"the blob store gave out {len(data)} bytes or more, not {reference.size}")
    if hashlib.sha256(data).digest() != reference.hash:
        raise BlobAlteredError("the blob store gave out bytes with another hash: they were altered")
    return data
