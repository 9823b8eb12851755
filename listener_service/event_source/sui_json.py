"""Sui's JSON-RPC as far as events need it: the calls, and its JSON to the port's values.

Facts of the wire, from the source of the fullnodes that served it (`sui-json-rpc`; removed in 1.82):

- Text frames with one JSON-RPC 2.0 object each; batches are refused. A fullnode serves WebSocket at its
  JSON-RPC port if `jsonrpc-server-type` is `both` or `websocket`, else it answers 405.
- `suix_subscribeEvent [filter]` is answered with a subscription number. Then come notifications of that name
  with `params {subscription, result: event}`, pushed when the node executes a transaction, before any
  checkpoint has it and in no certain order. A node that cannot keep up sends `params {…, error}`, or stops
  without a word.
  A subscription starts at the tip and shows no progress while there are no events.
- `suix_queryEvents [filter, cursor or null, limit or null, descending]` is answered with `{data, nextCursor,
  hasNextPage}`: at most 50 events, behind the cursor, which is the id of an event. The order is that in which
  *this node* indexed them. Another node has another order, and does not take a cursor of a transaction
  that it has not seen.
- An event: `id {txDigest: base58, eventSeq: decimal text}`, `packageId` and `transactionModule` (the function
  called at the top level), `sender`, `type`, `parsedJson`, `bcs` in base64 where `bcsEncoding` says so and in
  base58 where there is none (older nodes), `timestampMs` (decimal text: when the node ran it). No checkpoint.
- Filters: `MoveModule` names the package that emitted, which changes with every upgrade. `MoveEventModule`
  names the package and module that *defined* the event's type, which stays. There is no `And`.
- A cursor that is no event of the filter is taken as well, but then the first event behind it may be left
  out.
- `sui_getChainIdentifier`: the first four bytes of the genesis digest in hex. `sui_getCheckpoint [number]`:
  `{timestampMs, networkTotalTransactions, transactions: [digest…], …}`, an error if it is unknown or pruned.

Only `bcs` is read. `parsedJson` is the node's rendering of it, with conversions of its own.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.sui.digests import base58_bytes, digest_bytes
from k3s_daas.sui.ledger import ChainEvent, EventFilter, ForgedReplyError
from k3s_daas.sui.type_tags import parse_struct_tag
from listener_service.event_source.json_rpc import CallRefusedError, JsonRpc

SUBSCRIBE = "suix_subscribeEvent"
_PAGE = 50
_CHAIN_IDENTIFIER_BYTES = 4
# Base58 takes quadratic time to decode; the contract's events take some hundred bytes.
_MAX_BASE58_CHARS = 16_384
_LARGEST = 2**64 - 1

EventId = tuple[str, int]
"""Transaction digest and index in that transaction: a position, and at JSON-RPC a cursor too."""


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """An event, and when its node ran it (Unix ms; None if it does not say)."""

    event: ChainEvent
    timestamp_ms: int | None

    def is_before(self, moment_ms: int) -> bool:
        """Whether it is known to be older."""
        return self.timestamp_ms is not None and self.timestamp_ms < moment_ms


@dataclass(frozen=True, slots=True)
class QueriedPage:
    """A page of the node's index."""

    events: Sequence[TimedEvent]
    has_next: bool

    @property
    def last(self) -> EventId | None:
        """The cursor behind this page."""
        return self.events[-1].event.position if self.events else None


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What is needed of a checkpoint: its time, and the transactions of the chain up to its end."""

    timestamp_ms: int
    transactions_so_far: int
    last_transaction: str | None


class ModuleFilter:
    """An `EventFilter` in JSON-RPC's terms: one module at the endpoint, exact types here."""

    def __init__(self, event_filter: EventFilter) -> None:
        tags = [parse_struct_tag(text) for text in event_filter.types]
        modules = {(tag.address, tag.module) for tag in tags}
        if len(modules) != 1:
            raise ConfigurationError("events over JSON-RPC must all be of one module")
        address, module = modules.pop()
        self._types = frozenset(map(str, tags))
        self.json = {"MoveEventModule": {"package": to_hex(address), "module": module}}

    def wants(self, event: ChainEvent) -> bool:
        """Whether the event has one of the types asked for; a module has others as well."""
        return event.type_tag in self._types


