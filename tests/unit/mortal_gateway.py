"""A gateway whose process dies at any of its writes, before or after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from chalicelib.request_store import RequestRecord, RequestState
from moto import mock_aws

from infra.local.gateway.messages import HttpReply
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.sui.ledger import Abort, ExecutionOutcome
from k3s_daas.sui.transactions import transaction_digest
from tests.unit.gateway_world import LocalAws, World, echo

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
SESSION = (("Kubectl-Session", "5e7d2f2c-0d3b-4a8e-9d3e-0f6c2f6d7a10"),)
IMPATIENT = replace(DeadlineSettings(), gateway_wait_ms=300)


class Crash(BaseException):
    """The process dies here."""


class MortalClient:
    """A DynamoDB client in a process that dies before or after its nth write from now on."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._left = -1
        self._carried_out = False
        self._state: RequestState | None = None
        self.request_ids: list[bytes] = []

    def die_at(self, write: int, *, carried_out: bool) -> None:
        self._left, self._carried_out = write, carried_out

    def die_at_state(self, state: RequestState, *, carried_out: bool) -> None:
        """At the write that says this of a record."""
        self._state, self._carried_out = state, carried_out

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in ("put_item", "update_item"):
            return found

        def write(**arguments: Any) -> Any:
            self._left -= 1
            state = arguments.get("ExpressionAttributeValues", {}).get(":state", {}).get("S")
            dies = self._left == 0 or (state is not None and state == self._state)
            if dies:
                self._state = None
            if dies and not self._carried_out:
                raise Crash
            answer = found(**arguments)
            if name == "put_item":
                self.request_ids.append(bytes(arguments["Item"]["id"]["B"]))
            if dies:
                raise Crash
            return answer

        return write


class Stage:
    """A gateway whose process dies on demand, and a cluster that answers on demand."""

    def __init__(self, aws: LocalAws) -> None:
        self.world = World(aws, deadlines=IMPATIENT)
        self.client = MortalClient(aws.dynamodb)
        self.world.store._client = self.client  # type: ignore[assignment] # a test double
        self.world.chain.respond = None
        self.ran: list[bytes] = []

    def send(self) -> HttpReply:
        return self.world.send(CONFIG_MAPS, "POST", b"{}", headers=SESSION)

    def after(self, seconds: int) -> None:
        """Let time pass, for the gateway and the chain, and sweep."""
        self.world.ahead_ms = seconds * 1000
        self.world.chain.timestamp_ms = self.world.now_ms()
        self.world.gateway.sweep()

    def answer(self) -> None:
        """The listener answers what the chain accepted."""
        chain = self.world.chain
        chain.respond = self._run
        for digest, transaction in list(chain.transactions.items()):
            if transaction.signatures == [b""]:
                chain.answer(transaction.bcs, digest)
        chain.respond = None

    def _run(self, request: RequestEnvelope) -> ResponseEnvelope:
        self.ran.append(request.body)
        return echo(request)

    @property
    def sent(self) -> int:
        return len(self.world.chain.executed)

    @property
    def commands(self) -> int:
        return len(set(self.world.chain.executed))

    def record(self, index: int = 0) -> RequestRecord:
        found = self.world.store.get(self.client.request_ids[index])
        assert found is not None
        return found


def executed_then_dead(stage: Stage) -> Callable[[bytes], ExecutionOutcome]:
    def die(transaction: bytes) -> ExecutionOutcome:
        stage.world.chain.accept(transaction)
        raise Crash

    return die


def dead(transaction: bytes) -> ExecutionOutcome:
    raise Crash


def revoked(transaction: bytes) -> ExecutionOutcome:
    abort = Abort("seal", None, 305, 0)
    return ExecutionOutcome(transaction_digest(transaction), success=False, abort=abort, failure="abort")


@contextmanager
def mortal_gateway() -> Iterator[Stage]:
    """With a table of its own."""
    with mock_aws():
        stage = Stage(LocalAws())
        yield stage
        stage.world.close()
