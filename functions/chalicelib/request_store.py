"""The record of each command: the port, and what every store behind it guarantees.

    reserved ─▶ signed ─▶ submitted ─▶ answered

or `parked` in between, as often as a caller is told to ask again, or `refused` or `expired` in the end.
docs/dynamodb.md draws every transition; `PREDECESSORS` is what the store allows.

`signed` means "may have been submitted": the bytes are on record before anybody sees them, so whoever finds
such a record can send the same bytes again (same digest, executed once) or look the digest up.
`parked` means "the caller was told to ask again": whoever repeats that request adopts the record instead of
submitting a second command.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from chalicelib.windows import WindowId


class RequestState(enum.StrEnum):
    """Where a command stands, as far as the gateway knows."""

    RESERVED = "reserved"
    SIGNED = "signed"
    SUBMITTED = "submitted"
    PARKED = "parked"
    ANSWERED = "answered"
    REFUSED = "refused"
    EXPIRED = "expired"


UNFINISHED = (RequestState.RESERVED, RequestState.SIGNED, RequestState.SUBMITTED, RequestState.PARKED)

# From which states each state may be reached. `signed` may follow `signed`: new bytes after a definite
# refusal. Both `signed` and `submitted` follow `parked` only by `adopt`, which is no row of this table.
PREDECESSORS: dict[RequestState, tuple[RequestState, ...]] = {
    RequestState.SIGNED: (RequestState.RESERVED, RequestState.SIGNED),
    RequestState.SUBMITTED: (RequestState.SIGNED,),
    RequestState.PARKED: (RequestState.SIGNED, RequestState.SUBMITTED),
    RequestState.ANSWERED: (RequestState.SIGNED, RequestState.SUBMITTED, RequestState.PARKED),
    RequestState.REFUSED: (RequestState.SIGNED, RequestState.PARKED),
    RequestState.EXPIRED: UNFINISHED,
}


@dataclass(frozen=True)
class NewRequest:
    """What is known when a command is reserved. Times are Unix ms.

    `due_ms` is when its request can be taken off the chain at the latest (see `leftovers`).
    `wrapped_reply_key` is the private half of the key that its answer is sealed for, encrypted for this store
    (see `parking_keys`); it is empty for a command that is never parked.
    """

    request_id: bytes
    seal: bytes
    arrived_at_ms: int
    start_by_ms: int
    finish_by_ms: int
    answer_by_ms: int
    due_ms: int
    wrapped_reply_key: bytes = b""


@dataclass(frozen=True)
class Reservation:
    """The right to write one record, as long as nobody has raised its fence."""

    request_id: bytes
    fence: int


@dataclass(frozen=True)
class SignedTransaction:
    """What may be submitted: BCS transaction data, flag ‖ signature ‖ public key, and the digest."""

    data: bytes
    signature: bytes
    digest: str


@dataclass(frozen=True)
class RequestRecord:
    """A stored record."""

    request: NewRequest
    state: RequestState
    fence: int
    transaction: SignedTransaction | None
    response_digest: str | None
    status_code: int | None
    parkings: int = 0

    @property
    def reservation(self) -> Reservation:
        """The right to write it as it was read."""
        return Reservation(self.request.request_id, self.fence)


class Look(NamedTuple):
    """What one read says before a command begins: whether something is parked at its place, and how many
    events its seal's window counts."""

    parked: bool
    counted: int


class RequestStore(Protocol):
    """One record per command.

    Guarantees:

    1. `reserve` succeeds once per request id, whoever calls and however often.
    2. A write is refused (FenceLostError) unless its reservation carries the record's present fence and the
       record's state may precede the new one. Nobody who has been overtaken can write.
    3. `record_signed` raises the fence. The reservation it returns is the only valid one from then on.
    4. A write that returned survives the process and is seen by every later `get`.
    5. A write that raised RequestStoreUnavailableError may or may not have happened; guarantee 2 holds all
       the same.
    6. Only what is public on chain anyway is stored, plus signatures over it, plus the reply key wrapped
       under a key that the store does not have: no token, no body, no query. The wrapped key is gone from
       the item with the write that answers, refuses or expires it.
    7. A record may vanish 40 days after `answer_by`, or a day after nothing of its command is on chain any
       more (`leftovers`), never before. It is never reused for another command.
    8. `adopt` succeeds at most once for each `park` that returned, whoever calls and however many at once,
       and only before `until_ms`. It raises the fence: who parked the record can write it no more.
    9. `park` returns only if the next `adopt` of that place can find the record. A place holds one parked
       record; a second one is refused (PlaceTakenError) until the first is adopted or its time is over.
    10. `unfinished` reads, by key, what was reserved in one minute of the request ids' clock; it may miss
       what was written in the last second, and nothing else.
    11. `look` reads place and window at once, and each strongly consistent.
    """

    def reserve(self, request: NewRequest) -> Reservation:
        """Create the record. Raises RequestAlreadyReservedError, RequestStoreUnavailableError."""
        ...

    def record_signed(self, reservation: Reservation, transaction: SignedTransaction) -> Reservation:
        """Store the bytes about to be submitted. Raises FenceLostError, RequestStoreUnavailableError."""
        ...

    def record_submitted(self, reservation: Reservation) -> None:
        """The chain accepted the command. Raises as `record_signed`."""
        ...

    def record_answered(self, reservation: Reservation, *, status_code: int, response_digest: str) -> None:
        """The answer was read. Raises as `record_signed`."""
        ...

    def record_refused(self, reservation: Reservation) -> None:
        """The command was refused for good: it never ran. Raises as `record_signed`."""
        ...

    def record_expired(self, reservation: Reservation) -> None:
        """Its time is over: see the states. Raises as `record_signed`."""
        ...

    def park(
        self, reservation: Reservation, place: bytes, *, accepted: bool, now_ms: int, until_ms: int
    ) -> None:
        """Leave the record at `place` (32 bytes) for the next identical request.

        `accepted` says whether the chain is known to have taken the command. Raises PlaceTakenError, and as
        `record_signed`. Whoever gets an exception must not tell the caller to ask again.
        """
        ...

    def look(self, place: bytes | None, window: WindowId) -> Look:
        """What is known before a command begins, in one read; `place` is None for what is never parked.

        Raises RequestStoreUnavailableError.
        """
        ...

    def adopt(self, place: bytes, now_ms: int) -> RequestRecord | None:
        """Take over what is parked at `place`; None if nothing is.

        Raises RequestStoreUnavailableError if nothing was taken, AdoptionFailedError if nobody knows.
        """
        ...

    def unfinished(self, minute: int) -> Iterator[RequestRecord]:
        """Records of one minute (Unix time) without a final state. Raises RequestStoreUnavailableError."""
        ...

    def get(self, request_id: bytes) -> RequestRecord | None:
        """The record as of now (strongly consistent). Raises RequestStoreUnavailableError."""
        ...
