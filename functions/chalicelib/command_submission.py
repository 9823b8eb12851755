"""An admitted command on its way to the chain: sealed, put on record, submitted; or, if an earlier request
left it behind, taken up where that one stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chalicelib.command import AdmittedCommand, command_transaction, seal_command
from chalicelib.journey import Journey
from chalicelib.open_requests import OpenRequests
from chalicelib.parking import Parking, PendingCommand, parked
from chalicelib.request_store import RequestStore
from chalicelib.settings import GatewaySettings
from chalicelib.submission import SubmissionUnknownError, Submitter
from chalicelib.tally import CommandTally
from k3s_daas.blobs.store import BlobStore
from k3s_daas.roots import TrustRoots


class CommandSubmission:
    """Used by many request threads at once. `sender` is this gateway's address."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        roots: TrustRoots,
        sender: bytes,
        store: RequestStore,
        parking: Parking,
        submitter: Submitter,
        open_requests: OpenRequests,
        tally: CommandTally,
        blobs: BlobStore | None,
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._roots = roots
        self._sender = sender
        self._store = store
        self._parking = parking
        self._submitter = submitter
        self._open_requests = open_requests
        self._tally = tally
        self._blobs = blobs
        self._now_ms = now_ms

    def submit(self, admitted: AdmittedCommand, place: bytes | None, journey: Journey) -> PendingCommand:
        """A new command on the chain; `place` is where its retry would look for it.

        Raises the command's own refusal, ParkedError if it was sent and nobody says what became of it, and
        what `seal_command`, the store and `Submitter.submit` raise.
        """
        if admitted.refusal is not None:
            raise admitted.refusal
        if admitted.stays_open:
            self._open_requests.count(admitted.seal, admitted.state.cluster.policy.commands_per_minute)
        sealed = seal_command(admitted, self._settings, self._now_ms(), self._blobs)
        journey.request_id = sealed.request_id
        reservation = self._store.reserve(self._parking.new_request(admitted, sealed, place))
        self._tally.add(admitted.seal, admitted.deposit)

        def on_reading() -> None:
            journey.submission_rpcs += 1

        def on_sending(digest: str) -> None:
            journey.request_digest = digest
            on_reading()

        try:
            sent = self._submitter.submit(
                lambda terms: command_transaction(
                    admitted, sealed, self._settings, self._roots, sender=self._sender, terms=terms
                ),
                reservation,
                start_by_ms=sealed.deadlines.start_by_ms,
                on_sending=on_sending,
                on_reading=on_reading,
            )
        except SubmissionUnknownError as error:
            pending = self._parking.pending(admitted, sealed, place, error.sent, unsent=error.signed)
            if self._parking.park(pending, is_read=admitted.attributes.is_read):
                # The retry sends the same bytes again, if there is still time.
                raise parked(pending) from error
            raise
        return self._parking.pending(admitted, sealed, place, sent)

    def resume(self, adopted: PendingCommand, journey: Journey) -> PendingCommand:
        """Go on with what somebody else submitted; the same bytes are sent again if nobody knows better.

        Raises MoveAbortError and TransactionFailedError.
        """
        journey.request_id, journey.request_digest = adopted.request_id, adopted.digest
        if adopted.unsent is None:
            return adopted
        accepted = self._submitter.resend(
            adopted.unsent,
            adopted.reservation,
            start_by_ms=adopted.deadlines.start_by_ms,
            on_sending=lambda _digest: None,
        )
        return replace(adopted, accepted=True) if accepted else adopted
