"""Commands of every kind, and the judgement on what came of each.

A command is judged by three witnesses: its answer, the API server's audit log, which names the request id of
everything that was run, and the objects that are there in the end.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from infra.local.kube.inprocess import InProcessClient
from infra.local.kube.store import Change
from k3s_daas.envelope import ResponseEnvelope
from k3s_daas.ids import request_id_text
from tests.chaos.tally import Tally
from tests.integration.listener_stage import ADMIN_TOKEN, Asked, Stage

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
_JSON = (("Accept", "application/json"), ("Content-Type", "application/json"))
_MERGE = (("Accept", "application/json"), ("Content-Type", "application/merge-patch+json"))
_CREATED, _OK = 201, 200
NOTHING_RUN = frozenset({429, 503, 504})
"""Statuses that tell the caller to try again, because nothing was run."""
READ_FAILED = NOTHING_RUN | {502}
KINDS = 6
"""Of mutations; with reads there is one more."""


@dataclass(frozen=True)
class Wanted:
    """A command, and the status with which it succeeds."""

    method: str
    path: str
    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = _JSON

    @property
    def is_read(self) -> bool:
        return self.method == "GET"


@dataclass
class Sent:
    """A command on chain; no answer if none came."""

    wanted: Wanted
    asked: Asked
    answer: ResponseEnvelope | None = None

    @property
    def message(self) -> str:
        assert self.answer is not None
        return str(json.loads(self.answer.body).get("message"))


class Commands:
    """The n-th command creates, by a name or by a generated one, replaces, patches or deletes."""

    def __init__(self, chain: Stage, name: str, count: int, *, kinds: int = KINDS) -> None:
        self.name = name
        self._kinds = kinds
        self._chain = chain
        self._left = [self._command(n) for n in range(count)]
        self._left.reverse()
        self.sent: list[Sent] = []
        # The log of the whole run is needed, however long.
        log = chain.cluster.audit
        log.entries = type(log.entries)(log.entries)
        existing = [f"old-{n}" for n in range(count) if n % kinds in (4, 5)]
        self._prepared = ["shared", *existing]

    @classmethod
    async def prepare(cls, chain: Stage, name: str, count: int, *, reads: bool = False) -> Commands:
        """With the objects that they are about. No listener must run yet."""
        made = cls(chain, name, count, kinds=KINDS + reads)
        await asyncio.to_thread(made._create)
        return made

    def _create(self) -> None:
        admin = InProcessClient(self._chain.cluster, ADMIN_TOKEN)
        for name in self._prepared:
            config_map = self._map(name=f"{self.name}-{name}")
            assert admin.request("POST", CONFIG_MAPS, config_map).status == _CREATED

    async def send(self, count: int = 1, *, start_within_ms: int = 20_000) -> None:
        """Puts the next ones on chain, one after the other."""
        for _ in range(count):
            one = self._left.pop()
            asked = await self._chain.submit(
                one.method,
                one.path,
                body=one.body,
                headers=one.headers,
                start_within_ms=start_within_ms,
            )
            self.sent.append(Sent(one, asked))

    @contextmanager
    def at_step(self, number: int, act: Callable[[], object]) -> Iterator[None]:
        """Calls `act` when the API server has stored so many claims or objects of these commands, before
        anybody is told. In the API server's thread.
        """
        seen = 0

        def follow(change: Change) -> None:
            nonlocal seen
            seen += change.object["metadata"]["name"].startswith(("daas-claim-", f"{self.name}-"))
            if seen == number:
                act()

        forget = self._chain.cluster.store.subscribe(follow)
        try:
            yield
        finally:
            forget()

    async def collect(self, seconds: float) -> None:
        """As the function does."""
        await collect(self._chain, self.sent, seconds)

    def judge(self, tally: Tally) -> None:
        """Counts all commands, and says which ones fared as none may."""
        runs = executions(self._chain)
        for one in self.sent:
            judge(one, runs[one.asked.request_id], tally)
        self._judge_objects(runs, tally)

    def _judge_objects(self, runs: Mapping[bytes, int], tally: Tally) -> None:
        creates = [one for one in self.sent if one.wanted.status == _CREATED]
        deletes = [one for one in self.sent if one.wanted.method == "DELETE"]
        run = [sum(runs[one.asked.request_id] for one in kind) for kind in (creates, deletes)]
        expected = len(self._prepared) + run[0] - run[1]
        found = [
            one
            for one in self._chain.cluster.store.objects(("", "configmaps"))
            if one["metadata"]["name"].startswith(f"{self.name}-")
        ]
        if len(found) != expected:
            tally.violated(f"{len(found)} objects are there, and {expected} should be")
        made: dict[str, list[str]] = defaultdict(list)
        for one in found:
            made[one.get("data", {}).get("made-by")].append(one["metadata"]["name"])
        for sent in creates:
            _judge_made(sent, made[json.loads(sent.wanted.body)["data"]["made-by"]], runs, tally)

    def _map(self, **metadata: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}

    def _command(self, n: int) -> Wanted:
        old = f"{self.name}-old-{n}"

        def body(**metadata: str) -> bytes:
            return json.dumps(self._map(**metadata) | {"data": {"made-by": str(n)}}).encode()

        match n % self._kinds:
            case 0 | 1:
                generated = body(generateName=f"{self.name}-any-")
                return Wanted("POST", CONFIG_MAPS, _CREATED, generated)
            case 2:
                return Wanted("POST", CONFIG_MAPS, _CREATED, body(name=f"{self.name}-new-{n}"))
            case 3:
                patch = json.dumps({"data": {str(n): "patched"}}).encode()
                return Wanted("PATCH", f"{CONFIG_MAPS}/{self.name}-shared", _OK, patch, _MERGE)
            case 4:
                return Wanted("PUT", f"{CONFIG_MAPS}/{old}", _OK, body(name=old))
            case 6:
                return Wanted("GET", f"{CONFIG_MAPS}/{self.name}-shared", _OK)
            case _:
                return Wanted("DELETE", f"{CONFIG_MAPS}/{old}", _OK)


async def collect(chain: Stage, sent: Sequence[Sent], seconds: float) -> None:
    """Waits for the answers that are not there yet, so long at most for all of them.

    One after the other: the chain, which is asked again and again, is in this process.
    """
    clock = asyncio.get_running_loop()
    deadline = clock.time() + seconds
    for one in sent:
        if one.answer is None:
            with suppress(TimeoutError):
                one.answer = await chain.answer(one.asked, max(0.5, deadline - clock.time()))


def judge(one: Sent, runs: int, tally: Tally) -> None:
    """Counts one command by its answer, and by how often it was run."""
    tally.commands += 1
    about = f"{one.wanted.method} {one.wanted.path} ({request_id_text(one.asked.request_id)})"
    if runs > 1 and not one.wanted.is_read:
        tally.doubled += 1
        tally.violated(f"{about} was run {runs} times")
    if one.answer is None:
        tally.lost += 1
        tally.violated(f"{about} was not answered, and run {runs} times")
    elif one.answer.status == one.wanted.status:
        tally.executed_once += runs == 1 or (one.wanted.is_read and runs > 1)
        if runs == 0:
            tally.violated(f"{about} was answered {one.answer.status}, and not run")
    elif one.answer.status == 500 and "outcome unknown" in one.message:
        tally.unknown += 1
    elif one.answer.status == 502 and "the command was run" in one.message:
        # Its caller knows that it was run, and not how it went.
        tally.refused[502] += 1
        if runs != 1:
            tally.violated(f"{about} was answered {one.message}, and run {runs} times")
    elif one.answer.status in (READ_FAILED if one.wanted.is_read else NOTHING_RUN):
        tally.refused[one.answer.status] += 1
        if runs and not one.wanted.is_read:
            tally.violated(f"{about} was answered {one.answer.status} ({one.message}), and run")
    else:
        tally.violated(f"{about} was answered {one.answer.status}: {one.message}; it was run {runs} times")


def _judge_made(sent: Sent, names: Sequence[str], runs: Mapping[bytes, int], tally: Tally) -> None:
    """What a create made, by the objects themselves."""
    asked = sent.asked.request_id
    if len(names) != runs[asked]:
        tally.violated(f"{request_id_text(asked)} made {len(names)} objects, and was run {runs[asked]} times")
    if sent.answer is not None and sent.answer.status == _CREATED:
        told = json.loads(sent.answer.body)["metadata"]["name"]
        if told not in names:
            tally.violated(f"{request_id_text(asked)} is said to have made {told}, which is not there")


def executions(chain: Stage) -> Counter[bytes]:
    """How often each request was run, by the API server's audit log."""
    found: Counter[bytes] = Counter()
    for entry in list(chain.cluster.audit.entries):
        user = entry.get("impersonatedUser")
        if isinstance(user, dict):
            found.update(bytes.fromhex(text) for text in user["extra"].get("daas.io/request-id", ()))
    return found
