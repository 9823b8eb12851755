"""The chain as Sui's JSON-RPC shows it: numbers as decimal text, bytes in base64, digests in base58."""

from __future__ import annotations

import base64
from typing import Any

from ..ledger.bcs import BcsError, Reader
from ..ledger.checkpoints import Checkpoint, IndexedEvent
from ..ledger.datatypes import Datatypes, UnknownTypeError
from ..ledger.digests import base58
from ..ledger.type_tags import parsed
from ..rpc.masks import Tree
from ..rpc.messages import indexed_event_message
from ..rpc.misbehaviour import Misbehaviour

_WITHOUT_JSON: Tree = {"contents": {}}


def event_json(types: Datatypes, indexed: IndexedEvent, misbehaviour: Misbehaviour) -> dict[str, Any]:
    """A ``SuiEvent``; forgeries are those of a gRPC ``Event``."""
    message = indexed_event_message(types, indexed, _WITHOUT_JSON)
    misbehaviour.distort("event", message)
    return {
        "id": {"txDigest": message.transaction_digest, "eventSeq": str(message.event_index)},
        "packageId": message.package_id,
        "transactionModule": message.module,
        "sender": message.sender,
        "type": message.event_type,
        "parsedJson": _parsed(types, indexed),
        "bcsEncoding": "base64",
        "bcs": base64.b64encode(message.contents.value).decode(),
        "timestampMs": str(indexed.transaction.checkpoint_ms),
    }


def checkpoint_json(checkpoint: Checkpoint) -> dict[str, Any]:
    """A ``Checkpoint``; nobody has signed it."""
    gas = checkpoint.rolling_gas
    previous = {} if checkpoint.previous is None else {"previousDigest": base58(checkpoint.previous)}
    return {
        "epoch": str(checkpoint.epoch),
        "sequenceNumber": str(checkpoint.sequence),
        "digest": base58(checkpoint.digest),
        "networkTotalTransactions": str(checkpoint.network_transactions),
        **previous,
        "epochRollingGasCostSummary": {
            "computationCost": str(gas.computation_cost),
            "storageCost": str(gas.storage_cost),
            "storageRebate": str(gas.storage_rebate),
            "nonRefundableStorageFee": str(gas.non_refundable_storage_fee),
        },
        "timestampMs": str(checkpoint.timestamp_ms),
        "transactions": [base58(transaction.digest) for transaction in checkpoint.transactions],
        "checkpointCommitments": [],
        "validatorSignature": "",
    }


def _parsed(types: Datatypes, indexed: IndexedEvent) -> Any:
    try:
        return types.walk(parsed(indexed.event.type_tag), Reader(indexed.event.contents))
    except (BcsError, UnknownTypeError):
        return None
