"""One request from arrival to reply: admitted, answered by the discovery cache or through the chain, logged.

Whatever happens on the way, the caller gets a Status and the logs a line each.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from chalicelib.callers import Sources
from chalicelib.command import AdmittedCommand
from chalicelib.command_runner import CommandRunner
from chalicelib.discovery_cache import Fetched
from chalicelib.discovery_replies import DiscoveryReplies
from chalicelib.http_request import GatewayRequest
from chalicelib.journey import Journey, Log
from chalicelib.parking import ParkedError
from chalicelib.refusals import refusal_line, refusal_status, refusal_word
from chalicelib.replies import GatewayReply, fit_for_client, status_reply
from chalicelib.reporting import Reporter
from chalicelib.request_admission import RequestAdmission
from chalicelib.submission import StartByPassedError
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.errors import ConfigurationError, DaasError
from k3s_daas.library_logs import where
from k3s_daas.status import StatusError


class RequestHandler:
    """Used by many request threads at once."""

    def __init__(
        self,
        *,
        deadlines: DeadlineSettings,
        sources: Sources,
        admission: RequestAdmission,
        discovery: DiscoveryReplies,
        commands: CommandRunner,
        reporter: Reporter,
        now_ms: Callable[[], int],
        log: Log,
        refusal_log: Log,
    ) -> None:
        self._deadlines = deadlines
        self._sources = sources
        self._admission = admission
        self._discovery = discovery
        self._commands = commands
        self._reporter = reporter
        self._now_ms = now_ms
        self._log = log
        self._refusal_log = refusal_log

    def handle(self, request: GatewayRequest) -> GatewayReply:
        """Answer one request; every refusal and failure is a Status. Writes one log line."""
        journey = Journey(source=request.source, api_request_id=request.api_request_id)
        return self._answer(journey, lambda: self._serve(request, journey))

    def refuse(self, source: str, api_request_id: str | None, error: DaasError) -> GatewayReply:
        """Answer what came from `source` and cannot be read as a request, as `handle` does."""

        def fail() -> GatewayReply:
            raise error

        return self._answer(Journey(source=source, api_request_id=api_request_id), fail)

    def _answer(self, journey: Journey, serve: Callable[[], GatewayReply]) -> GatewayReply:
        word = None
        try:
            if journey.source is not None:
                self._sources.check(journey.source)
            reply = serve()
        except Exception as error:  # noqa: BLE001 - the caller gets a Status and the log the place, whatever happened
            self._log_fault(error)
            status = refusal_status(error, journey, self._now_ms())
            word = refusal_word(error, status)
            reply = status_reply(status)
            journey.parked = isinstance(error, ParkedError)
            journey.expired = isinstance(error, StartByPassedError)
            if not journey.parked:
                self._refused(journey, status, word)
        self._log(journey.log_line(code=reply.status, reason=word))
        self._reporter.request(journey, reply.status, None if journey.parked else word)
        return GatewayReply(reply.status, (*reply.headers, *journey.headers()), reply.body)

    def _serve(self, request: GatewayRequest, journey: Journey) -> GatewayReply:
        with journey.stage("admission"):
            admitted = self._admission.admit(request, journey)
        left_ms = self._deadlines.wait_until_ms(request.arrival_ms) - self._now_ms()

        def run(command: AdmittedCommand) -> Fetched:
            return Fetched(self._commands.run(command, journey), own=not journey.adopted)

        reply, journey.cache = self._discovery.answer(
            admitted,
            run,
            # Time must be left for an own command, if somebody else's brings nothing.
            patience_s=max(0, left_ms) / 2000,
        )
        if journey.cache == "shared":
            # He waited for somebody else: is he still one who may ask?
            self._admission.admit(request, journey)
        elif journey.cache in ("miss", "revalidated", "stored"):
            self._log(json.dumps({"event": "discovery-cache", **self._discovery.counters()}))
        return fit_for_client(reply, request, is_read=admitted.attributes.is_read)

    def _log_fault(self, error: Exception) -> None:
        """What is no refusal but the gateway's own fault: only the operator hears which."""
        if not isinstance(error, DaasError):
            self._log(json.dumps({"event": "bug", "where": where(error)}))
        if isinstance(error, ConfigurationError):
            self._log(json.dumps({"event": "misconfigured", "reason": str(error)}))

    def _refused(self, journey: Journey, status: StatusError, word: str) -> None:
        """Keep what was refused, and count it where it was the caller's doing and cost no gas."""
        self._refusal_log(refusal_line(journey, code=status.code, reason=word))
        # Rates are counted where they are: a holder who is over his takes nothing from his neighbours.
        callers_doing = (status.code < 500 and status.code != 429) or status.code == 501
        if journey.source is not None and journey.request_digest is None and callers_doing:
            self._sources.refused(journey.source)