class SuiJson:
    """The calls, typed. Raises what `JsonRpc` raises."""

    def __init__(self, rpc: JsonRpc, event_filter: ModuleFilter) -> None:
        self._rpc = rpc
        self._filter = event_filter.json

    async def serves(self, chain_id: str) -> bool:
        """Whether the node is of this chain (base58), as far as the four bytes that it tells show that."""
        told = await self._rpc.call("sui_getChainIdentifier")
        expected: str = digest_bytes(chain_id)[:_CHAIN_IDENTIFIER_BYTES].hex()
        return isinstance(told, str) and told.removeprefix("0x") == expected

    async def subscribe(self) -> None:
        """Asks for notifications from now on."""
        await self._rpc.call(SUBSCRIBE, self._filter)

    async def tip(self) -> int:
        """The last checkpoint of which the node has executed everything."""
        return _number(await self._rpc.call("sui_getLatestCheckpointSequenceNumber"), "the checkpoint")

    async def checkpoint(self, number: int) -> CheckpointFacts:
        """A checkpoint. `CallRefusedError` if the node does not have it."""
        found = await self._rpc.call("sui_getCheckpoint", str(number))
        digests = _field(found, "transactions")
        if not isinstance(digests, list):
            raise ForgedReplyError("the endpoint's checkpoint has no list of transactions")
        return CheckpointFacts(
            timestamp_ms=_number(_field(found, "timestampMs"), "a checkpoint's time"),
            transactions_so_far=_number(_field(found, "networkTotalTransactions"), "a transaction count"),
            last_transaction=str(digests[-1]) if digests else None,
        )

    async def has_indexed(self, transaction: str) -> bool:
        """Whether the index knows a transaction."""
        try:
            await self._rpc.call("suix_queryEvents", self._filter, _cursor((transaction, 0)), 1, False)
        except CallRefusedError as error:
            if error.transient:
                raise
            return False
        return True

    async def query(self, cursor: EventId | None, *, descending: bool = False) -> QueriedPage:
        """Events behind a cursor, None: from the first one, or from the last one if descending."""
        place = None if cursor is None else _cursor(cursor)
        page = await self._rpc.call("suix_queryEvents", self._filter, place, _PAGE, descending)
        data, has_next = _field(page, "data"), _field(page, "hasNextPage")
        if not isinstance(data, list) or len(data) > _PAGE or not isinstance(has_next, bool):
            raise ForgedReplyError("the endpoint's page of events is not one")
        events = [timed_event(value) for value in data]
        if has_next and (not events or events[-1].event.position == cursor):
            raise ForgedReplyError("the endpoint continues the event list without advancing it")
        return QueriedPage(events, has_next)


def timed_event(value: Any) -> TimedEvent:
    """A `SuiEvent`. Raises `ForgedReplyError`."""
    event_id, moment = _field(value, "id"), _field(value, "timestampMs", optional=True)
    try:
        event = ChainEvent(
            package=_address(_text(value, "packageId")),
            module=_text(value, "transactionModule"),
            type_tag=str(parse_struct_tag(_text(value, "type"))),
            sender=_address(_text(value, "sender")),
            contents=_contents(value),
            transaction_digest=_digest(_text(event_id, "txDigest")),
            event_index=_number(_field(event_id, "eventSeq"), "an event's index"),
        )
    except ValueError as error:
        raise ForgedReplyError(f"the endpoint sent an event that cannot be read: {error}") from error
    return TimedEvent(event, None if moment is None else _number(moment, "an event's time"))


def _cursor(event: EventId) -> dict[str, str]:
    return {"txDigest": event[0], "eventSeq": str(event[1])}


def _contents(value: Any) -> bytes:
    text, encoding = _text(value, "bcs"), _field(value, "bcsEncoding", optional=True)
    if encoding == "base64":
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"its contents are no base64 ({error})") from error
    if encoding not in (None, "base58"):
        raise ValueError("its contents are neither in base64 nor in base58")
    if len(text) > _MAX_BASE58_CHARS:
        raise ValueError("its contents are too large for base58")
    return base58_bytes(text)


def _field(value: Any, name: str, *, optional: bool = False) -> Any:
    found = value.get(name) if isinstance(value, dict) else None
    if found is None and not optional:
        raise ForgedReplyError(f"the endpoint's reply lacks {name}")
    return found


def _text(value: Any, name: str) -> str:
    found = _field(value, name)
    if not isinstance(found, str):
        raise ForgedReplyError(f"the endpoint's {name} is no text")
    return found


def _number(value: Any, name: str) -> int:
    """A u64, which JSON-RPC writes as decimal text."""
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(_LARGEST))) or int(text) > _LARGEST:
        raise ForgedReplyError(f"the endpoint's reply has {name} that is no number")
    return int(text)


def _digest(text: str) -> str:
    digest_bytes(text)
    return text


def _address(text: str) -> bytes:
    digits = text.removeprefix("0x")
    if not 0 < len(digits) <= 64 or not digits.isalnum():
        raise ValueError("it has an address that is none")
    return bytes.fromhex(digits.zfill(64))
