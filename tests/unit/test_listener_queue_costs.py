"""What waiting costs, measured: the queue's bound is only as good as the sizes that it counts with."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from dataclasses import replace
from typing import cast

from k3s_daas.contract.events import ApiRequested
from k3s_daas.sui.ledger import ChainEvent
from listener_service.confirmation import Confirmation
from listener_service.event_source import SourcedEvent
from listener_service.queue.core import Queue
from listener_service.queue.dispatcher import Dispatcher
from listener_service.queue.ticket import places, ticket_of
from listener_service.verification import Verifier
from tests.unit.listener_world import FrozenClock, World
from tests.unit.running_listener import unpressed

COMMANDS = 2_000
UNCONFIRMED = 500


def test_what_waits_takes_no_more_memory_than_is_counted() -> None:
    _, event = World().command("PATCH", "/apis/apps/v1/namespaces/default/deployments/web")
    queue = Queue(places(4), 1 << 30)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(COMMANDS):
            sourced = SourcedEvent(_copy(event), replayed=False)
            queue.put(ticket_of(sourced, ApiRequested.decode(sourced.event.contents), lambda _: 0))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert queue.waiting == COMMANDS
    assert 0.7 * queue.used_bytes < taken <= queue.used_bytes


class _Unknown:
    """Of the verifier only what is asked of it here: a look that takes a moment and finds nothing."""

    async def is_shown(self, event: ChainEvent) -> bool:
        await asyncio.sleep(0.001)
        return False


async def test_what_is_unconfirmed_takes_no_more_memory_than_is_counted() -> None:
    _, event = World().command("PATCH", "/apis/apps/v1/namespaces/default/deployments/web")
    queue = Queue(places(4), 1 << 30)
    dispatcher = Dispatcher(queue, unpressed(), FrozenClock(), lambda ticket: None)
    confirmation = Confirmation(
        cast(Verifier, _Unknown()), dispatcher, FrozenClock(), lambda event, error: None
    )
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(UNCONFIRMED):
            sourced = SourcedEvent(_copy(event), replayed=False)
            ticket = ticket_of(sourced, ApiRequested.decode(sourced.event.contents), lambda _: 0)
            confirmation.wait_for(ticket)
        # Until all of them stand where they wait for their look.
        await asyncio.sleep(0.2)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(queue.unconfirmed) == UNCONFIRMED
    assert 0.7 * queue.used_bytes < taken <= queue.used_bytes
    await confirmation.close()


def _copy(event: ChainEvent) -> ChainEvent:
    """As another event from the wire: none of its bytes and texts are shared with any other."""
    return replace(
        event,
        package=bytes(bytearray(event.package)),
        sender=bytes(bytearray(event.sender)),
        contents=bytes(bytearray(event.contents)),
        module="".join(list(event.module)),
        type_tag="".join(list(event.type_tag)),
        transaction_digest="".join(list(event.transaction_digest)),
    )
