"""Plays scenes on a stack whose waits are short; every reply and every execution must keep the rules."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given

from infra.local.gateway.messages import HttpReply
from k3s_daas.contract.objects import SealState
from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.sui.ledger import ExecutionOutcome
from tests.fuzz_gateway.campaign import RULES
from tests.fuzz_gateway.invariants import demand
from tests.fuzz_gateway.scenes import Scene, Step, known_scenes, scenes
from tests.fuzz_gateway.vocabulary import CANARY
from tests.instant.api_server import WireReply, WireRequest
from tests.instant.ledger import Execute
from tests.instant.stack import Extras, InstantStack, instant_stack
from tests.unit.contract_world import SEAL

SLOW_S = 2.6
# The gateway waits for less than a slow API server takes. What starts at all has started before that: so an
# execution belongs to its step. The listener knows the time to a second, and takes the latest that it can be.
_WAITS = {"DAAS_START_WITHIN_MS": "1800", "DAAS_GATEWAY_WAIT_MS": "2000"}
_MOST_RETRIES = 10
# With the reasons that the table gives them. The API server's own replies are told apart by their bodies.
_REFUSALS = {
    401: {"Unauthorized"},
    403: {"Forbidden"},
    500: {"InternalError"},
    502: {"BadGateway"},
    503: {"ServiceUnavailable"},
    504: {"Timeout"},
}
_REQUEST_ID = "Impersonate-Extra-daas.io%2Frequest-id"


@dataclass
class Stage:
    """`endings` counts replies by code; a reply of the API server's by `answered` and its code."""

    stack: InstantStack
    scenes: int = 0
    requests: int = 0
    endings: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._good = self.stack.ledger.seal(SEAL)
        self._ran: set[str] = set()
        self._lock = threading.Lock()
        self._trouble: list[str] = []

    def lines(self) -> Iterator[str]:
        """A summary for a person."""
        yield f"{self.scenes} scenes of {self.requests} requests while things go wrong, every invariant holds"
        yield ", ".join(f"{ending} {count}" for ending, count in sorted(self.endings.items()))

    def run(self, count: int, seed: int) -> None:
        """The known scenes, and `count` others. Raises BrokenError with the scene in its notes."""
        for known in known_scenes():
            try:
                self.play(known)
            except Exception as error:
                error.add_note(f"of the known scenes: {known}")
                raise

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(scene=scenes)
        def play(scene: Scene) -> None:
            self.play(scene)

        play()

    def play(self, scene: Scene) -> None:
        """One scene, on a chain that is well again at its end."""
        self.scenes += 1
        try:
            for step in scene:
                self._step(step)
        finally:
            self._set(Step(scene[0].asked))

    def _step(self, step: Step) -> None:
        logged, before = len(self.stack.logged), len(self.stack.api.requests)
        self._set(step)
        with ThreadPoolExecutor(step.times) as clients:
            replies = list(clients.map(lambda _: self._as_kubectl(step), range(step.times)))
        for reply in replies:
            self._check_reply(step, reply)
        self._check_arrivals(step, self.stack.api.requests[before:])
        for line in self.stack.logged[logged:]:
            demand(json.loads(line).get("event") != "bug", f"a bug: {line}")
            demand("exception" not in json.loads(line), f"the listener fails inside: {line[:2_000]}")
            demand(CANARY not in line, f"what nobody should write down is: {line}")

    def _as_kubectl(self, step: Step) -> HttpReply:
        asked = step.asked
        for retry in range(_MOST_RETRIES + 1):
            with self._lock:
                self.requests += 1
            reply = self.stack.send(asked.method, asked.target, asked.headers, asked.body)
            asks_again = any(name.lower() == "retry-after" for name, _ in reply.headers)
            if not step.retries or reply.status not in (429, 503) or not asks_again:
                return reply
            demand(retry < _MOST_RETRIES, "the last retry is told to come again")
            # What was wrong with the chain is over when he comes again.
            self._trouble.clear()
            self.stack.ledger.away = False
        raise AssertionError("unreachable")

    def _check_reply(self, step: Step, reply: HttpReply) -> None:
        if not reply.body:
            demand(step.asked.is_watch and reply.status == 200, f"{reply.status} without a body")
            self.endings["watched in vain"] += 1
            return
        body = json.loads(reply.body)
        if body.get("kind") != "Status":
            self.endings[f"answered {reply.status}"] += 1
            demand(body == _said(step.asked.method, step.asked.target, step.asked.body), "another's reply")
            return
        self.endings[str(reply.status)] += 1
        demand(body["code"] == reply.status, f"no Status of {reply.status}: {body}")
        demand(body["reason"] in _REFUSALS.get(reply.status, ()), f"{reply.status} for {body['reason']}")
        names = {name.lower() for name, _ in reply.headers}
        parked = {"retry-after", "x-daas-request-digest"} <= names
        demand(not parked or step.asked.may_be_parked, "a mutation without a session is parked")
        if step == Step(step.asked) and step.times == 1:
            demand(reply.status in (500, 503, 504), f"refused although all is well: {body['message']}")

    def _check_arrivals(self, step: Step, arrived: list[WireRequest]) -> None:
        demand(len(arrived) <= step.times, f"{step.times} requests ran {len(arrived)} times")
        refused = step.seal in ("revoked", "without sessions") or (
            step.seal == "without stake" and step.asked.changes
        )
        demand(not (refused and arrived), f"run with a seal {step.seal}")
        for request in arrived:
            [request_id] = request.values(_REQUEST_ID) or [""]
            demand(request_id not in self._ran or not request_id, "one command is run twice")
            self._ran.add(request_id)
            demand((request.method, request.body) == (step.asked.method, step.asked.body), "another command")

    def _set(self, step: Step) -> None:
        stack = self.stack
        stack.ledger.put_seal(_sealed(self._good, stack.ledger.seal(SEAL), step.seal))
        stack.ledger.away = step.chain == "away"
        trouble = self._trouble = [step.chain]

        async def around(sender: bytes, execute: Execute) -> ExecutionOutcome:
            chain = trouble[0] if trouble and sender == stack.signer.address else "well"
            if chain.endswith("once"):
                trouble.clear()
            return await _disturbed(chain.removesuffix(" once"), execute)

        stack.ledger.around = around
        stack.api.answer = lambda request: _answer(request, step.api_server)


