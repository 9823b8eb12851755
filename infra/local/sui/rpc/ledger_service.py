"""``LedgerService``: objects, transactions, checkpoints, epochs and events of the past."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import pysui.sui.sui_grpc.suimsgs.google.rpc as google_rpc
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..ledger.checkpoints import Checkpoint, ExecutedTransaction
from ..ledger.digests import base58, parse_address, parse_base58
from ..ledger.objects import StoredObject
from .endpoint import Method
from .event_lists import list_events
from .masks import Tree, apply_mask, parse_mask, subtree, wants
from .messages import checkpoint_message, object_message, timestamp
from .protocol import protocol_config
from .transaction_messages import executed_message
from .view import NodeView

OBJECT_DEFAULT = ("object_id", "version", "digest")
TRANSACTION_DEFAULT = ("digest",)
CHECKPOINT_DEFAULT = ("sequence_number", "digest")
EPOCH_DEFAULT = ("epoch",)
CHAIN_NAME = "local"


def mask_of(message_class: Any, read_mask: Any, default: Iterable[str]) -> Tree:
    """The tree of a request's read mask, or of the method's default."""
    return parse_mask(message_class, default if read_mask is None else read_mask.paths)


def address_field(text: str | None, name: str) -> bytes:
    """Raises: GRPCError: the field is missing or no address."""
    if not text:
        raise GRPCError(Status.INVALID_ARGUMENT, f"missing {name}")
    try:
        return parse_address(text)
    except ValueError as error:
        raise GRPCError(Status.INVALID_ARGUMENT, f"invalid {name}: {error}") from error


def digest_field(text: str | None, name: str) -> bytes:
    """Raises: GRPCError: the field is missing or no digest."""
    if not text:
        raise GRPCError(Status.INVALID_ARGUMENT, f"missing {name}")
    try:
        return parse_base58(text)
    except ValueError as error:
        raise GRPCError(Status.INVALID_ARGUMENT, f"invalid {name}: {error}") from error


class LedgerService:
    """Reads over one port's view."""

    def __init__(self, view: NodeView) -> None:
        self._view = view
        self._types = view.ledger.datatypes

    def methods(self) -> list[Method]:
        return [
            Method("LedgerService/GetServiceInfo", self.get_service_info),
            Method("LedgerService/GetObject", self.get_object),
            Method("LedgerService/BatchGetObjects", self.batch_get_objects),
            Method("LedgerService/GetTransaction", self.get_transaction),
            Method("LedgerService/BatchGetTransactions", self.batch_get_transactions),
            Method("LedgerService/GetCheckpoint", self.get_checkpoint),
            Method("LedgerService/GetEpoch", self.get_epoch),
            Method("LedgerService/ListEvents", self.list_events, streams=True),
        ]

    async def get_service_info(self, _: Any) -> Any:
        tip, lowest = self._view.tip, self._view.lowest_checkpoint
        message = v2.GetServiceInfoResponse(
            chain_id=base58(self._view.ledger.chain_id),
            chain=CHAIN_NAME,
            epoch=tip.epoch,
            checkpoint_height=tip.sequence,
            timestamp=timestamp(tip.timestamp_ms),
            lowest_available_checkpoint=lowest,
            lowest_available_checkpoint_objects=lowest,
            server="local-sui-ledger",
        )
        self._view.misbehaviour.distort("service_info", message)
        return message

    async def get_object(self, request: Any) -> Any:
        mask = mask_of(v2.Object, request.read_mask, OBJECT_DEFAULT)
        return v2.GetObjectResponse(object=self._object(request, mask))

    async def batch_get_objects(self, request: Any) -> Any:
        mask = mask_of(v2.Object, request.read_mask, OBJECT_DEFAULT)
        results = []
        for one in request.requests:
            try:
                results.append(v2.GetObjectResult(object=self._object(one, mask)))
            except GRPCError as error:
                results.append(v2.GetObjectResult(error=_status(error)))
        return v2.BatchGetObjectsResponse(objects=results)

    def _object(self, request: Any, mask: Tree) -> Any:
        object_id = address_field(request.object_id, "object_id")
        stored = self._view.object(object_id, request.version)
        if stored is None:
            version = "" if request.version is None else f" version {request.version}"
            raise GRPCError(Status.NOT_FOUND, f"Object {request.object_id}{version} not found")
        return self.object_message(stored, mask)

    def object_message(self, stored: StoredObject, mask: Tree) -> Any:
        """An object as this port shows it."""
        message = object_message(self._types, self._view.with_time(stored), mask)
        self._view.misbehaviour.distort("object", message)
        return apply_mask(message, mask)

    async def get_transaction(self, request: Any) -> Any:
        mask = mask_of(v2.ExecutedTransaction, request.read_mask, TRANSACTION_DEFAULT)
        return v2.GetTransactionResponse(transaction=self._transaction(request.digest, mask))

    async def batch_get_transactions(self, request: Any) -> Any:
        mask = mask_of(v2.ExecutedTransaction, request.read_mask, TRANSACTION_DEFAULT)
        results = []
        for digest in request.digests:
            try:
                results.append(v2.GetTransactionResult(transaction=self._transaction(digest, mask)))
            except GRPCError as error:
                results.append(v2.GetTransactionResult(error=_status(error)))
        return v2.BatchGetTransactionsResponse(transactions=results)

    def _transaction(self, text: str | None, mask: Tree) -> Any:
        executed = self._view.transaction(digest_field(text, "digest"))
        if executed is None:
            raise GRPCError(Status.NOT_FOUND, f"Transaction {text} not found")
        return self.transaction_message(executed, mask)

    def transaction_message(self, executed: ExecutedTransaction, mask: Tree) -> Any:
        """A transaction as this port shows it."""
        message = executed_message(self._types, executed, mask)
        if wants(mask, "objects"):
            message.objects = self._changed_objects(executed, subtree(subtree(mask, "objects"), "objects"))
        self._view.misbehaviour.distort("transaction", message)
        self._view.misbehaviour.distort("effects", message.effects)
        for event in message.events.events if message.events is not None else ():
            self._view.misbehaviour.distort("event", event)
        return apply_mask(message, mask)

    def _changed_objects(self, executed: ExecutedTransaction, mask: Tree) -> Any:
        """Objects before and after, by id and version."""
        keys = sorted(
            {
                (changed.id, state.version)
                for changed in executed.effects.changed
                for state in (changed.before, changed.after)
                if state is not None
            }
        )
        found = (self._view.ledger.history.at_version(*key) for key in keys)
        return v2.ObjectSet(objects=[object_message(self._types, s, mask) for s in found if s is not None])

    async def get_checkpoint(self, request: Any) -> Any:
        mask = mask_of(v2.Checkpoint, request.read_mask, CHECKPOINT_DEFAULT)
        found: Checkpoint | None = self._view.tip
        if request.sequence_number is not None:
            found = self._view.checkpoint(request.sequence_number)
        elif request.digest is not None:
            found = self._view.checkpoint_by_digest(digest_field(request.digest, "digest"))
        if found is None:
            raise GRPCError(Status.NOT_FOUND, "Checkpoint not found")
        return v2.GetCheckpointResponse(checkpoint=self.checkpoint_message(found, mask))

    def checkpoint_message(self, checkpoint: Checkpoint, mask: Tree) -> Any:
        """A checkpoint as this port shows it."""
        message = checkpoint_message(checkpoint, mask)
        if wants(mask, "transactions"):
            inner = subtree(mask, "transactions")
            message.transactions = [self.transaction_message(t, inner) for t in checkpoint.transactions]
        self._view.misbehaviour.distort("checkpoint", message)
        return apply_mask(message, mask)

    async def get_epoch(self, request: Any) -> Any:
        # As of this port's tip: one that lags tells the terms of an epoch that is over.
        epochs, current = self._view.ledger.epochs, self._view.tip.epoch
        mask = mask_of(v2.Epoch, request.read_mask, EPOCH_DEFAULT)
        epoch = current if request.epoch is None else request.epoch
        if epoch > current:
            raise GRPCError(Status.NOT_FOUND, f"Epoch {epoch} not found")
        message = v2.Epoch(epoch=epoch, first_checkpoint=epochs[epoch].first_checkpoint)
        if epoch == current:
            message.start = timestamp(epochs[epoch].start_ms)
            message.reference_gas_price = epochs[epoch].reference_gas_price
        else:
            message.last_checkpoint = epochs[epoch + 1].first_checkpoint - 1
        if wants(mask, "protocol_config"):
            message.protocol_config = protocol_config()
        return v2.GetEpochResponse(epoch=apply_mask(message, mask))

    def list_events(self, request: Any) -> AsyncIterator[Any]:
        return list_events(self._view, request)


def _status(error: GRPCError) -> Any:
    return google_rpc.Status(code=error.status.value, message=error.message or "")
