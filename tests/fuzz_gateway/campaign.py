"""Sends hostile requests through an instant stack and holds every exchange against the invariants."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given

from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.gateway.strict import StrictGateway
from k3s_daas.rbac import Rule
from tests.fuzz_gateway.events import SHAPES
from tests.fuzz_gateway.hostile import Hostile, corpus, hostile_requests
from tests.fuzz_gateway.invariants import Seen, check, discovery_reply
from tests.fuzz_gateway.tokens import TOKEN_HERE
from tests.instant.api_server import WireReply, WireRequest
from tests.instant.stack import InstantStack, instant_stack

# Some things are allowed, some are not, some only by their exact name.
RULES = (
    Rule(("*",), ("*",), ("*", "services/proxy"), ("default", "demo", "daas-system")),
    Rule(("get", "list", "watch"), ("*",), ("*",)),
    Rule(
        ("get",),
        non_resource_urls=("/api", "/api/*", "/apis", "/apis/*", "/openapi/*", "/version", "/healthz"),
    ),
)


@dataclass
class Report:
    """How often requests ended in which way."""

    seed: int
    requests: int = 0
    seconds: float = 0.0
    endings: Counter[str] = field(default_factory=Counter)

    def lines(self) -> Iterator[str]:
        """A summary for a person."""
        yield f"seed {self.seed}: {self.requests} requests in {self.seconds:.0f} s, every invariant holds"
        yield ", ".join(f"{ending} {count}" for ending, count in sorted(self.endings.items()))


class Campaign:
    """Requests against one stack, one after the other."""

    def __init__(self, stack: InstantStack, seed: int) -> None:
        self.report = Report(seed)
        self._stack = stack
        self._shapes: tuple[str, ...] = ()
        self._door = StrictGateway(_Reshaping(stack, self))

    def run(self, requests: int) -> Report:
        """Send that many: the corpus, then others. Raises BrokenError, or whatever escaped, and names the
        request; of the others, the smallest that shows it."""
        began = time.monotonic()
        for known in corpus():
            try:
                self._attack(known)
            except Exception as error:
                error.add_note(f"of the corpus: {known}")
                raise

        @hypothesis.seed(self.report.seed)
        @hypothesis.settings(
            max_examples=max(1, requests - self.report.requests),
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(hostile=hostile_requests())
        def attack(hostile: Hostile) -> None:
            self._attack(hostile)

        attack()
        self.report.seconds = time.monotonic() - began
        return self.report

    def _attack(self, hostile: Hostile) -> None:
        self.report.requests += 1
        self.report.endings[check(self.exchange(hostile))] += 1

    def exchange(self, hostile: Hostile) -> Seen:
        """Send one request, and gather what became of it."""
        stack = self._stack
        token = hostile.token.text(stack)
        sent = HttpRequest(
            hostile.method,
            hostile.target.replace(TOKEN_HERE, token),
            (
                *hostile.token.header(token),
                *((name, value.replace(TOKEN_HERE, token)) for name, value in hostile.headers),
            ),
            hostile.body,
        )
        stack.api.requests.clear()
        stack.api.answer = lambda request: _answer(request, hostile.reply)
        executed, logged = len(stack.ledger.executions), len(stack.logged)
        received = self._send(hostile, sent)
        mine = [one for one in stack.ledger.executions[executed:] if one.sender == stack.signer.address]
        return Seen(hostile, sent, token, received, list(stack.api.requests), mine, stack.logged[logged:])

    def _send(self, hostile: Hostile, sent: HttpRequest) -> HttpReply:
        self._shapes = hostile.shapes
        return self._door.handle(sent)

    def reshape(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event of the present request, as it is shaped this time."""
        shaped = deepcopy(event)
        for name, shape in SHAPES.items():
            if name in self._shapes:
                shape(shaped)
        return shaped


class _Reshaping:
    """Stands where the strict gateway looks for the app, and shapes events on their way to it."""

    def __init__(self, stack: InstantStack, campaign: Campaign) -> None:
        self._app, self._campaign = stack.app, campaign
        self.routes, self.api = stack.app.routes, stack.app.api

    def __call__(self, event: dict[str, Any], context: object) -> Any:
        return self._app(self._campaign.reshape(event), context)


def _answer(request: WireRequest, reply: WireReply) -> WireReply:
    return discovery_reply(request) or reply


@contextmanager
def campaign(seed: int) -> Iterator[Campaign]:
    """A campaign against a stack of its own."""
    with tempfile.TemporaryDirectory() as directory, instant_stack(Path(directory), RULES) as stack:
        yield Campaign(stack, seed)
