"""JSON-RPC 2.0 with one subscription, over a wire: one call at a time, notifications kept meanwhile.

Nothing runs in the background. Whoever asks for nothing reads nothing, and so stops the other side.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.sui.ledger import ForgedReplyError
from listener_service.clock import Clock
from listener_service.event_source.wire import Wire

# What the other side may push while one call is answered. Beyond it, it does not mean to answer.
_MAX_KEPT = 4_096
_QUOTED_CHARS = 200


class CallRefusedError(LedgerUnavailableError):
    """The endpoint answered a call with a JSON-RPC error. Asking the same again brings the same, unless
    `transient`.
    """

    # Internal error, server busy, limit exceeded, Sui's own "transient".
    _TRANSIENT = (-32603, -32009, -32005, -32050)

    def __init__(self, method: str, code: object, message: object) -> None:
        super().__init__(f"the endpoint refuses {method}: {str(message)[:_QUOTED_CHARS]} ({code})")
        self.transient = code in self._TRANSIENT


@dataclass(slots=True)
class JsonRpc:
    """A conversation over one wire. `timeout_s` bounds every call; notifications may be awaited for ever.

    Raises `LedgerUnavailableError` for every failure, `ForgedReplyError` for what makes no sense.
    """

    wire: Wire
    clock: Clock
    notification_method: str
    timeout_s: float = 10.0
    _calls: int = 0
    _kept: deque[Any] = field(default_factory=deque)
    _reading: asyncio.Task[str] | None = None

    async def call(self, method: str, *parameters: object) -> Any:
        """The result of a call. Raises `CallRefusedError` as well."""
        self._calls += 1
        request = {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": parameters}
        deadline_ms = self.clock.now_ms() + self.timeout_s * 1000
        await self.wire.send(json.dumps(request, separators=(",", ":")))
        while True:
            message = await self._message((deadline_ms - self.clock.now_ms()) / 1000)
            if message is None:
                raise LedgerUnavailableError(f"the endpoint did not answer {method} in {self.timeout_s:g} s")
            if "id" not in message:
                self._keep(message)
            elif "error" in message:
                error = message["error"] if isinstance(message["error"], dict) else {}
                raise CallRefusedError(method, error.get("code"), error.get("message"))
            elif message["id"] != self._calls or "result" not in message:
                raise ForgedReplyError("the endpoint answered something that it was not asked")
            else:
                return message["result"]

    def kept(self) -> list[Any]:
        """Notifications that came while calls were answered, in their order; each is returned once."""
        notifications = list(self._kept)
        self._kept.clear()
        return notifications

    async def notification(self, within_s: float) -> Any | None:
        """The next notification, or None if there is none for that long."""
        if not self._kept:
            message = await self._message(within_s)
            if message is None:
                return None
            self._keep(message)
        return self._kept.popleft()

    async def close(self) -> None:
        """Ends the connection."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self.wire.close()

    def _keep(self, message: dict[str, Any]) -> None:
        parameters = message.get("params")
        if message.get("method") != self.notification_method or not isinstance(parameters, dict):
            raise ForgedReplyError("the endpoint sent a message that is neither an answer nor a notification")
        if "result" not in parameters:
            raise LedgerUnavailableError(
                f"the endpoint ended the subscription: {str(parameters.get('error'))[:_QUOTED_CHARS]}"
            )
        if len(self._kept) >= _MAX_KEPT:
            raise ForgedReplyError("the endpoint pushes notifications instead of answering")
        self._kept.append(parameters["result"])

    async def _message(self, within_s: float) -> dict[str, Any] | None:
        """The next message, or None after `within_s`: then what is being read is not lost."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self.wire.receive())
        if not self._reading.done():
            timer = asyncio.ensure_future(self.clock.sleep(max(within_s, 0.0)))
            try:
                await asyncio.wait({self._reading, timer}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                timer.cancel()
        if not self._reading.done():
            return None
        reading, self._reading = self._reading, None
        return _parsed(reading.result())


def _parsed(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ForgedReplyError("the endpoint sent something that is not JSON") from error
    if not isinstance(message, dict):
        raise ForgedReplyError("the endpoint sent JSON that is no JSON-RPC message")
    return message
