"""Commands that take longer than one HTTP exchange: parked under the name of their request, and adopted by
its retry.

kubectl repeats a request unasked, byte for byte, when it gets 503 with Retry-After, up to ten times. The
repeated one must find the command that runs already. Reads are always parked; whatever changes something
only if it names its kubectl process (`Kubectl-Session`), since another process may mean the same bytes as
another command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chalicelib.command import AdmittedCommand, SealedCommand
from chalicelib.errors import AdoptionFailedError, GatewayUnavailableError
from chalicelib.parking_keys import ParkingKeys
from chalicelib.request_store import (
    NewRequest,
    RequestRecord,
    RequestState,
    RequestStore,
    Reservation,
    SignedTransaction,
)
from chalicelib.submission import Submitted
from k3s_daas.deadlines import MOST_PARKINGS, RETRY_AFTER_S, Deadlines, DeadlineSettings
from k3s_daas.errors import SealedDataError
from k3s_daas.ids import request_id_text
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.status import Cause, StatusError

SESSION_HEADER = "Kubectl-Session"
# A retry comes after a second. A client that does not retry must not be answered later with what was true
# then; another read does no harm.
READ_ADOPTION_MS = 30_000


@dataclass(frozen=True)
class PendingCommand:
    """A command that is, or may be, on chain, and what it takes to read its answer.

    `accepted`: the chain is known to have taken it. `unsent` are its bytes, if somebody else sent them and
    nobody knows what became of them. `place` is None for a command that is not parked.
    """

    request_id: bytes
    arrived_at_ms: int
    deadlines: Deadlines
    reply_key: SealingPrivateKey
    reservation: Reservation
    digest: str
    accepted: bool
    place: bytes | None
    parkings: int = 0
    unsent: SignedTransaction | None = None


class Parking:
    """Parks and adopts; used by many request threads at once."""

    def __init__(
        self,
        *,
        store: RequestStore,
        keys: ParkingKeys,
        deadlines: DeadlineSettings,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._keys = keys
        self._deadlines = deadlines
        self._now_ms = now_ms

    def place(self, admitted: AdmittedCommand) -> bytes | None:
        """Where this request is parked, or None if it never is."""
        session = (admitted.request.header(SESSION_HEADER) or "").strip()
        if not session and not admitted.attributes.is_read:
            return None
        return self._keys.place(admitted.request, admitted.seal, session)

    def new_request(
        self, admitted: AdmittedCommand, sealed: SealedCommand, place: bytes | None
    ) -> NewRequest:
        """What is put on record for a fresh command; its reply key only where a retry may need it."""
        wrapped = b"" if place is None else self._keys.wrap(sealed.reply_key, sealed.request_id)
        return NewRequest(
            request_id=sealed.request_id,
            seal=admitted.seal,
            arrived_at_ms=admitted.request.arrival_ms,
            start_by_ms=sealed.deadlines.start_by_ms,
            finish_by_ms=sealed.deadlines.finish_by_ms,
            answer_by_ms=sealed.deadlines.answer_by_ms,
            due_ms=sealed.deadlines.answer_by_ms + admitted.kept_ms,
            wrapped_reply_key=wrapped,
        )

    def pending(
        self,
        admitted: AdmittedCommand,
        sealed: SealedCommand,
        place: bytes | None,
        sent: Submitted,
        *,
        unsent: SignedTransaction | None = None,
    ) -> PendingCommand:
        """A fresh command that was sent; with `unsent`, nobody knows whether it arrived."""
        return PendingCommand(
            request_id=sealed.request_id,
            arrived_at_ms=admitted.request.arrival_ms,
            deadlines=sealed.deadlines,
            reply_key=sealed.reply_key,
            reservation=sent.reservation,
            digest=sent.digest,
            accepted=unsent is None,
            place=place,
            unsent=unsent,
        )

    def adopt(self, place: bytes) -> PendingCommand | None:
        """The command that was parked for this request; None if there is none, and a new one is due.

        Raises AdoptionFailedError if there is one and it cannot be had: then no new one is due either.
        """
        record = self._store.adopt(place, self._now_ms())
        if record is None:
            return None
        request, transaction = record.request, record.transaction
        if transaction is None:
            raise AdoptionFailedError
        try:
            reply_key = self._keys.unwrap(request.wrapped_reply_key, request.request_id)
        except SealedDataError as error:
            raise AdoptionFailedError from error
        accepted = record.state is RequestState.SUBMITTED
        return PendingCommand(
            request_id=request.request_id,
            arrived_at_ms=request.arrived_at_ms,
            deadlines=_deadlines(record),
            reply_key=reply_key,
            reservation=record.reservation,
            digest=transaction.digest,
            accepted=accepted,
            place=place,
            parkings=record.parkings,
            unsent=None if accepted else transaction,
        )

    def park(self, pending: PendingCommand, *, is_read: bool) -> bool:
        """Leave the command for the next identical request; False if the caller must not ask again."""
        now_ms = self._now_ms()
        until_ms = pending.arrived_at_ms + self._deadlines.parked_life_ms
        if is_read:
            until_ms = min(until_ms, now_ms + READ_ADOPTION_MS)
        if pending.place is None or pending.parkings >= MOST_PARKINGS or now_ms >= until_ms:
            return False
        try:
            self._store.park(
                pending.reservation,
                pending.place,
                accepted=pending.accepted,
                now_ms=now_ms,
                until_ms=until_ms,
            )
        except GatewayUnavailableError:
            # Taken place, lost fence, store away: the caller hears that his command may still run.
            return False
        return True


class ParkedError(StatusError):
    """Makes kubectl send the same request again, unasked; no refusal."""


def parked(pending: PendingCommand) -> ParkedError:
    """What the caller hears of a command that was just parked."""
    text = request_id_text(pending.request_id)
    return ParkedError(
        503,
        "ServiceUnavailable",
        f"request {text} is still under way: send the same request again, and it gets this one's answer",
        causes=(Cause("Parked", f"{pending.parkings + 1} of at most {MOST_PARKINGS} times"),),
        retry_after_s=RETRY_AFTER_S,
        request_id=text,
    )


def _deadlines(record: RequestRecord) -> Deadlines:
    request = record.request
    return Deadlines(request.start_by_ms, request.finish_by_ms, request.answer_by_ms)
