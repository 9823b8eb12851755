"""From an event that an endpoint delivered to a command that may run.

Nothing of an event is believed as such. Its type must be our package's, the transaction it points to must
hash to its digest and be signed by a pinned gateway key, the arguments in there must be what the event
says, the session key must have signed the claims for that gateway, the ciphertext must have the event's
hash, open for this very request, and ask for what was authorised. Then the state of seal and cluster
decides, as of now.

What fails before the ciphertext is open cannot be answered (nobody knows the reply key) and is only logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from k3s_daas.attributes import RequestAttributes, parse_attributes
from k3s_daas.bearer import Claims
from k3s_daas.blobs.bodies import open_body
from k3s_daas.blobs.store import BlobError
from k3s_daas.contract.calls import Command, PayloadReference
from k3s_daas.contract.events import API_REQUEST, ApiRequested, is_event
from k3s_daas.contract.objects import ClusterState, GrantState, SealState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.envelope import MAX_REQUEST_BODY_BYTES, BlobReference, RequestEnvelope
from k3s_daas.errors import (
    ForbiddenError,
    LedgerUnavailableError,
    MalformedRequestError,
    SealedDataError,
    WireFormatError,
)
from k3s_daas.headers import admit_request_headers
from k3s_daas.payload import join, payload_hash
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import (
    SealingPrivateKey,
    SealingPublicKey,
    key_id_of,
    request_body_info,
    request_info,
)
from k3s_daas.status import StatusError, from_error
from k3s_daas.sui.ledger import ChainEvent, Ledger, SignedTransaction
from listener_service import answers
from listener_service.authorised_call import authorised_command
from listener_service.backoff import Backoff
from listener_service.blobs import BlobClient
from listener_service.clock import Clock, SystemClock
from listener_service.keys.keyring import Keyring
from listener_service.refusal import (
    NotForUsError,
    RefusedCommandError,
    ReplyTo,
    UnbelievableError,
    UnconfirmedError,
)
from listener_service.standing import check_standing, mismatch

_log = logging.getLogger(__name__)

T = TypeVar("T")

# How long an unreachable endpoint is asked about one event. Longer than any answer_by in force is pointless.
_ENDPOINT_PATIENCE_MS = 900_000
# Clocks of listener and chain may differ by this much.
_CLOCK_SKEW_MS = 60_000
# Pause and role changes take effect within this time.
_CLUSTER_AGE_MS = 1_000
# How long a body outside the chain may take; `start_by` may come earlier.
_BLOB_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True, repr=False)
class VerifiedCommand:
    """A command that is genuine and authorised. `attributes` are those of the decrypted request."""

    requested: ApiRequested
    attributes: RequestAttributes
    envelope: RequestEnvelope
    reply_to: ReplyTo


@dataclass(frozen=True, slots=True)
class _State:
    """What the endpoint says about a command's holder now. No `grant`: there is none, or none is needed."""

    cluster: ClusterState
    seal: SealState
    grant: GrantState | None


