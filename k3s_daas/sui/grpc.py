"""The Ledger port over Sui's gRPC API (`sui.rpc.v2`): pysui's generated stubs on a grpclib channel of our
own.

pysui's own client is not used: it insists on TLS and on a configuration file with a private key.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from grpclib.client import Channel
from grpclib.const import Status

from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.ids import to_hex
from k3s_daas.sui import grpc_messages as messages
from k3s_daas.sui.digests import transaction_digest
from k3s_daas.sui.generated import v2
from k3s_daas.sui.grpc_channel import GrpcConnection, Keepalive, StatusReplyError
from k3s_daas.sui.ledger import (
    ChainObject,
    ChainPackage,
    ChainTransaction,
    EpochInfo,
    EventFilter,
    EventFrame,
    EventPage,
    ExecutionOutcome,
    ForgedReplyError,
    ServiceInfo,
    SignedTransaction,
)
from k3s_daas.sui.refusals import refusal

T = TypeVar("T")

_SUI_COIN_TYPE = f"{to_hex((2).to_bytes(32, 'big'))}::sui::SUI"
# Events and objects per request: bounds what one page holds in memory.
_EVENTS_PER_PAGE = 200
_OBJECTS_PER_PAGE = 200
_EXHAUSTED = (
    v2.QueryEndReason.CHECKPOINT_BOUND,
    v2.QueryEndReason.CURSOR_BOUND,
    v2.QueryEndReason.LEDGER_TIP,
)
_CONTINUED = (v2.QueryEndReason.ITEM_LIMIT, v2.QueryEndReason.SCAN_LIMIT)


class GrpcLedger:
    """A `Ledger` at one endpoint: `http://host:port` (plaintext HTTP/2) or `https://host[:port]`.

    One connection, used from one event loop. `tls` replaces the default context (the system's trust store);
    it must verify certificates. Timeouts in seconds: `timeout_s` for reads, `execute_timeout_s` for `execute`
    and `simulate`, `idle_timeout_s` between two frames of a stream. Raises `ConfigurationError` for a bad
    URL.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        keepalive: Keepalive | None = None,
        timeout_s: float = 10.0,
        execute_timeout_s: float = 20.0,
        idle_timeout_s: float = 30.0,
    ) -> None:
        self._connection = GrpcConnection(url, tls=tls, keepalive=keepalive or Keepalive())
        self._timeout_s = timeout_s
        self._execute_timeout_s = execute_timeout_s
        self._idle_timeout_s = idle_timeout_s

    def __str__(self) -> str:
        return str(self._connection)

    async def service_info(self) -> ServiceInfo:
        info = await self._read(lambda channel: v2.LedgerServiceStub(channel).get_service_info())
        moment = messages.required(info.timestamp, "the endpoint's timestamp")
        return ServiceInfo(
            chain_id=messages.digest(info.chain_id, "the chain id"),
            epoch=messages.required(info.epoch, "the epoch"),
            checkpoint=messages.required(info.checkpoint_height, "the checkpoint"),
            lowest_available_checkpoint=info.lowest_available_checkpoint or 0,
            timestamp_ms=messages.milliseconds(moment),
        )

    async def epoch(self) -> EpochInfo:
        request = v2.GetEpochRequest(read_mask=messages.field_mask(("epoch", "reference_gas_price")))
        reply = await self._read(lambda channel: v2.LedgerServiceStub(channel).get_epoch(request))
        found = messages.required(reply.epoch, "the epoch")
        return EpochInfo(
            messages.required(found.epoch, "the epoch"),
            messages.required(found.reference_gas_price, "the reference gas price"),
        )

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        request = v2.GetObjectRequest(
            object_id=to_hex(object_id), read_mask=messages.field_mask(messages.OBJECT_FIELDS)
        )
        reply = await self._find(lambda channel: v2.LedgerServiceStub(channel).get_object(request))
        return None if reply is None else _checked_object(reply.object, object_id)

    async def get_objects(self, object_ids: Sequence[bytes]) -> list[ChainObject | None]:
        if not object_ids:
            return []
        request = v2.BatchGetObjectsRequest(
            requests=[v2.GetObjectRequest(object_id=to_hex(object_id)) for object_id in object_ids],
            read_mask=messages.field_mask(messages.OBJECT_FIELDS),
        )
        reply = await self._read(lambda channel: v2.LedgerServiceStub(channel).batch_get_objects(request))
        if len(reply.objects) != len(object_ids):
            raise ForgedReplyError(f"{len(object_ids)} objects were asked for, {len(reply.objects)} came")
        return [
            _object_result(result, object_id)
            for result, object_id in zip(reply.objects, object_ids, strict=True)
        ]

    async def get_transaction(self, digest: str) -> ChainTransaction | None:
        found = await self._executed(digest, messages.TRANSACTION_FIELDS)
        return None if found is None else messages.transaction(found, digest)

    async def get_signed_transaction(self, digest: str) -> SignedTransaction | None:
        found = await self._executed(digest, messages.SIGNED_TRANSACTION_FIELDS)
        return None if found is None else messages.signed_transaction(found, digest)

    async def execute(self, transaction: bytes, signature: bytes) -> ExecutionOutcome:
        request = v2.ExecuteTransactionRequest(
            transaction=v2.Transaction(bcs=v2.Bcs(value=transaction)),
            signatures=[v2.UserSignature(bcs=v2.Bcs(value=signature))],
            read_mask=messages.field_mask(messages.OUTCOME_FIELDS),
        )
        reply = await self._run(
            lambda channel: v2.TransactionExecutionServiceStub(channel).execute_transaction(request)
        )
        executed = messages.required(reply.transaction, "the transaction")
        return messages.outcome(executed, transaction_digest(transaction))

    async def simulate(self, transaction: bytes) -> ExecutionOutcome:
        request = v2.SimulateTransactionRequest(
            transaction=v2.Transaction(bcs=v2.Bcs(value=transaction)),
            read_mask=messages.field_mask(messages.OUTCOME_FIELDS, "transaction."),
        )
        reply = await self._run(
            lambda channel: v2.TransactionExecutionServiceStub(channel).simulate_transaction(request)
        )
        executed = messages.required(reply.transaction, "the transaction")
        return messages.outcome(executed, transaction_digest(transaction))

    async def balance(self, address: bytes) -> int:
        request = v2.GetBalanceRequest(owner=to_hex(address), coin_type=_SUI_COIN_TYPE)
        reply = await self._read(lambda channel: v2.StateServiceStub(channel).get_balance(request))
        # Zero amounts may be left out on the wire.
        return (reply.balance.address_balance or 0) if reply.balance else 0

    async def list_events(
        self,
        event_filter: EventFilter,
        start_checkpoint: int | None,
        end_checkpoint: int | None = None,
        after: bytes | None = None,
    ) -> AsyncGenerator[EventPage, None]:
        cursor = after
        while True:
            request = v2.ListEventsRequest(
                read_mask=messages.field_mask(messages.EVENT_FIELDS),
                start_checkpoint=start_checkpoint,
                end_checkpoint=end_checkpoint,
                filter=messages.filter_message(event_filter),
                options=v2.QueryOptions(after=cursor, limit=_EVENTS_PER_PAGE),
            )
            page = await self._event_page(request)
            yield page
            if page.last:
                return
            if page.cursor == cursor:
                raise ForgedReplyError("the endpoint continues the event list without advancing it")
            cursor = page.cursor

    async def subscribe_events(
        self, event_filter: EventFilter, *, idle_timeout_s: float | None = None
    ) -> AsyncGenerator[EventFrame, None]:
        request = v2.SubscribeEventsRequest(
            read_mask=messages.field_mask(messages.EVENT_FIELDS), filter=messages.filter_message(event_filter)
        )
        frames = self._connection.stream(
            lambda channel: v2.SubscriptionServiceStub(channel).subscribe_events(request),
            self._idle_timeout_s if idle_timeout_s is None else idle_timeout_s,
        )
        async with aclosing(frames):
            async for frame in frames:
                watermark = messages.required(frame.watermark, "the watermark")
                yield EventFrame(
                    event=messages.event(frame.event) if frame.event else None,
                    checkpoint=watermark.checkpoint,
                    cursor=bytes(messages.required(watermark.cursor, "the cursor")),
                )
        raise LedgerUnavailableError("the Sui endpoint ended the subscription: subscribe again")

    async def list_owned_objects(self, owner: bytes, object_type: str) -> list[ChainObject]:
        found: list[ChainObject] = []
        page_token: bytes | None = None
        while True:
            request = v2.ListOwnedObjectsRequest(
                owner=to_hex(owner),
                page_size=_OBJECTS_PER_PAGE,
                page_token=page_token,
                read_mask=messages.field_mask(messages.OBJECT_FIELDS),
                object_type=object_type,
            )
            reply = await self._read(_owned_objects_call(request))
            found.extend(messages.chain_object(item) for item in reply.objects)
            if not reply.next_page_token:
                return found
            if reply.next_page_token == page_token:
                raise ForgedReplyError("the endpoint continues the object list without advancing it")
            page_token = reply.next_page_token

    async def list_dynamic_fields(self, parent: bytes) -> list[ChainObject]:
        ids: list[bytes] = []
        page_token: bytes | None = None
        while True:
            request = v2.ListDynamicFieldsRequest(
                parent=to_hex(parent),
                page_size=_OBJECTS_PER_PAGE,
                page_token=page_token,
                read_mask=messages.field_mask(("field_id",)),
            )
            reply = await self._read(_dynamic_fields_call(request))
            ids.extend(messages.address(item.field_id, "the field's id") for item in reply.dynamic_fields)
            if not reply.next_page_token:
                break
            if reply.next_page_token == page_token:
                raise ForgedReplyError("the endpoint continues the list of fields without advancing it")
            page_token = reply.next_page_token
        batches = range(0, len(ids), _OBJECTS_PER_PAGE)
        found = [
            item
            for start in batches
            for item in await self.get_objects(ids[start : start + _OBJECTS_PER_PAGE])
        ]
        # A field may have gone between the two calls.
        return [item for item in found if item is not None]

    async def get_package(self, package: bytes) -> ChainPackage | None:
        request = v2.GetPackageRequest(package_id=to_hex(package))
        reply = await self._find(lambda channel: v2.MovePackageServiceStub(channel).get_package(request))
        return None if reply is None else _checked_package(reply.package, package)

    async def close(self) -> None:
        await self._connection.close()

    async def _executed(self, digest: str, fields: Sequence[str]) -> Any | None:
        """The `ExecutedTransaction` with these fields, unchecked."""
        request = v2.GetTransactionRequest(digest=digest, read_mask=messages.field_mask(fields))
        reply = await self._find(lambda channel: v2.LedgerServiceStub(channel).get_transaction(request))
        return None if reply is None else messages.required(reply.transaction, "the transaction")

    async def _event_page(self, request: Any) -> EventPage:
        """One request's worth of the list, up to its end marker."""
        replies = self._connection.stream(
            lambda channel: v2.LedgerServiceStub(channel).list_events(request), self._idle_timeout_s
        )
        events = []
        async with aclosing(replies):
            async for reply in replies:
                if reply.event is not None:
                    events.append(messages.event(reply.event))
                if len(events) > _EVENTS_PER_PAGE:
                    raise ForgedReplyError("the endpoint's page of events is larger than was asked for")
                if reply.end is None:
                    continue
                if reply.end.reason not in _EXHAUSTED + _CONTINUED:
                    raise ForgedReplyError("the endpoint ended the event list without a known reason")
                watermark = messages.required(reply.watermark, "the watermark")
                return EventPage(
                    events=events,
                    cursor=bytes(messages.required(watermark.cursor, "the cursor")),
                    checkpoint=watermark.checkpoint,
                    last=reply.end.reason in _EXHAUSTED,
                )
        raise LedgerUnavailableError("the Sui endpoint broke off the event list: list again")

    async def _read(self, call: Callable[[Channel], Awaitable[Any]]) -> Any:
        try:
            return await self._connection.unary(call, self._timeout_s)
        except StatusReplyError as reply:
            raise LedgerUnavailableError(f"the Sui endpoint did not answer a read: {reply}") from reply

    async def _find(self, call: Callable[[Channel], Awaitable[Any]]) -> Any | None:
        """`_read` for something that may not exist."""
        try:
            return await self._connection.unary(call, self._timeout_s)
        except StatusReplyError as reply:
            if reply.status == Status.NOT_FOUND.name:
                return None
            raise LedgerUnavailableError(f"the Sui endpoint did not answer a read: {reply}") from reply

    async def _run(self, call: Callable[[Channel], Awaitable[Any]]) -> Any:
        try:
            return await self._connection.unary(call, self._execute_timeout_s)
        except StatusReplyError as reply:
            raise refusal(reply) from reply


