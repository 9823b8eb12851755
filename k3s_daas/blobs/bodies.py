"""A body on its way into a blob and out again: compressed, padded, sealed.

The packing is that of envelopes (``k3s_daas.packing``) with the body as its only field, and size
classes up to 6 MiB. ``info`` (``k3s_daas.sealing``) binds it to its direction and request.
"""

from __future__ import annotations

from k3s_daas.envelope import body_too_large
from k3s_daas.errors import WireFormatError
from k3s_daas.packing import BLOB_SIZE_CLASSES, pack, padded_size, unpack
from k3s_daas.sealing import SEALING_OVERHEAD_BYTES, SealingPrivateKey, SealingPublicKey

VERSION = 1
MAX_BLOB_BYTES = BLOB_SIZE_CLASSES[-1] + SEALING_OVERHEAD_BYTES


def seal_body(key: SealingPublicKey, body: bytes, info: bytes, *, what: str, limit: int) -> bytes:
    """The sealed body. ``PayloadTooLargeError`` over `limit` bytes; `what` is ``request`` or ``response``."""
    if len(body) > limit:
        raise body_too_large(what, len(body), limit)
    packed = pack(VERSION, body)
    size_class = padded_size(len(packed), BLOB_SIZE_CLASSES)
    if size_class is None:
        raise body_too_large(what, len(packed), BLOB_SIZE_CLASSES[-1])
    return key.seal(packed.ljust(size_class, b"\0"), info)


def open_body(key: SealingPrivateKey, sealed: bytes, info: bytes, *, limit: int) -> bytes:
    """The body, at most `limit` bytes. ``SealedDataError`` and ``WireFormatError`` for what is not one."""
    if len(sealed) > MAX_BLOB_BYTES:
        raise WireFormatError(f"a sealed body of {len(sealed)} bytes is larger than any")
    _, body = unpack(key.open(sealed, info), limit, (VERSION,), BLOB_SIZE_CLASSES)
    return body
