"""The record of each command: the port, and what every store behind it guarantees.

    reserved ──▶ signed ──▶ submitted ──▶ answered
        │           │
        └───────────┼──▶ refused    the chain refused it: it never ran
                    └──▶ expired    `start_by` passed before anything was sent: it never ran

`submitted` without an answer stays so: the command was accepted, and what became of it is on chain.
`signed` means "may have been submitted": the bytes are on record before anybody sees them, so whoever finds
such a record can send the same bytes again (same digest, executed once) or look the digest up.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol


class RequestState(enum.StrEnum):
    """Where a command stands, as far as the gateway knows."""

    RESERVED = "reserved"
    SIGNED = "signed"
    SUBMITTED = "submitted"
    ANSWERED = "answered"
    REFUSED = "refused"
    EXPIRED = "expired"


# From which states each state may be reached. `signed` may follow `signed`: new bytes after a definite
# refusal.
PREDECESSORS: dict[RequestState, tuple[RequestState, ...]] = {
    RequestState.SIGNED: (RequestState.RESERVED, RequestState.SIGNED),
    RequestState.SUBMITTED: (RequestState.SIGNED,),
    RequestState.ANSWERED: (RequestState.SIGNED, RequestState.SUBMITTED),
    RequestState.REFUSED: (RequestState.RESERVED, RequestState.SIGNED),
    RequestState.EXPIRED: (RequestState.RESERVED, RequestState.SIGNED),
}


@dataclass(frozen=True)
class NewRequest:
    """What is known when a command is reserved. Times are Unix ms."""

    request_id: bytes
    seal: bytes
    arrived_at_ms: int
    start_by_ms: int
    finish_by_ms: int
    answer_by_ms: int


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
    6. Only what is public on chain anyway is stored, plus signatures over it: no token, no body, no query,
       no key.
    7. A record may vanish a day after `answer_by`, never before.
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
        """`start_by` passed before anything was sent. Raises as `record_signed`."""
        ...

    def get(self, request_id: bytes) -> RequestRecord | None:
        """The record as of now (strongly consistent). Raises RequestStoreUnavailableError."""
        ...
