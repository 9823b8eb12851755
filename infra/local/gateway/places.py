"""A bound on the functions that run at once, as Lambda's concurrency is one.

Lambda gives each request a process of its own; here all share one, and beyond some number they only make each
other slow. Requests in excess wait for a place before they count as arrived, where Lambda would start further
processes.
"""

from __future__ import annotations

import threading

from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.gateway.server import Answer


def at_most(functions: int, answer: Answer) -> Answer:
    """`answer`, by that many threads at once; the others wait in the order in which they came."""
    places = threading.Semaphore(functions)

    def answer_in_turn(request: HttpRequest) -> HttpReply:
        with places:
            return answer(request)

    return answer_in_turn
