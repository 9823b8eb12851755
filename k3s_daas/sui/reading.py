"""One reading by quorum: all members are asked at once, and those that are behind again for a short while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.sui.ballot import Ballot, Statement
from k3s_daas.sui.ledger import Ledger
from k3s_daas.sui.quorum_members import Member

Statements = Sequence[Statement]
Question = Callable[[Ledger], Awaitable[Statements]]

_LONGEST_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a quorum waits, in seconds."""

    answer_s: float = 3.0
    """For one answer of one member."""

    agree_s: float = 3.0
    """For the quorum to say the same: endpoints lag behind each other by less than a second or two."""

    settle_s: float = 0.5
    """For something newer that one member claims already, once something older is confirmed."""

    pause_s: float = 0.02
    """Before a member that is behind is asked again; doubles up to 0.2 s."""

    execute_s: float = 4.0
    """For one member to execute, before the same bytes go to the next one."""

    confirm_s: float = 3.0
    """For the quorum to know what one member executed, before the same bytes go to the next one."""


class Reading:
    """`run` once. `things` is how many statements one answer has, `about` names it in logs and errors."""

    def __init__(
        self,
        members: Sequence[Member],
        quorum: int,
        question: Question,
        *,
        things: int,
        about: str,
        patience: Patience,
        stragglers: set[asyncio.Task[Statements]],
    ) -> None:
        self._members = members
        self._quorum = quorum
        self._question = question
        self._about = about
        self._patience = patience
        self._stragglers = stragglers
        self._ballots = [Ballot(quorum) for _ in range(things)]
        self._asking: dict[asyncio.Task[Statements], Member] = {}
        self._first: set[asyncio.Task[Statements]] = set()
        self._failures: dict[int, LedgerUnavailableError] = {}
        self._pauses: dict[int, float] = {}

    async def run(self, known: Mapping[int, Statements] | None = None) -> list[Statement]:
        """What the quorum confirms, at its newest. `known` are statements that members made already.

        Raises `LedgerUnavailableError`, which names the members, if there is no quorum in time.
        """
        known = known or {}
        for number, statements in known.items():
            self._state(number, statements)
        for member in self._members:
            if member.number not in known:
                self._first.add(self._ask(member, 0))
        try:
            verdict = await self._agree()
        except BaseException:
            for task in self._asking:
                task.cancel()
            raise
        self._leave(verdict)
        return verdict

    async def _agree(self) -> list[Statement]:
        now = asyncio.get_running_loop().time
        give_up_s, settle_until_s = now() + self._patience.agree_s, None
        while True:
            confirmed = [ballot.confirmed() for ballot in self._ballots]
            verdict = [one for one in confirmed if one is not None]
            until_s = give_up_s
            if len(verdict) == len(confirmed):
                if not self._claimed_beyond(verdict) or not self._asking:
                    return verdict
                if settle_until_s is None:
                    settle_until_s = now() + self._patience.settle_s
                until_s = settle_until_s
            if now() >= until_s or not self._asking:
                if len(verdict) == len(confirmed):
                    self._blame(self._claimed_beyond(verdict))
                    return verdict
                raise self._no_quorum(confirmed)
            done, _ = await asyncio.wait(
                self._asking, timeout=until_s - now(), return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                self._take(task)
            self._ask_again()

    def _ask(self, member: Member, pause_s: float) -> asyncio.Task[Statements]:
        async def ask() -> Statements:
            if pause_s:
                await asyncio.sleep(pause_s)
            return await member.ask(self._question, self._patience.answer_s, self._about)

        task = asyncio.create_task(ask())
        task.add_done_callback(_look_at)
        self._asking[task] = member
        return task

    def _take(self, task: asyncio.Task[Statements]) -> None:
        member = self._asking.pop(task)
        try:
            self._state(member.number, task.result())
        except LedgerUnavailableError as error:
            # Not asked again in this reading: whoever reads asks again anyway.
            self._failures[member.number] = error

    def _state(self, number: int, statements: Statements) -> None:
        for ballot, statement in zip(self._ballots, statements, strict=True):
            ballot.state(number, statement)

    def _ask_again(self) -> None:
        """Those that are behind and not being asked; once something is confirmed, for trusted claims only."""
        busy = {member.number for member in self._asking.values()}
        idle = [m for m in self._members if m.number not in busy and m.number not in self._failures]
        goals = [self._goal(ballot) for ballot in self._ballots]
        for member in idle:
            if any(
                goal is not None and ballot.is_behind(member.number, goal)
                for ballot, goal in zip(self._ballots, goals, strict=True)
            ):
                pause_s = self._pauses.get(member.number, self._patience.pause_s)
                self._pauses[member.number] = min(2 * pause_s, _LONGEST_PAUSE_S)
                self._ask(member, pause_s)

    def _goal(self, ballot: Ballot) -> int | None:
        confirmed = ballot.confirmed() is not None
        return ballot.newest(m.number for m in self._members if m.trusted or not confirmed)

    def _claimed_beyond(self, verdict: Sequence[Statement]) -> list[Member]:
        """Trusted members that claim something newer than what is confirmed."""
        return [
            member
            for member in self._members
            if member.trusted
            and any(
                (ballot.newest([member.number]) or 0) > one.rank
                for ballot, one in zip(self._ballots, verdict, strict=True)
            )
        ]

    def _leave(self, verdict: Sequence[Statement]) -> None:
        """Counts who dissented; who has not answered yet is heard to the end, and counted then."""
        answered = {m.number for m in self._members} - {m.number for m in self._asking.values()}
        for member in self._members:
            if member.number in answered and member.number not in self._failures:
                self._judge(member, verdict)
        for task, member in self._asking.items():
            if task not in self._first:
                task.cancel()
                self._judge(member, verdict)
                continue
            self._stragglers.add(task)
            task.add_done_callback(self._hear(member, verdict))

    def _hear(
        self, member: Member, verdict: Sequence[Statement]
    ) -> Callable[[asyncio.Task[Statements]], None]:
        def hear(task: asyncio.Task[Statements]) -> None:
            self._stragglers.discard(task)
            if not task.cancelled() and task.exception() is None:
                self._state(member.number, task.result())
                self._judge(member, verdict)

        return hear

    def _judge(self, member: Member, verdict: Sequence[Statement]) -> None:
        for ballot, one in zip(self._ballots, verdict, strict=True):
            if ballot.contradicts(member.number, one):
                member.dissent("contradicting", self._about)
            elif ballot.is_behind(member.number, one.rank):
                member.dissent("behind", self._about)

    def _blame(self, members: Sequence[Member]) -> None:
        for member in members:
            member.dissent("unconfirmed", self._about)

    def _no_quorum(self, confirmed: Sequence[Statement | None]) -> LedgerUnavailableError:
        missing = [ballot for ballot, one in zip(self._ballots, confirmed, strict=True) if one is None]
        words = []
        for member in self._members:
            failure = self._failures.get(member.number)
            newest = missing[0].newest([member.number])
            if failure is not None:
                words.append(str(failure))
            elif newest is None:
                words.append(f"{member}: no answer")
            else:
                words.append(
                    f"{member}: says something else" if newest > 0 else f"{member}: does not know it"
                )
        if len(self._members) - len(self._failures) >= self._quorum:
            # They answered and do not agree: somebody is wrong, and it may be the one that claims most.
            self._blame([m for m in self._members if self._is_alone(m, missing[0])])
        return LedgerUnavailableError(
            f"fewer than {self._quorum} of {len(self._members)} Sui endpoints agree on {self._about} "
            f"({'; '.join(words)})"
        )

    def _is_alone(self, member: Member, ballot: Ballot) -> bool:
        newest = ballot.newest([member.number])
        others = [ballot.newest([m.number]) for m in self._members if m is not member]
        below = [rank for rank in others if rank is not None and newest is not None and rank < newest]
        return len(below) >= self._quorum


def _look_at(task: asyncio.Task[Statements]) -> None:
    """Looks at an abandoned task's exception, so that asyncio does not report it as forgotten."""
    if not task.cancelled():
        task.exception()
