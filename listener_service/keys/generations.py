"""Generations of the key that requests are sealed for, and what may become of them.

A generation is made, written down, announced on chain, and superseded by the next. It opens requests as long
as there can be any that are sealed for it and not answered; then it is erased::

    written ── announced ────────── successor is on chain ──┬─ SEALED_LATE_MS ──┬─ longest answer ─┤ erased
               sealed for it ───────────────────────────────┘ gateways that lag ┘ until answer_by

Which one is in force the chain says, nobody else. `number` is the one that the contract takes next when the
generation is made; it tells a generation that is still to be announced from one whose time has passed. (An
executor that is removed and added again begins with 1 again. So generations are known by their key ids, and
no rule here relies on numbers that grow.)
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from k3s_daas.errors import ConfigurationError

FORMAT_VERSION = 1
SEALED_LATE_MS = 5 * 60_000
"""How long after its successor is on chain a generation may still be sealed for. A gateway uses the state of
a second ago and its command must be accepted a minute after that; the rest is for endpoints that lag."""

MAX_GENERATIONS = 500
"""Kubernetes takes 1 MiB in a Secret; one generation is 0.7 KiB at most."""


@dataclass(frozen=True, slots=True)
class Generation:
    """`key_id` in hex; times in Unix ms. `longest_answer_ms` is the longest that the cluster allowed while
    requests were sealed for it: what was admitted before a policy was lowered is still to be answered.
    """

    key_id: str
    number: int
    created_ms: int
    wrapped: bytes = field(repr=False)
    superseded_ms: int | None = None
    longest_answer_ms: int = 0

    def may_be_needed(self, now_ms: int, longest_answer_ms: int) -> bool:
        """Whether something that is sealed for it may still have to be answered."""
        return self.superseded_ms is None or now_ms <= self.needed_until_ms(now_ms, longest_answer_ms)

    def needed_until_ms(self, now_ms: int, longest_answer_ms: int) -> int:
        """Until when, if it was superseded at the latest now."""
        superseded_ms = now_ms if self.superseded_ms is None else self.superseded_ms
        return superseded_ms + SEALED_LATE_MS + max(self.longest_answer_ms, longest_answer_ms)


@dataclass(frozen=True, slots=True)
class Announced:
    """What the chain shows of the executor: the number of its last announcement, and the key's id.

    `key_id` is empty if there is none, or none that its signing key signed.
    """

    number: int
    key_id: str


@dataclass(frozen=True, slots=True)
class Generations:
    """All that are written down, oldest first."""

    items: tuple[Generation, ...] = ()

    def in_force(self, announced: Announced) -> Generation | None:
        """The one that the chain shows."""
        return next((item for item in self.items if item.key_id == announced.key_id), None)

    def pending(self, announced: Announced) -> Generation | None:
        """The one that is still to be announced: written, and the chain has stood still since."""
        last = self.items[-1] if self.items else None
        if last is None or last.key_id == announced.key_id or last.superseded_ms is not None:
            return None
        return last if last.number == announced.number + 1 else None

    def tidied(self, announced: Announced, *, now_ms: int, earliest_ms: int, longest_ms: int) -> Generations:
        """Superseded ones marked, those that nobody needs any more left out.

        Nothing is marked while the chain shows no key of ours: then there is no successor.
        """
        if self.in_force(announced) is None:
            return self
        keep = {announced.key_id, *(item.key_id for item in (self.pending(announced),) if item is not None)}
        marked = (
            _in_use(item, longest_ms) if item.key_id in keep else _superseded(item, now_ms, longest_ms)
            for item in self.items
        )
        return Generations(
            tuple(
                item for item in marked if item.key_id in keep or item.may_be_needed(earliest_ms, longest_ms)
            )
        )

    def longest_answer_ms(self, allowed_ms: int) -> int:
        """The longest that anything still open may take, if the cluster now allows `allowed_ms`."""
        return max([allowed_ms, *(item.longest_answer_ms for item in self.items)])

    def with_new(self, generation: Generation) -> Generations:
        """Raises `ConfigurationError` if there are too many."""
        if len(self.items) >= MAX_GENERATIONS:
            raise ConfigurationError(
                f"{MAX_GENERATIONS} generations of the sealing key are still needed: rotate less often "
                "(DAAS_KEY_ROTATION_SECONDS)"
            )
        return Generations((*self.items, generation))


def _in_use(item: Generation, longest_ms: int) -> Generation:
    return replace(item, superseded_ms=None, longest_answer_ms=max(item.longest_answer_ms, longest_ms))


def _superseded(item: Generation, now_ms: int, longest_ms: int) -> Generation:
    if item.superseded_ms is not None:
        return item
    longest_ms = max(item.longest_answer_ms, longest_ms)
    return replace(item, superseded_ms=now_ms, longest_answer_ms=longest_ms)


def encode(generations: Generations) -> bytes:
    """As it is kept in the Secret: a JSON object, `{"version": 1, "generations": [{…}]}`."""
    return json.dumps(
        {"version": FORMAT_VERSION, "generations": [_encode(item) for item in generations.items]},
        separators=(",", ":"),
    ).encode()


def decode(content: bytes) -> Generations:
    """Raises `ConfigurationError` if it is not what `encode` writes; nothing of it is quoted."""
    try:
        document = json.loads(content)
        version, items = document["version"], document["generations"]
        if version == FORMAT_VERSION:
            return Generations(_unique(_decode(item) for item in items))
    except (KeyError, TypeError, ValueError):
        raise ConfigurationError(
            "the Secret with the sealing keys was altered: restore it, or remove its data, and the listener "
            "makes a new key"
        ) from None
    raise ConfigurationError(
        f"the Secret with the sealing keys has version {version}, and this listener knows {FORMAT_VERSION}"
    )


def _encode(item: Generation) -> dict[str, object]:
    return {
        "key_id": item.key_id,
        "number": item.number,
        "created_ms": item.created_ms,
        "wrapped": base64.b64encode(item.wrapped).decode(),
        "superseded_ms": item.superseded_ms,
        "longest_answer_ms": item.longest_answer_ms,
    }


def _decode(item: Mapping[str, object]) -> Generation:
    superseded = item["superseded_ms"]
    return Generation(
        key_id=bytes.fromhex(str(item["key_id"])).hex(),
        number=_whole(item["number"]),
        created_ms=_whole(item["created_ms"]),
        wrapped=base64.b64decode(str(item["wrapped"]), validate=True),
        superseded_ms=None if superseded is None else _whole(superseded),
        longest_answer_ms=_whole(item["longest_answer_ms"]),
    )


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a whole number")
    return value


def _unique(items: Iterable[Generation]) -> tuple[Generation, ...]:
    found: Sequence[Generation] = tuple(items)
    if len({item.key_id for item in found}) != len(found):
        raise ValueError("a generation comes twice")
    return tuple(found)
