"""Commands so old that nothing of them should be on chain, whoever submitted them: from the chain's events.

The gateway's table has its own commands only. What another gateway left that is no more, or a table that was
lost, is found here: the events of accepted commands are heard in their order, at the distance at which every
request is due, plus a day in which its own gateway may reclaim it.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import NamedTuple

from chalicelib.leftovers import Leftover
from k3s_daas.contract.events import API_REQUEST, ApiRequested, event_type
from k3s_daas.contract.reader import ContractReader
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import EventFilter, Ledger

GRACE_MS = 24 * 60 * 60 * 1000
# Of events, in one run; the next run goes on.
MOST_PAGES = 5


class Heard(NamedTuple):
    """Old commands of this cluster, and the checkpoint to go on with."""

    commands: list[Leftover]
    checkpoint: int


async def old_commands(
    ledger: Ledger, reader: ContractReader, roots: TrustRoots, checkpoint: int, *, chain_ms: int, lowest: int
) -> Heard:
    """What was accepted from `checkpoint` on and is old enough at `chain_ms`. Raises LedgerError.

    An endpoint that has no events before `lowest` is heard from there: what is older is nobody's to find.
    """
    policy = (await reader.cluster()).policy
    horizon_ms = chain_ms - policy.max_answer_ms - policy.max_ttl_ms - GRACE_MS
    wanted = EventFilter((event_type(roots.package_original, API_REQUEST),))
    heard = Heard([], max(checkpoint, lowest))
    pages = 0
    async with aclosing(ledger.list_events(wanted, heard.checkpoint)) as listed:
        async for page in listed:
            for event in page.events:
                asked = ApiRequested.decode(event.contents)
                if asked.accepted_at_ms > horizon_ms:
                    return heard
                if asked.cluster == roots.cluster:
                    heard.commands.append(Leftover(asked.seal, asked.request_id))
                heard = heard._replace(checkpoint=event.checkpoint or heard.checkpoint)
            if page.checkpoint is not None:
                heard = heard._replace(checkpoint=max(heard.checkpoint, page.checkpoint + 1))
            pages += 1
            if pages == MOST_PAGES:
                break
    return heard
