"""One request through the gateway: convert, decide, reserve, seal, submit, wait, reply.

This module holds the order of the steps; each step is a module of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from chalicelib.admission import Admission, admit
from chalicelib.chain import ChainView
from chalicelib.errors import GatewayUnavailableError
from chalicelib.http_request import GatewayRequest
from chalicelib.journey import Journey, Log, log_to_stderr, where
from chalicelib.loop import EventLoopThread
from chalicelib.replies import GatewayReply, status_of, status_reply
from chalicelib.request_store import NewRequest, RequestStore, Reservation
from chalicelib.settings import GatewaySettings
from chalicelib.submission import StartByPassedError, Submitted, Submitter
from chalicelib.unsupported import bounded_watch_query, refuse_unsupported
from chalicelib.waiting import Answer, AnswerWaiter
