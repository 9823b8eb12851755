"""What waiting costs, measured: the queue's bound is only as good as the sizes that it counts with."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace

from k3s_daas.contract.events import ApiRequested
from k3s_daas.sui.ledger import ChainEvent
from listener_service.event_source import SourcedEvent
from listener_service.queue.core import Queue
from listener_service.queue.ticket import places, ticket_of
from tests.unit.listener_world import World

COMMANDS = 2_000


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
