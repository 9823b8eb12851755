"""Runs a verified command at the API server; whatever happens there, there is a response to send back."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from k3s_daas.envelope import MAX_RESPONSE_BODY_BYTES, ResponseEnvelope
from k3s_daas.errors import ForbiddenError, MalformedRequestError
from k3s_daas.long_running import is_long_running
from k3s_daas.status import StatusError, from_error
from listener_service import answers, passthrough
from listener_service.api_call import ApiCall, ApiServerError, Grow
from listener_service.api_server import ApiServer
from listener_service.clock import Clock, SystemClock
from listener_service.leadership import NotLeadingError, Term
from listener_service.open_calls import OpenCalls
from listener_service.verification import VerifiedCommand
from listener_service.windows import WindowRules

_log = logging.getLogger(__name__)


class Executor:
    """Sends commands to one API server from a pool of threads, at most `concurrency` at a time, and besides
    them what stays open."""

    def __init__(
        self,
        api_server: ApiServer,
        *,
        concurrency: int,
        open_calls: int,
        listener_namespace: str,
        clock: Clock | None = None,
        windows: WindowRules | None = None,
    ) -> None:
        self._api_server = api_server
        self._listener_namespace = listener_namespace
        self._clock = clock or SystemClock()
        self._threads = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="api-server")
        self._open_calls = OpenCalls(api_server, places=open_calls, clock=self._clock, rules=windows)

    @staticmethod
    def stays_open(command: VerifiedCommand) -> bool:
        """Whether the command takes one of the places for watches and followed logs, and no other."""
        return is_long_running(command.attributes, command.envelope.query)

    async def run(self, command: VerifiedCommand, term: Term, grow: Grow | None = None) -> ResponseEnvelope:
        """The API server's reply, or a Status that says why there is none.

        Never starts after `start_by` or after the end of the term: then it raises `NotLeadingError`.
        """
        try:
            call = self._call(command, grow)
        except (ForbiddenError, MalformedRequestError, StatusError) as error:
            return passthrough.status_response(from_error(error), command.requested.request_id)
        start_by = command.requested.start_by_ms

        def may_start() -> bool:
            term.confirm()
            return self._clock.now_ms() <= start_by

        try:
            if self.stays_open(command):
                reply = await self._open_calls.run(command, call, may_start)
            else:
                reply = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._api_server.send, call, may_start
                )
            return passthrough.response(reply, proxied=call.proxied)
        except NotLeadingError:
            raise
        except ApiServerError as error:
            _log.warning("no reply from the API server", extra={"error": str(error), "sent": error.sent})
            status = answers.no_reply(error, is_read=command.attributes.is_read)
        except StatusError as error:
            status = error
        except Exception:  # noqa: BLE001  it may have run, so it is answered, whatever happened
            _log.exception("the command failed inside the listener")
            status = answers.failed_inside(is_read=command.attributes.is_read)
        return passthrough.status_response(status, command.requested.request_id)

    def _call(self, command: VerifiedCommand, grow: Grow | None) -> ApiCall:
        envelope, attributes = command.envelope, command.attributes
        passthrough.refuse_streams(attributes)
        timeout_s = max(0.0, (command.requested.finish_by_ms - self._clock.now_ms()) / 1000)
        if timeout_s == 0.0:
            raise answers.not_started()
        longest_s = self._open_calls.limit_s()
        if self.stays_open(command):
            timeout_s = min(timeout_s, longest_s)
        return ApiCall(
            method=envelope.method,
            target=passthrough.target(attributes, envelope.query, self._listener_namespace, longest_s),
            headers=passthrough.request_headers(command.requested, envelope, attributes),
            body=envelope.body,
            timeout_s=timeout_s,
            max_reply_bytes=MAX_RESPONSE_BODY_BYTES,
            grow=grow,
            proxied=attributes.subresource == "proxy",
        )

    def end_open_calls(self) -> None:
        """Answers what stays open with what there is so far."""
        self._open_calls.end()

    def close(self) -> None:
        """Lets no further command start; does not wait for those in work."""
        self._open_calls.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._api_server.close()
