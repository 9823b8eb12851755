"""Bodies that do not fit a transaction: out of the way before it, and back with the answer.

Who decides: what fits the cluster's `max_inline_bytes` (and one transaction) goes inline; what does not goes
to the blob store, and the envelope names it. Names follow from the request id alone, so that whoever takes
over a request finds its answer's body.
"""

from __future__ import annotations

from dataclasses import replace

from chalicelib.admission import check_payload
from chalicelib.errors import GatewayUnavailableError
from k3s_daas.blobs.bodies import MAX_BLOB_BYTES, open_body, seal_body
from k3s_daas.blobs.store import BlobError, BlobStore, reference_to
from k3s_daas.contract.objects import ClusterState
from k3s_daas.deadlines import Deadlines
from k3s_daas.envelope import (
    MAX_REQUEST_BODY_BYTES,
    MAX_RESPONSE_BODY_BYTES,
    RequestEnvelope,
    ResponseEnvelope,
)
from k3s_daas.errors import PayloadTooLargeError, SealedDataError, WireFormatError
from k3s_daas.ids import request_id_text
from k3s_daas.payload import split
from k3s_daas.sealing import (
    SealingPrivateKey,
    SealingPublicKey,
    request_body_info,
    request_info,
    response_body_info,
)
from k3s_daas.status import Cause, StatusError


def seal_request(
    envelope: RequestEnvelope,
    key: SealingPublicKey,
    cluster: ClusterState,
    *,
    seal: bytes,
    request_id: bytes,
    deadlines: Deadlines,
    now_ms: int,
    blobs: BlobStore | None,
) -> list[bytes]:
    """The payload of the transaction: the sealed envelope, with its body in it or in the blob store.

    Raises PayloadTooLargeError, StatusError if the cluster takes no request of this size, and
    GatewayUnavailableError if the blob store is away: nothing was submitted then.
    """
    info = request_info(cluster.ref.id, seal, request_id)

    def inline(what: RequestEnvelope) -> list[bytes]:
        chunks = split(key.seal(what.encode(), info))
        check_payload(cluster, chunks)
        return chunks

    if blobs is None:
        return inline(envelope)
    lifetime_s = max(1, deadlines.answer_by_ms - now_ms) // 1000 + 1
    try:
        reply_url = blobs.upload_url(_reply_name(request_id), lifetime_s=lifetime_s)
    except BlobError as error:
        raise GatewayUnavailableError(f"no place for a large reply: {error}") from error
    envelope = replace(envelope, reply_url=reply_url)
    try:
        return inline(envelope)
    except (PayloadTooLargeError, StatusError):
        if not envelope.body:
            raise
    body = seal_body(
        key,
        envelope.body,
        request_body_info(cluster.ref.id, seal, request_id),
        what="request",
        limit=MAX_REQUEST_BODY_BYTES,
    )
    try:
        url = blobs.put(_request_name(request_id), body, lifetime_s=lifetime_s)
    except BlobError as error:
        raise GatewayUnavailableError(f"the request's body could not be kept: {error}") from error
    return inline(replace(envelope, body=b"", body_blob=reference_to(url, body)))


def complete_response(
    response: ResponseEnvelope,
    reply_key: SealingPrivateKey,
    *,
    cluster: bytes,
    seal: bytes,
    request_id: bytes,
    blobs: BlobStore | None,
) -> ResponseEnvelope:
    """The response with its body, wherever that is.

    Raises a 502 StatusError if it cannot be had; the command was run then.
    """
    blob = response.body_blob
    if blob is None:
        return response
    try:
        if blobs is None or blob.size > MAX_BLOB_BYTES:
            raise WireFormatError("no body of this size was asked for")
        sealed = blobs.get(_reply_name(request_id), blob)
        info = response_body_info(cluster, seal, request_id)
        body = open_body(reply_key, sealed, info, limit=MAX_RESPONSE_BODY_BYTES)
    except (BlobError, SealedDataError, WireFormatError) as error:
        raise StatusError(
            502,
            "BadGateway",
            f"the command was run and answered {response.status}, but the reply's body, which is kept "
            f"outside the chain, cannot be read: {error}. Look at the cluster before you repeat it",
            causes=(Cause("ReplyBodyUnreadable", type(error).__name__),),
        ) from error
    return replace(response, body=body, body_blob=None)


def _request_name(request_id: bytes) -> str:
    return f"requests/{request_id_text(request_id)}"


def _reply_name(request_id: bytes) -> str:
    return f"replies/{request_id_text(request_id)}"
