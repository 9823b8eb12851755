"""Responses as the chain takes them: sealed for their caller's reply key, and small enough.

A body that does not fit is kept outside the chain, where the request said: at an upload URL, or in an IPFS
node of ours. What nobody takes is replaced by a Status that says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from k3s_daas.blobs.bodies import seal_body
from k3s_daas.blobs.store import OWN_IPFS_NODE, BlobError, reference_to
from k3s_daas.contract.calls import Response
from k3s_daas.envelope import MAX_RESPONSE_BODY_BYTES, ResponseEnvelope
from k3s_daas.errors import PayloadTooLargeError
from k3s_daas.payload import MAX_CIPHERTEXT_BYTES, split
from k3s_daas.sealing import SealingPublicKey, response_body_info, response_info
from k3s_daas.status import StatusError
from listener_service import answers, passthrough
from listener_service.blobs import BlobClient
from listener_service.refusal import ReplyTo
from listener_service.reply_node import ReplyNode

_log = logging.getLogger(__name__)

# Compressing and sealing more than this takes long enough to be felt by the other commands on the loop.
_INLINE_BYTES = 64 * 1024
# How long the blob store may take for a body.
_UPLOAD_S = 20.0

# Keeps a sealed body; raises `BlobError`.
Keep = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ResponseSealer:
    """Seals for requests of `cluster`. Without `blobs` no body is kept at an upload URL, without `node` none
    in IPFS."""

    cluster: bytes
    blobs: BlobClient | None = None
    node: ReplyNode | None = None

    async def fitting(self, reply_to: ReplyTo, envelope: ResponseEnvelope, *, is_read: bool) -> Response:
        """The response as the cluster takes it, or a Status that says why it cannot be had."""
        try:
            try:
                return await self._inline(reply_to, envelope)
            except PayloadTooLargeError:
                keep = self._place(reply_to.upload_url)
                if keep is None:
                    raise
                return await self._elsewhere(keep, reply_to, envelope)
        except PayloadTooLargeError as error:
            _log.info("reply too large", extra={"size": error.size, "limit": error.limit})
            return self.status(reply_to, answers.reply_too_large(is_read=is_read))
        except BlobError as error:
            _log.error("reply not kept outside the chain", extra={"error": str(error)})
            return self.status(reply_to, answers.reply_not_kept(is_read=is_read))

    def status(self, reply_to: ReplyTo, status: StatusError) -> Response:
        """A sentence instead of the response; nothing smaller could be said, so the contract decides on
        it.
        """
        everybody = replace(reply_to, max_inline_bytes=MAX_CIPHERTEXT_BYTES)
        return self._seal(everybody, passthrough.status_response(status, reply_to.request_id))

    async def _inline(self, reply_to: ReplyTo, envelope: ResponseEnvelope) -> Response:
        """Raises `PayloadTooLargeError` if no transaction, or not the cluster, takes it."""
        if len(envelope.body) > _INLINE_BYTES:
            return await asyncio.to_thread(self._seal, reply_to, envelope)
        return self._seal(reply_to, envelope)

    def _place(self, upload_url: str) -> Keep | None:
        """What keeps a body where the request said; None if it said nothing, or that is not set up here."""
        blobs, node = self.blobs, self.node
        if upload_url == OWN_IPFS_NODE:
            return None if node is None else lambda data: node.keep(data, timeout_s=_UPLOAD_S)
        if blobs is None or not upload_url:
            return None
        return lambda data: blobs.upload(upload_url, data, timeout_s=_UPLOAD_S)

    async def _elsewhere(self, keep: Keep, reply_to: ReplyTo, envelope: ResponseEnvelope) -> Response:
        """Has the body kept; the sealed response names its size and hash."""
        assert reply_to.reply_key is not None, "an upload URL comes with a reply key"
        key = SealingPublicKey.from_bytes(reply_to.reply_key)
        info = response_body_info(self.cluster, reply_to.seal, reply_to.request_id)
        sealed = await asyncio.to_thread(
            seal_body, key, envelope.body, info, what="response", limit=MAX_RESPONSE_BODY_BYTES
        )
        await keep(sealed)
        blob = await asyncio.to_thread(reference_to, "", sealed)
        return self._seal(reply_to, ResponseEnvelope(envelope.status, envelope.headers, b"", blob))

    def _seal(self, reply_to: ReplyTo, envelope: ResponseEnvelope) -> Response:
        sealed = envelope.encode()
        if reply_to.reply_key is not None:
            key = SealingPublicKey.from_bytes(reply_to.reply_key)
            sealed = key.seal(sealed, response_info(self.cluster, reply_to.seal, reply_to.request_id))
        if len(sealed) > reply_to.max_inline_bytes:
            limit = reply_to.max_inline_bytes
            raise PayloadTooLargeError(
                f"the sealed answer is over the cluster's {limit} bytes", size=len(sealed), limit=limit
            )
        return Response(reply_to.request_id, envelope.status, split(sealed))
