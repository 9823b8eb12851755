"""Claims: a mutation runs only for who created the Lease that is named after its request.

A claim carries what a successor needs to answer, nothing secret. Its life::

    created by POST (atomic, dated by the server) ── command runs, is answered ── answer on chain ── removed
       counts only if made by start_by                                       or answer_by passed

Claims are labelled with the minute of their `start_by`. Once that minute is over no further claim of it can
count, so when all of its requests are dealt with, one deletecollection removes it. A claim therefore outlives
the time in which its request could still be started, and no request can be claimed twice.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

from k3s_daas.contract.addresses import request_key
from k3s_daas.contract.events import ApiRequested
from k3s_daas.errors import DaasError
from k3s_daas.ids import from_hex, to_hex
from k3s_daas.sui.ledger import ChainEvent
from listener_service.answered import RequestKey
from listener_service.backoff import Backoff
from listener_service.clock import BoundedClock
from listener_service.counts import Counts, Tally
from listener_service.kube_objects import (
    KubeError,
    KubeForbiddenError,
    KubeRefusedError,
    KubeUnavailableError,
    ObjectExistsError,
)
from listener_service.leadership import Term
from listener_service.leases import Lease, Leases
from listener_service.refusal import ReplyTo

_log = logging.getLogger(__name__)

CLAIM = "daas.io/claim"
LISTENER = "daas.io/listener"
MINUTE = "daas.io/start-by-minute"

_MINUTE_MS = 60_000
# creationTimestamp is rounded down to whole seconds.
_ROUNDING_MS = 1000


class ClaimRefusedError(DaasError):
    """The API server does not let the listener claim, so nothing may change."""


class Claimed(Enum):
    """What came of an attempt."""

    OURS = "ours"
    """It was created in time: the command may be started."""
    TOO_LATE = "too late"
    """Not by `start_by`: nobody starts the command any more."""
    TAKEN = "taken"
    """A Lease of this name was there before: somebody may have run the command."""
    KNOWN = "known"
    """This process has dealt with it already."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One mutation, with all that answering it takes. Times in Unix ms; `reply_key` is an HPKE public key."""

    seal: bytes
    request_id: bytes
    reply_key: bytes
    transaction_digest: str
    event_index: int
    start_by_ms: int
    answer_by_ms: int
    holder: str = field(default="", compare=False)
    """Who made it, if it was found: the Lease's holder."""

    @classmethod
    def of(cls, requested: ApiRequested, reply_key: bytes, event: ChainEvent) -> Claim:
        """The claim of a verified command."""
        return cls(
            requested.seal,
            requested.request_id,
            reply_key,
            event.transaction_digest,
            event.event_index,
            requested.start_by_ms,
            requested.answer_by_ms,
        )

    @property
    def key(self) -> RequestKey:
        return self.seal, self.request_id

    @property
    def name(self) -> str:
        """The Lease's name: the same for everybody who claims this request."""
        return f"daas-claim-{hashlib.sha256(self.seal + self.request_id).hexdigest()}"

    @property
    def minute(self) -> int:
        """The Unix minute of `start_by`."""
        return self.start_by_ms // _MINUTE_MS

    @property
    def reply_to(self) -> ReplyTo:
        return ReplyTo(self.seal, self.request_id, self.reply_key, self.answer_by_ms)

    def encode(self) -> str:
        """The annotation's value."""
        return json.dumps(
            {
                "seal": to_hex(self.seal),
                "requestId": self.request_id.hex(),
                "replyKey": base64.b64encode(self.reply_key).decode(),
                "transaction": self.transaction_digest,
                "eventIndex": self.event_index,
                "startBy": self.start_by_ms,
                "answerBy": self.answer_by_ms,
            },
            separators=(",", ":"),
        )

    @classmethod
    def decode(cls, text: str) -> Claim:
        """Raises `ValueError` for anything but what `encode` writes."""
        try:
            values = json.loads(text)
            claim = cls(
                from_hex(values["seal"]),
                bytes.fromhex(values["requestId"]),
                base64.b64decode(values["replyKey"], validate=True),
                str(values["transaction"]),
                int(values["eventIndex"]),
                int(values["startBy"]),
                int(values["answerBy"]),
            )
            # Raises for an id that no request has.
            request_key(claim.request_id)
        except (AttributeError, KeyError, TypeError, binascii.Error, DaasError) as error:
            raise ValueError(f"no claim ({type(error).__name__})") from error
        if claim.encode() != text:
            raise ValueError("no claim in the form that a listener writes")
        return claim


@dataclass(slots=True)
class _Minute:
    """The requests whose `start_by` is in one minute, with their `answer_by_ms`, and which are dealt with.

    No more is kept: under load there are ten thousands.
    """

    requests: dict[RequestKey, int] = field(default_factory=dict)
    closed: set[RequestKey] = field(default_factory=set)


