"""Runs what stays open, watches and followed logs, in places of its own, and decides when it is enough.

What a caller can rely on:

1. These calls take no thread and no place of the ordinary ones, however many there are.
2. There is a bound on all of them together and on those of one seal's owner; who comes beyond it is told to
   come again, and nothing is run for him.
3. No window is longer than `WindowRules.longest_s`, and none ends later than its caller can be answered,
   whatever the request says.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from k3s_daas.envelope import RequestEnvelope
from k3s_daas.ids import request_id_time_ms
from k3s_daas.long_running import bounded_watch, first_value, follows_log, is_true
from k3s_daas.status import StatusError
from listener_service.api_call import ApiCall, RawReply
from listener_service.api_server import ApiServer
from listener_service.clock import Clock
from listener_service.live_reply import Limits, LiveReply, UncutError
from listener_service.verification import VerifiedCommand
from listener_service.windows import Reader, Silences, Window, WindowRules

# From here on a reply is not worth waiting longer for; what follows comes with the next window.
ENOUGH_BYTES = 1024 * 1024
# Of the time from arrival to `start_by`: the rest is for the answer's way back.
_PART_FOR_WAITING = 5 / 6
_RETRY_AFTER_S = 2
# An API server ends a watch by itself some time after us, should nobody be there to cut it.
_GRACE_S = 8
# One holder's part of all places, whatever the number of his seals.
_SHARES = 4
_REMEMBERED_WATCHES = 4096


@dataclass(frozen=True, slots=True)
class _Opened:
    window: Window
    reader: Reader
    key: bytes
    opened_s: float
    enough_bytes: int | None


class OpenCalls:
    """At most `places` calls at a time. Used on one event loop; `end` may be called from anywhere."""

    def __init__(
        self,
        api_server: ApiServer,
        *,
        places: int,
        clock: Clock,
        rules: WindowRules | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api_server = api_server
        self._places = places
        self._clock = clock
        self._rules = rules or WindowRules()
        self._monotonic = monotonic
        self._threads = ThreadPoolExecutor(max_workers=places, thread_name_prefix="open-call")
        self._holders: Counter[bytes] = Counter()
        self._silences = Silences(_REMEMBERED_WATCHES)
        self._live: set[LiveReply] = set()

    async def run(self, command: VerifiedCommand, call: ApiCall, may_start: Callable[[], bool]) -> RawReply:
        """The reply up to the end of its window. Raises `ApiServerError`, and a 429 `StatusError` if there is
        no place."""
        holder = command.requested.requester
        share = max(1, self._places // _SHARES)
        if self._holders.total() >= self._places or self._holders[holder] >= share:
            raise StatusError(
                429,
                "TooManyRequests",
                "too many watches and followed logs are open at once: end some, or try again",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._holders[holder] += 1
        try:
            return await self._run(command, call, may_start)
        finally:
            self._holders[holder] -= 1
            if not self._holders[holder]:
                del self._holders[holder]

    def end(self) -> None:
        """Closes all windows: what there is so far is the reply."""
        for live in tuple(self._live):
            live.cut()

    def close(self) -> None:
        """Ends everything and lets nothing further start."""
        self.end()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def limit_s(self) -> int:
        """What the API server is told: it ends a watch by itself only if nobody cuts it."""
        return math.ceil(self._rules.longest_s) + _GRACE_S

    async def _run(self, command: VerifiedCommand, call: ApiCall, may_start: Callable[[], bool]) -> RawReply:
        opened = self._open(command)
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def tell(what: Callable[[float], None]) -> None:
            what(self._monotonic())
            news.set()

        live = LiveReply(
            lambda: _call(loop, tell, opened.window.began),
            lambda: _call(loop, tell, opened.window.saw_event),
            Limits(most=call.max_reply_bytes, enough=opened.enough_bytes),
        )
        self._live.add(live)
        reading = loop.run_in_executor(self._threads, self._api_server.send, call, may_start, live)
        reading.add_done_callback(lambda _: news.set())
        try:
            await self._wait(opened.window, reading, news)
            live.cut()
            reply = await reading
        except UncutError as error:
            raise StatusError(
                406, "NotAcceptable", f"{error}: ask for JSON (Accept: application/json)"
            ) from error
        finally:
            live.cut()
            self._live.discard(live)
        self._silences.closed(opened.key, silent=not opened.window.had_event)
        if live.was_cut_short and opened.reader is not Reader.INFORMER:
            warning = self._why(opened)
            return replace(reply, headers=(*reply.headers, ("Warning", f'299 - "{warning}"')))
        return reply

    async def _wait(self, window: Window, reading: asyncio.Future[RawReply], news: asyncio.Event) -> None:
        """Until the reply ended or its window closes."""
        while not reading.done():
            left_s = window.closes_at_s() - self._monotonic()
            if left_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await news.wait()
            news.clear()

    def _open(self, command: VerifiedCommand) -> _Opened:
        requested, query = command.requested, command.envelope.query
        now_s, now_ms = self._monotonic(), self._clock.now_ms()
        reader = _reader(command)
        key = watch_key(requested.seal, command.envelope)
        arrived_ms = min(now_ms, request_id_time_ms(requested.request_id))
        for_waiting_s = (requested.start_by_ms - arrived_ms) / 1000 * _PART_FOR_WAITING
        arrived_s = now_s - (now_ms - arrived_ms) / 1000
        begins_with_state = (first_value(query, "resourceVersion") or "0") == "0"
        return _Opened(
            Window(
                self._rules,
                reader,
                arrived_s=arrived_s,
                opened_s=now_s,
                # Who is late gets something all the same: his retry adopts it.
                end_s=max(arrived_s + for_waiting_s, now_s + self._rules.shortest_s),
                silent_before=self._silences.before(key),
                begins_with_state=begins_with_state,
            ),
            reader=reader,
            key=key,
            opened_s=now_s,
            # What a watch begins with comes in no order of versions: who has a part of it cannot go on.
            enough_bytes=None if begins_with_state and reader is not Reader.FOLLOWER else ENOUGH_BYTES,
        )

    def _why(self, opened: _Opened) -> str:
        """One line for a person. kubectl prints it on stderr, before the events that came with it."""
        lasted = f"{self._monotonic() - opened.opened_s:.0f} s"
        if opened.reader is Reader.FOLLOWER:
            now = datetime.fromtimestamp(self._clock.now_ms() // 1000, UTC)
            return (
                f"the log was followed for {lasted}: answers cross the chain in one piece. "
                f"To go on, add --since-time={now:%Y-%m-%dT%H:%M:%SZ}"
            )
        seen = "with what is below" if opened.window.had_event else "without a change"
        return (
            f"the watch ended after {lasted}, {seen}: answers cross the chain in one piece. "
            "To go on, run the command again"
        )


def _call(
    loop: asyncio.AbstractEventLoop,
    tell: Callable[[Callable[[float], None]], None],
    what: Callable[[float], None],
) -> None:
    # The loop of a listener that stops does not wait for its readers.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(tell, what)


def _reader(command: VerifiedCommand) -> Reader:
    if follows_log(command.attributes, command.envelope.query):
        return Reader.FOLLOWER
    return Reader.INFORMER if is_true(command.envelope.query, "allowWatchBookmarks") else Reader.ONLOOKER


def watch_key(seal: bytes, envelope: RequestEnvelope) -> bytes:
    """The same for the same holder and kubectl process, asking for the same from the same version on.

    Not across processes: in a quiet cluster the next `rollout status` asks for the same, and has its answer
    already.
    """
    session = next((value for name, value in envelope.headers if name == "Kubectl-Session"), "")
    text = "\n".join((session, envelope.path, bounded_watch(envelope.query, 1)))
    return hashlib.sha256(seal + text.encode()).digest()