def _owned_objects_call(request: Any) -> Callable[[Channel], Awaitable[Any]]:
    return lambda channel: v2.StateServiceStub(channel).list_owned_objects(request)


def _dynamic_fields_call(request: Any) -> Callable[[Channel], Awaitable[Any]]:
    return lambda channel: v2.StateServiceStub(channel).list_dynamic_fields(request)


def _checked_package(message: Any, package: bytes) -> ChainPackage:
    found = messages.required(message, "the package")
    if messages.address(found.storage_id, "the package's id") != package:
        raise ForgedReplyError(f"the package {to_hex(package)} was asked for, another one came")
    return ChainPackage(
        id=package,
        original=messages.address(found.original_id, "the package's original id"),
        version=messages.required(found.version, "the package's version"),
        modules={
            messages.required(module.name, "a module's name"): bytes(
                messages.required(module.contents, "a module's bytecode")
            )
            for module in found.modules
        },
    )


def _checked_object(message: Any, object_id: bytes) -> ChainObject:
    found = messages.chain_object(messages.required(message, "the object"))
    if found.id != object_id:
        raise ForgedReplyError(f"the object {to_hex(object_id)} was asked for, {to_hex(found.id)} came")
    return found


def _object_result(result: Any, object_id: bytes) -> ChainObject | None:
    if result.object is not None:
        return _checked_object(result.object, object_id)
    if result.error is not None and result.error.code == Status.NOT_FOUND.value:
        return None
    raise LedgerUnavailableError(f"the Sui endpoint did not answer for the object {to_hex(object_id)}")