@dataclass(slots=True)
class Claims:
    """The claims of one term: those made in it, and those of earlier terms that it found."""

    leases: Leases
    listener: str
    term: Term
    clock: BoundedClock
    counts: Counts = field(default_factory=Tally)
    _minutes: dict[int, _Minute] = field(default_factory=dict)
    _known: set[RequestKey] = field(default_factory=set)

    async def inherit(self) -> list[Claim]:
        """Finds the claims of earlier terms, oldest first; to be called once, before any is made.

        Tries until it succeeds; raises `NotLeadingError` if the term ends first.
        """
        backoff = Backoff(base_s=0.1, cap_s=2.0)
        while True:
            self.term.confirm()
            try:
                leases = await self.leases.find({LISTENER: self.listener})
                break
            except KubeError as error:
                _log.warning("open claims cannot be listed, trying again", extra={"error": str(error)})
                await self.clock.sleep(backoff.next_delay_s())
        found = [claim for claim in map(_claim_of, leases) if claim is not None]
        for claim in found:
            self._track(claim)
        self.counts.claim("inherited", len(found))
        return sorted(found, key=lambda claim: (claim.start_by_ms, claim.request_id))

    @property
    def open(self) -> int:
        """How many are of requests that are not known to be dealt with."""
        return sum(len(minute.requests) - len(minute.closed) for minute in self._minutes.values())

    def knows(self, key: RequestKey) -> bool:
        """Whether this term deals with the request: it claimed it, or found its claim."""
        return key in self._known

    async def claim(self, claim: Claim) -> Claimed:
        """Tries to be the one who runs the command.

        Raises `ClaimRefusedError` if the API server does not allow it (403: still not at `start_by`), and
        `NotLeadingError` if the term ends meanwhile. If the API server is away until `start_by` it is too
        late.
        """
        if self.knows(claim.key):
            self.counts.claim("known")
            return Claimed.KNOWN
        self._track(claim)
        try:
            created = await self._create(claim)
        except ObjectExistsError:
            self.counts.claim("taken")
            return Claimed.TAKEN
        except KubeRefusedError as error:
            self.counts.claim("refused")
            raise ClaimRefusedError(str(error)) from error
        # The server's word about when it was made: whatever happened to us since then does not matter.
        in_time = created is not None and created.created_ms + _ROUNDING_MS <= claim.start_by_ms
        self.counts.claim("made" if in_time else "too-late")
        return Claimed.OURS if in_time else Claimed.TOO_LATE

    async def _create(self, claim: Claim) -> Lease | None:
        """Our Lease; None if the API server was away until `start_by`. Raises `KubeRefusedError`."""
        lease = Lease(
            claim.name,
            holder=self.term.holder,
            transitions=self.term.number,
            labels={LISTENER: self.listener, MINUTE: str(claim.minute)},
            annotations={CLAIM: claim.encode()},
        )
        backoff = Backoff(base_s=0.05, cap_s=1.0)
        failure: KubeUnavailableError | KubeForbiddenError | None = None
        while self.clock.now_ms() <= claim.start_by_ms:
            self.term.confirm()
            try:
                return await self._create_once(lease)
            except (KubeUnavailableError, KubeForbiddenError) as error:
                failure = error
                _log.warning("a command is not claimed yet, trying again", extra={"error": str(error)})
            await self.clock.sleep(backoff.next_delay_s())
        if isinstance(failure, KubeForbiddenError):
            raise failure
        return None

    async def _create_once(self, lease: Lease) -> Lease:
        try:
            return await self.leases.create(lease)
        except ObjectExistsError:
            stored = await self.leases.get(lease.name)
            # An attempt of ours whose reply was lost: nobody else writes exactly this.
            if stored is not None and _is_same(stored, lease):
                return stored
            raise

    def over(self) -> list[int]:
        """The minutes of which no further claim can count, oldest first."""
        now = self.clock.earliest_ms() // _MINUTE_MS
        return sorted(minute for minute in self._minutes if minute < now)

    def open_requests(self, minute: int) -> dict[RequestKey, int]:
        """Those of this minute that are not known to be dealt with, with their `answer_by_ms`."""
        found = self._minutes[minute]
        return {key: until for key, until in found.requests.items() if key not in found.closed}

    def close(self, minute: int, keys: Iterable[RequestKey]) -> None:
        """These requests are answered on chain, or can no longer be answered."""
        self._minutes[minute].closed.update(keys)

    async def remove(self, minute: int) -> None:
        """Deletes all claims of a minute that is over and has none open. Raises `KubeError`."""
        assert not self.open_requests(minute), "a claim is never removed before its request is dealt with"
        self.term.confirm()
        await self.leases.remove({LISTENER: self.listener, MINUTE: str(minute)})
        removed = self._minutes.pop(minute).requests
        self._known.difference_update(removed)
        self.counts.claim("removed", len(removed))

    def _track(self, claim: Claim) -> None:
        self._known.add(claim.key)
        self._minutes.setdefault(claim.minute, _Minute()).requests[claim.key] = claim.answer_by_ms


def _claim_of(lease: Lease) -> Claim | None:
    """What the Lease claims; None, and an error in the log, for one that no listener wrote."""
    try:
        claim = Claim.decode(lease.annotations.get(CLAIM, ""))
        if claim.name != lease.name or lease.labels.get(MINUTE) != str(claim.minute):
            raise ValueError("name or label are of another request")
        return replace(claim, holder=lease.holder)
    except ValueError as error:
        _log.error(
            "a Lease with the label of claims is none: its request, if there is one, is not run",
            extra={"lease": lease.name, "error": str(error)},
        )
        return None


def _is_same(stored: Lease, wanted: Lease) -> bool:
    def content(lease: Lease) -> tuple[object, ...]:
        return lease.holder, lease.transitions, lease.annotations.get(CLAIM)

    return content(stored) == content(wanted)
