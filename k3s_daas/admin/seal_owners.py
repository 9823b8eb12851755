"""Who owns a live seal of a cluster: found in the chain's events, decided by the seals themselves.

No index lists the seals of a cluster, but each was staked by a transaction with the event `SealStaked`. The
events only tell which ids to look at, so a forged one does nothing; owner, expiry and revocation come from
the seal object as k of n endpoints confirm it. So that no single endpoint can hide a seal, the events are
read from all, and one honest one more than can lie must have answered.

What was read so far is kept as `SealHistory`, because endpoints prune: the history is complete if it begins
with the cluster's own creation, or follows one that was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from k3s_daas.contract.events import CLUSTER_CREATED, SEAL_STAKED, event_type, first_ids, is_event
from k3s_daas.contract.objects import ClusterState, SealState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import ConfigurationError, LedgerError, WireFormatError
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import ChainEvent, EventFilter, ForgedReplyError, Ledger

# Objects asked for in one call; endpoints take 50 at least.
_BATCH = 50


@dataclass(frozen=True, slots=True)
class SealHistory:
    """Ids of seals (32 bytes) that may be live, from the first up to the checkpoint `until`, inclusive."""

    seals: frozenset[bytes]
    until: int


@dataclass(frozen=True, slots=True)
class SealOwners:
    """The owners' addresses (32 bytes), and the history that they were found by: live seals only."""

    owners: frozenset[bytes]
    history: SealHistory


async def find_owners(
    reader: ContractReader,
    sources: Sequence[Ledger],
    needed: int,
    roots: TrustRoots,
    cluster: ClusterState,
    *,
    known: SealHistory | None,
    now_ms: int,
) -> SealOwners:
    """The owners of seals of `cluster` that are neither revoked nor expired and whose role exists.

    `needed` of the `sources` must deliver the events that follow `known`.
    Raises `ConfigurationError` if they have pruned them, `LedgerError`.
    """
    history = await _read_history(sources, needed, roots, known)
    live = [seal for seal in await _seals(reader, history.seals) if _is_live(seal, cluster, now_ms)]
    return SealOwners(
        frozenset(seal.owner for seal in live),
        SealHistory(frozenset(seal.ref.id for seal in live), history.until),
    )


async def _read_history(
    sources: Sequence[Ledger], needed: int, roots: TrustRoots, known: SealHistory | None
) -> SealHistory:
    results = await asyncio.gather(
        *(_read_one(source, roots, known) for source in sources), return_exceptions=True
    )
    for result in results:
        # A defect, or an interruption: nothing that another endpoint could make up for.
        if isinstance(result, BaseException) and not isinstance(result, LedgerError | ConfigurationError):
            raise result
    found = [result for result in results if isinstance(result, SealHistory)]
    if len(found) < needed:
        failed = next(result for result in results if isinstance(result, BaseException))
        raise failed
    # As far as `needed` of them have read: one of these is honest. The rest is read again next time.
    until = sorted((one.until for one in found), reverse=True)[needed - 1]
    return SealHistory(frozenset().union(*(one.seals for one in found)), until)


async def _read_one(source: Ledger, roots: TrustRoots, known: SealHistory | None) -> SealHistory:
    info = await source.service_info()
    if info.chain_id != roots.chain_id:
        raise ConfigurationError(
            f"the endpoint is on chain {info.chain_id}, but the deployment is on {roots.chain_id}"
        )
    start = 0 if known is None else known.until + 1
    if known is not None and start < info.lowest_available_checkpoint:
        raise _pruned(f"checkpoint {start}", info.lowest_available_checkpoint)
    seals = set(known.seals if known else ())
    complete, until = known is not None, start - 1
    wanted = EventFilter(
        (event_type(roots.package_original, SEAL_STAKED), event_type(roots.package_original, CLUSTER_CREATED))
    )
    async with aclosing(source.list_events(wanted, start)) as pages:
        async for page in pages:
            until = until if page.checkpoint is None else page.checkpoint
            try:
                complete |= any(_creates(event, roots) for event in page.events)
                seals.update(seal for event in page.events for seal in _staked(event, roots))
            except WireFormatError as error:
                raise ForgedReplyError(f"the endpoint sent an event that does not decode: {error}") from error
    if not complete:
        raise _pruned("the cluster's creation", info.lowest_available_checkpoint)
    return SealHistory(frozenset(seals), until)


def _creates(event: ChainEvent, roots: TrustRoots) -> bool:
    """Whether it is the creation of the pinned cluster."""
    return is_event(event, roots.package_original, CLUSTER_CREATED) and first_ids(event.contents, 1) == [
        roots.cluster
    ]


def _staked(event: ChainEvent, roots: TrustRoots) -> list[bytes]:
    """The seal that was staked for in the pinned cluster, or none."""
    if not is_event(event, roots.package_original, SEAL_STAKED):
        return []
    cluster, seal = first_ids(event.contents, 2)
    return [seal] if cluster == roots.cluster else []


def _pruned(what: str, lowest: int) -> ConfigurationError:
    return ConfigurationError(
        f"the Sui endpoint does not have the events from {what} on (its history begins at checkpoint "
        f"{lowest}), so seals would be missed: name an endpoint with the whole history this once"
    )


async def _seals(reader: ContractReader, ids: Iterable[bytes]) -> list[SealState]:
    ordered = sorted(ids)
    found: list[SealState] = []
    for first in range(0, len(ordered), _BATCH):
        states = await reader.seals(ordered[first : first + _BATCH])
        found += [state for state in states if state is not None]
    return found


def _is_live(seal: SealState, cluster: ClusterState, now_ms: int) -> bool:
    return (
        seal.cluster == cluster.ref.id
        and not seal.revoked
        and now_ms < seal.expires_at_ms
        and seal.role in cluster.roles
    )