def _sealed(good: SealState, now: SealState, how: str) -> SealState:
    return replace(
        now,
        revoked=how == "revoked",
        stake=0 if how == "without stake" else good.stake,
        sessions={} if how == "without sessions" else good.sessions,
    )


async def _disturbed(chain: str, execute: Execute) -> ExecutionOutcome:
    if chain == "refused":
        raise TransactionRefusedError("other", "the scene refuses it")
    if chain == "lost":
        raise LedgerUnavailableError("the scene loses it")
    if chain == "cancelled":
        return ExecutionOutcome("", success=False, failure="cancelled", failure_kind="EXECUTION_CANCELED")
    outcome = await execute()
    if chain == "executed and lost":
        raise LedgerUnavailableError("the scene loses the reply")
    return outcome


def _answer(request: WireRequest, how: str) -> WireReply | None:
    if how == "cut":
        return None
    if how == "slow":
        time.sleep(SLOW_S)
    status = int(how) if how.isdigit() else 200
    said = _said(request.method, request.target, request.body)
    return WireReply(status, body=json.dumps(said).encode())


def _said(method: str, target: str, body: bytes) -> dict[str, str]:
    return {"method": method, "path": target.partition("?")[0], "body": body.decode()}


@contextmanager
def stage() -> Iterator[Stage]:
    """A stage of its own."""
    with (
        tempfile.TemporaryDirectory() as directory,
        instant_stack(Path(directory), RULES, Extras(gateway=_WAITS)) as stack,
    ):
        yield Stage(stack)
