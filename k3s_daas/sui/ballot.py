"""What several endpoints state about one thing, and what enough of them confirm. Pure: no I/O, no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """One endpoint's word about one thing.

    `rank` orders what is older and newer (an object's version, say). Two statements confirm each other if
    rank and `key` are equal. `value` is what is handed on. One that is not `countable` says only "not known
    yet".
    """

    rank: int
    key: object
    value: object
    countable: bool = True

    def confirms(self, other: Statement) -> bool:
        """Whether both say the same."""
        return self.countable and self.rank == other.rank and self.key == other.key


class Ballot:
    """Statements of members, by number. A member that is asked again may state something newer.

    What a member stated before still counts: it was its word at a moment of this very reading.
    """

    def __init__(self, quorum: int) -> None:
        self._quorum = quorum
        self._stated: defaultdict[int, list[Statement]] = defaultdict(list)

    def state(self, member: int, statement: Statement) -> None:
        """Takes a member's word."""
        if statement not in self._stated[member]:
            self._stated[member].append(statement)

    def confirmed(self) -> Statement | None:
        """The highest-ranked statement that the quorum makes. Of one rank at most one can have an honest
        voice."""
        candidates = (statement for stated in self._stated.values() for statement in stated)
        found = [one for one in candidates if self._supporters(one) >= self._quorum]
        return max(found, key=lambda one: one.rank, default=None)

    def newest(self, members: Iterable[int]) -> int | None:
        """The highest rank that one of these members states."""
        ranks = [self._newest_of(member) for member in members]
        return max((rank for rank in ranks if rank is not None), default=None)

    def is_behind(self, member: int, rank: int) -> bool:
        """Whether the member has answered, and states nothing of this rank or above."""
        newest = self._newest_of(member)
        return newest is not None and newest < rank

    def contradicts(self, member: int, verdict: Statement) -> bool:
        """Whether the member stated something else at the verdict's rank: an endpoint cannot err so."""
        return any(
            one.rank == verdict.rank and one.countable and not one.confirms(verdict)
            for one in self._stated[member]
        )

    def _newest_of(self, member: int) -> int | None:
        return max((one.rank for one in self._stated.get(member, ())), default=None)

    def _supporters(self, statement: Statement) -> int:
        return sum(any(one.confirms(statement) for one in stated) for stated in self._stated.values())
