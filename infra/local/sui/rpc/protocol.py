"""The protocol configuration that clients read: the limits that this ledger really enforces."""

from __future__ import annotations

from typing import Any

from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..ledger.gas import MAX_BUDGET, MAX_GAS_OBJECTS
from ..ledger.transactions import MAX_PURE_ARGUMENT_BYTES, MAX_TRANSACTION_BYTES
from ..ledger.workspace import MAX_OBJECT_BYTES

PROTOCOL_VERSION = 1


def protocol_config() -> Any:
    """Names as in Sui's protocol configuration."""
    attributes = {
        "max_tx_size_bytes": MAX_TRANSACTION_BYTES,
        "max_pure_argument_size": MAX_PURE_ARGUMENT_BYTES,
        "max_move_object_size": MAX_OBJECT_BYTES,
        "max_tx_gas": MAX_BUDGET,
        "max_gas_payment_objects": MAX_GAS_OBJECTS,
    }
    message = v2.ProtocolConfig(protocol_version=PROTOCOL_VERSION)
    # Deprecated in the schema, but what today's clients read; set afterwards, as the constructor warns.
    message.feature_flags = {"enable_address_balance_gas_payments": True}
    message.attributes = {name: str(value) for name, value in attributes.items()}
    return message