@dataclass(slots=True)
class Verifier:
    """Believes `roots` and nobody else; the endpoint is asked for state as of now."""

    ledger: Ledger
    reader: ContractReader
    roots: TrustRoots
    executor: bytes
    keyring: Keyring
    listener_namespace: str
    clock: Clock = field(default_factory=SystemClock)
    blobs: BlobClient | None = None
    _cluster_read: tuple[int, asyncio.Future[ClusterState]] | None = None

    def decode(self, event: ChainEvent) -> ApiRequested:
        """The request that the event claims. Raises `NotForUsError` and `UnbelievableError`."""
        if not is_event(event, self.roots.package_original, API_REQUEST):
            raise UnbelievableError("wrong-type", f"the event has type {event.type_tag}")
        try:
            requested = ApiRequested.decode(event.contents)
        except WireFormatError as error:
            raise UnbelievableError("malformed", f"the event does not decode: {error}") from error
        if requested.cluster != self.roots.cluster:
            raise NotForUsError("the event is another cluster's")
        if requested.executor != self.executor:
            if requested.executor in self.roots.executors:
                raise NotForUsError("the event is another executor's")
            raise UnbelievableError("unknown-executor", "the event names an executor that is not pinned")
        if requested.gateway not in self.roots.gateways:
            raise UnbelievableError("unknown-gateway", "the event names a gateway that is not pinned")
        return requested

    def priority_of(self, role: str) -> int:
        """The role's priority as the chain said when the cluster was read last; 0 as long as it was not."""
        reading = None if self._cluster_read is None else self._cluster_read[1]
        if reading is None or not reading.done() or reading.cancelled() or reading.exception() is not None:
            return 0
        found = reading.result().roles.get(role)
        return 0 if found is None else found.priority

    async def verify(self, event: ChainEvent, requested: ApiRequested) -> VerifiedCommand:
        """Raises `UnbelievableError`, `RefusedCommandError` with the Status for the caller, or
        `UnconfirmedError`: `is_shown` tells when it is time to try again.
        """
        try:
            transaction, state = await asyncio.gather(
                self._transaction(event.transaction_digest), self._state(requested)
            )
            command = authorised_command(requested, event.transaction_digest, transaction, self.roots)
            _check_claims(requested, command)
            _check_times(requested, command, state.cluster, self.clock.now_ms())
        except WireFormatError as error:
            raise UnbelievableError("not-authorised", str(error)) from error
        seal = state.seal
        if (seal.cluster, seal.role) != (requested.cluster, requested.role):
            raise UnbelievableError("wrong-seal", "cluster or role of the seal are not the event's")
        payload = _inline(requested, command)
        sealed = _sealed(requested, payload)
        key = await self._key(requested, sealed)
        envelope = _open(requested, sealed, key)
        reply_to = ReplyTo(
            requested.seal,
            requested.request_id,
            envelope.reply_key,
            requested.answer_by_ms,
            envelope.reply_url,
            state.cluster.policy.max_inline_bytes,
        )
        attributes = self._attributes(requested, envelope, reply_to)
        _check_headers(envelope, reply_to)
        verified = VerifiedCommand(requested, attributes, envelope, reply_to)
        self._check_standing(verified, state)
        if envelope.body_blob is None:
            return verified
        return await self._complete(verified, envelope.body_blob, key)

    async def is_shown(self, event: ChainEvent) -> bool:
        """Whether the endpoints know the event's transaction by now.

        Raises `UnbelievableError` if they cannot be asked.
        """
        return await self._signed(event.transaction_digest) is not None

    async def verify_again(self, command: VerifiedCommand) -> None:
        """For a command that had to wait: whether it may still run, as of now.

        Raises `RefusedCommandError`, and `UnbelievableError` if the endpoint cannot be asked.
        """
        self._check_standing(command, await self._state(command.requested))

    async def _complete(
        self, command: VerifiedCommand, blob: BlobReference, key: SealingPrivateKey
    ) -> VerifiedCommand:
        """The command with its body from outside the chain; asked for only once all else is in order."""
        requested, reply_to = command.requested, command.reply_to
        if self.blobs is None:
            raise RefusedCommandError("no-blobs", answers.no_blobs(), reply_to)
        left_s = max(0.0, (requested.start_by_ms - self.clock.now_ms()) / 1000)
        info = request_body_info(requested.cluster, requested.seal, requested.request_id)
        try:
            sealed = await self.blobs.fetch(blob, timeout_s=min(left_s, _BLOB_PATIENCE_S))
            body = await asyncio.to_thread(open_body, key, sealed, info, limit=MAX_REQUEST_BODY_BYTES)
        except (BlobError, SealedDataError, WireFormatError) as error:
            raise RefusedCommandError("body-blob", answers.body_not_read(error), reply_to) from error
        complete = replace(command, envelope=replace(command.envelope, body=body, body_blob=None))
        # Nobody shall be revoked in vain because his body was under way.
        await self.verify_again(complete)
        return complete

    async def _state(self, requested: ApiRequested) -> _State:
        """What decides now. The contract decided the same when it accepted the command."""
        cluster = await self._insist(self._cluster)
        seal, grant = await self._insist(lambda: self._seal_and_grant(requested, cluster))
        if seal is None:
            raise UnbelievableError("unknown-seal", "the seal does not exist")
        return _State(cluster, seal, grant)

    async def _seal_and_grant(
        self, requested: ApiRequested, cluster: ClusterState
    ) -> tuple[SealState | None, GrantState | None]:
        role = cluster.roles.get(requested.role)
        if role is None or role.open:
            return await self.reader.seal(requested.seal), None
        return await self.reader.seal_and_grant(requested.seal, cluster, requested.requester, requested.role)

    def _check_standing(self, command: VerifiedCommand, state: _State) -> None:
        try:
            check_standing(
                command.requested,
                command.attributes,
                state.cluster,
                state.seal,
                state.grant,
                listener_namespace=self.listener_namespace,
                now_ms=self.clock.now_ms(),
            )
        except StatusError as status:
            raise RefusedCommandError("standing", status, command.reply_to) from status

    async def _key(self, requested: ApiRequested, sealed: bytes) -> SealingPrivateKey:
        """The key that the request is sealed for.

        Raises `RefusedCommandError` if it is not held: who sealed for it is a pinned gateway, and may know
        an older state of the chain. Nobody can open the request any more, so the answer is public.
        """
        try:
            key = await self.keyring.find(key_id_of(sealed))
        except SealedDataError as error:
            raise UnbelievableError("not-openable", str(error)) from error
        if key is not None:
            return key
        reply_to = ReplyTo(requested.seal, requested.request_id, None, requested.answer_by_ms)
        raise RefusedCommandError("unknown-key", answers.key_not_held(), reply_to)

    def _attributes(
        self, requested: ApiRequested, envelope: RequestEnvelope, reply_to: ReplyTo
    ) -> RequestAttributes:
        try:
            attributes = parse_attributes(envelope.method, envelope.path, envelope.query)
        except (MalformedRequestError, StatusError) as error:
            raise RefusedCommandError("malformed-request", from_error(error), reply_to) from error
        status = mismatch(requested, attributes)
        if status is not None:
            raise RefusedCommandError("attribute-mismatch", status, reply_to)
        return attributes

    async def _cluster(self) -> ClusterState:
        """The cluster as of a second ago at most; commands that come together share one read."""
        now_ms = self.clock.now_ms()
        if self._cluster_read is None or now_ms - self._cluster_read[0] >= _CLUSTER_AGE_MS:
            self._cluster_read = (now_ms, asyncio.ensure_future(self.reader.cluster()))
        reading = self._cluster_read[1]
        try:
            return await asyncio.shield(reading)
        except Exception:
            if self._cluster_read is not None and self._cluster_read[1] is reading:
                self._cluster_read = None
            raise

    async def _transaction(self, digest: str) -> SignedTransaction:
        transaction = await self._signed(digest)
        if transaction is None:
            raise UnconfirmedError("the endpoint does not know the transaction yet")
        return transaction

    async def _signed(self, digest: str) -> SignedTransaction | None:
        return await self._insist(lambda: self.ledger.get_signed_transaction(digest))

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks again while the endpoint is away: its absence says nothing about the event."""
        backoff = Backoff(base_s=0.1, cap_s=5.0)
        give_up_ms = self.clock.now_ms() + _ENDPOINT_PATIENCE_MS
        while True:
            try:
                return await ask()
            except LedgerUnavailableError as error:
                if self.clock.now_ms() >= give_up_ms:
                    raise UnbelievableError(
                        "endpoint-away", "the endpoint could not be asked about the event in time"
                    ) from error
                _log.warning("endpoint away during verification", extra={"error": str(error)})
                await self.clock.sleep(backoff.next_delay_s())


def _sealed(requested: ApiRequested, payload: Sequence[bytes]) -> bytes:
    """The ciphertext, as large and with the hash that the event says."""
    if payload_hash(payload) != requested.payload_hash:
        raise UnbelievableError("wrong-hash", "the ciphertext does not have the event's hash")
    try:
        sealed = join(payload)
    except WireFormatError as error:
        raise UnbelievableError("malformed-envelope", str(error)) from error
    if len(sealed) != requested.payload_size:
        raise UnbelievableError("wrong-size", "the ciphertext does not have the event's size")
    return sealed


def _open(requested: ApiRequested, sealed: bytes, key: SealingPrivateKey) -> RequestEnvelope:
    info = request_info(requested.cluster, requested.seal, requested.request_id)
    try:
        envelope = RequestEnvelope.decode(key.open(sealed, info))
        # What cannot be answered must not run: otherwise a gateway that is taken over could keep the
        # outcome off the chain by a key that nothing can be sealed for.
        SealingPublicKey.from_bytes(envelope.reply_key).seal(b"", info)
        return envelope
    except SealedDataError as error:
        raise UnbelievableError("not-openable", str(error)) from error
    except WireFormatError as error:
        raise UnbelievableError("malformed-envelope", str(error)) from error


def _check_headers(envelope: RequestEnvelope, reply_to: ReplyTo) -> None:
    """Before anything is claimed: no honest gateway seals such headers."""
    try:
        admit_request_headers(envelope.headers)
    except ForbiddenError as error:
        raise RefusedCommandError("identity-header", from_error(error), reply_to) from error
    except MalformedRequestError as error:
        raise RefusedCommandError("malformed-request", from_error(error), reply_to) from error


def _inline(requested: ApiRequested, command: Command) -> Sequence[bytes]:
    """The ciphertext in the transaction.

    Raises `RefusedCommandError` if it is kept elsewhere: the key for a sealed answer is there, too.
    """
    if not isinstance(command.payload, PayloadReference):
        return command.payload
    reply_to = ReplyTo(requested.seal, requested.request_id, None, requested.answer_by_ms)
    raise RefusedCommandError("payload-by-reference", answers.by_reference(), reply_to)


def _check_claims(requested: ApiRequested, command: Command) -> None:
    """The session key signed claims for this seal and this gateway, and the command fell into their window.

    Raises `WireFormatError`.
    """
    claims = Claims(
        cluster=requested.cluster,
        seal=requested.seal,
        gateway=requested.gateway,
        not_before_ms=command.not_before_ms,
        expires_at_ms=command.token_expires_at_ms,
        secret_hash=command.secret_hash,
    )
    try:
        Ed25519PublicKey.from_public_bytes(command.session_key).verify(
            command.claims_signature, claims.signing_bytes()
        )
    except (InvalidSignature, ValueError) as error:
        raise WireFormatError("the session key did not sign the claims") from error
    if not claims.not_before_ms <= requested.accepted_at_ms < claims.expires_at_ms:
        raise WireFormatError("the command was accepted outside the window of its claims")


def _check_times(requested: ApiRequested, command: Command, cluster: ClusterState, now_ms: int) -> None:
    """The time of acceptance is the endpoint's word; the signed deadlines bound it. Raises
    `WireFormatError`.
    """
    earliest = command.start_by_ms - cluster.policy.max_start_ms
    if not earliest <= requested.accepted_at_ms <= min(command.start_by_ms, now_ms + _CLOCK_SKEW_MS):
        raise WireFormatError("the time of acceptance does not fit the signed deadlines")
    if not command.start_by_ms < command.finish_by_ms < command.answer_by_ms:
        raise WireFormatError("the signed deadlines are out of order")
