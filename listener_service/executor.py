"""Runs a verified command at the API server; whatever happens there, there is a response to send back."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from k3s_daas.envelope import MAX_RESPONSE_BODY_BYTES, ResponseEnvelope
from k3s_daas.errors import ForbiddenError, MalformedRequestError
from k3s_daas.status import StatusError, from_error
from listener_service import answers, passthrough
from listener_service.api_server import ApiCall, ApiServer, ApiServerError
from listener_service.clock import Clock, SystemClock
from listener_service.leadership import NotLeadingError, Term
from listener_service.verification import VerifiedCommand

_log = logging.getLogger(__name__)

# A watch ends by itself after MAX_WATCH_S; an API server that lets it run on is cut off.
_WATCH_GRACE_S = 8.0


class Executor:
    """Sends commands to one API server from a pool of threads, at most `concurrency` at a time."""

    def __init__(
        self,
        api_server: ApiServer,
        *,
        concurrency: int,
        listener_namespace: str,
        clock: Clock | None = None,
    ) -> None:
        self._api_server = api_server
        self._listener_namespace = listener_namespace
        self._clock = clock or SystemClock()
        self._threads = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="api-server")

    async def run(self, command: VerifiedCommand, term: Term) -> ResponseEnvelope:
        """The API server's reply, or a Status that says why there is none.

        Never starts after `start_by` or after the end of the term: then it raises `NotLeadingError`.
        """
        try:
            call = self._call(command)
        except (ForbiddenError, MalformedRequestError, StatusError) as error:
            return passthrough.status_response(from_error(error), command.requested.request_id)
        start_by = command.requested.start_by_ms

        def may_start() -> bool:
            term.confirm()
            return self._clock.now_ms() <= start_by

        try:
            reply = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._api_server.send, call, may_start
            )
            return passthrough.response(reply)
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

    def _call(self, command: VerifiedCommand) -> ApiCall:
        envelope, attributes = command.envelope, command.attributes
        passthrough.refuse_streams(attributes, envelope.query)
        timeout_s = max(0.0, (command.requested.finish_by_ms - self._clock.now_ms()) / 1000)
        if timeout_s == 0.0:
            raise answers.not_started()
        if attributes.is_long_running:
            timeout_s = min(timeout_s, passthrough.MAX_WATCH_S + _WATCH_GRACE_S)
        return ApiCall(
            method=envelope.method,
            target=passthrough.target(attributes, envelope.query, self._listener_namespace),
            headers=passthrough.request_headers(command.requested, envelope, attributes),
            body=envelope.body,
            timeout_s=timeout_s,
            max_reply_bytes=MAX_RESPONSE_BODY_BYTES,
        )

    def close(self) -> None:
        """Lets no further command start; does not wait for those in work."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._api_server.close()
