"""What one port may be told to do wrong, at run time, so that tests can show what clients do then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError

Forgery = Mapping[str, Any] | Callable[[Any], None]
"""Dotted field -> false value (bytes as hex text), or a function that changes the message."""
FORGEABLE = frozenset({"event", "object", "effects", "transaction", "checkpoint", "service_info"})
ANY_METHOD = "*"


@dataclass(slots=True)
class Failing:
    """Answer with a gRPC status: ``times`` times (None: until told otherwise).

    ``after``: the work is done before the failure, so a transaction is executed and its sender does not know.
    """

    status: str = "UNAVAILABLE"
    message: str = "the node was told to fail"
    times: int | None = None
    after: bool = False


@dataclass(slots=True)
class Misbehaviour:
    """The settings of one port. Methods are named as in ``ListEvents``; ``*`` means all."""

    frozen: bool = False
    """Accept connections, read nothing, answer nothing: not even HTTP/2 pings."""
    away: bool = False
    """Hang up on whoever connects."""
    delay_ms: float = 0
    """Wait before every answer and every frame of a stream."""
    fail: dict[str, Failing] = field(default_factory=dict)
    drop_streams_after: int | None = None
    """Break every stream after so many frames."""
    duplicate_events: bool = False
    """Deliver every event twice."""
    reorder_events: bool = False
    """Push the events of a checkpoint to subscriptions backwards."""
    half_open: bool = False
    """Subscriptions bring nothing, and never will again; calls are answered."""
    withhold_events: bool = False
    """Deliver no event, only progress."""
    forge: dict[str, Forgery] = field(default_factory=dict)
    """Kind of message (see ``FORGEABLE``) -> what is changed in it."""
    lag: int = 0
    """Serve the chain as it was so many checkpoints ago."""
    index_lag: int = 0
    """Lists of events end so many checkpoints before the tip."""
    lowest_available_checkpoint: int = 0
    """Know nothing of the checkpoints before this one."""

    def update(self, changes: Mapping[str, Any]) -> None:
        """Change settings by name, as they come from JSON.

        Raises:
            ValueError: an unknown setting, gRPC status or kind of message.
        """
        names = {setting.name for setting in fields(self)}
        for name, value in changes.items():
            if name not in names:
                raise ValueError(f"there is no misbehaviour {name!r}; known are {', '.join(sorted(names))}")
            if name == "fail":
                self.fail = {method: _failing(how) for method, how in value.items()}
            elif name == "forge" and not FORGEABLE.issuperset(value):
                raise ValueError(f"forge knows {', '.join(sorted(FORGEABLE))}")
            else:
                setattr(self, name, value)

    async def hesitate(self) -> None:
        if self.delay_ms:
            await asyncio.sleep(self.delay_ms / 1000)

    async def deliver(self) -> None:
        """Before a frame of a subscription: never returns if it is half open."""
        if self.half_open:
            await asyncio.Event().wait()

    def failure(self, method: str, *, after: bool) -> GRPCError | None:
        """The error that this call of ``method`` shall get, if any."""
        key = method if method in self.fail else ANY_METHOD
        failing = self.fail.get(key)
        if failing is None or failing.after is not after:
            return None
        if failing.times is not None:
            failing.times -= 1
            if failing.times <= 0:
                del self.fail[key]
        return GRPCError(Status[failing.status], failing.message)

    def distort(self, kind: str, message: Any) -> None:
        """Forge a message in place."""
        forgery = self.forge.get(kind)
        if forgery is None or message is None:
            return
        if callable(forgery):
            forgery(message)
            return
        for path, value in forgery.items():
            _assign(message, path.split("."), value)


def _failing(how: Any) -> Failing:
    if isinstance(how, Failing):
        return how
    failing = Failing(how) if isinstance(how, str) else Failing(**how)
    if failing.status not in Status.__members__:
        raise ValueError(f"{failing.status!r} is no gRPC status")
    return failing


def _assign(message: Any, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        message = getattr(message, name)
        if message is None:
            return
    present = getattr(message, path[-1])
    if isinstance(present, bytes) and isinstance(value, str):
        value = bytes.fromhex(value)
    setattr(message, path[-1], value)
