"""One command through the chain, or the one that runs already for this very request."""

from __future__ import annotations

from contextlib import nullcontext

from chalicelib.callers import FailedTransactions
from chalicelib.command import AdmittedCommand
from chalicelib.command_answer import CommandAnswers
from chalicelib.command_submission import CommandSubmission
from chalicelib.journey import Journey
from chalicelib.open_requests import OpenRequests
from chalicelib.parking import Parking
from chalicelib.replies import GatewayReply
from chalicelib.request_store import RequestStore
from chalicelib.submission import TransactionFailedError
from k3s_daas.errors import MoveAbortError
from k3s_daas.headers import filter_response_headers


class CommandRunner:
    """Used by many request threads at once."""

    def __init__(
        self,
        *,
        store: RequestStore,
        parking: Parking,
        failed: FailedTransactions,
        open_requests: OpenRequests,
        submission: CommandSubmission,
        answers: CommandAnswers,
    ) -> None:
        self._store = store
        self._parking = parking
        self._failed = failed
        self._open_requests = open_requests
        self._submission = submission
        self._answers = answers

    def run(self, admitted: AdmittedCommand, journey: Journey) -> GatewayReply:
        """The API server's reply. Raises every refusal and failure that a command can meet, as DaasError."""
        with self._open_requests.place() if admitted.stays_open else nullcontext():
            return self._run(admitted, journey)

    def _run(self, admitted: AdmittedCommand, journey: Journey) -> GatewayReply:
        place = self._parking.place(admitted)
        look = self._store.look(place, self._failed.window(admitted.seal))
        adopted = self._parking.adopt(place) if place is not None and look.parked else None
        journey.adopted = adopted is not None
        with journey.stage("submit"):
            try:
                if adopted is None:
                    self._failed.check(admitted.seal, look.counted)
                    pending = self._submission.submit(admitted, place, journey)
                else:
                    pending = self._submission.resume(adopted, journey)
            except (MoveAbortError, TransactionFailedError):
                journey.aborted = True
                self._failed.failed(admitted.seal)
                raise
        with journey.stage("wait"):
            response = self._answers.collect(admitted, pending, journey)
        return GatewayReply(response.status, tuple(filter_response_headers(response.headers)), response.body)
