"""``TransactionExecutionService``: execute for real, or only pretend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..ledger.checkpoints import ExecutedTransaction
from ..ledger.effects import effects_digest
from ..ledger.transactions import TransactionData
from .endpoint import Method
from .ledger_service import LedgerService, mask_of
from .masks import apply_mask, subtree, wants
from .messages import bcs_message, render_json
from .resolution import read_transaction
from .view import NodeView

EXECUTE_DEFAULT = ("effects.status", "checkpoint")
_LAST_FLAG = 6
"""Signatures begin with a scheme flag up to this; a larger first byte is the length of what follows."""


class ExecutionService:
    """Writes, through one port."""

    def __init__(self, view: NodeView, reads: LedgerService) -> None:
        self._view = view
        self._reads = reads

    def methods(self) -> list[Method]:
        return [
            Method("TransactionExecutionService/ExecuteTransaction", self.execute),
            Method("TransactionExecutionService/SimulateTransaction", self.simulate),
        ]

    async def execute(self, request: Any) -> Any:
        mask = mask_of(v2.ExecutedTransaction, request.read_mask, EXECUTE_DEFAULT)
        signatures = [_signature(message) for message in request.signatures]
        executed = await self._view.ledger.execute(_encoded(request.transaction), signatures)
        return v2.ExecuteTransactionResponse(transaction=self._reads.transaction_message(executed, mask))

    async def simulate(self, request: Any) -> Any:
        mask = mask_of(v2.SimulateTransactionResponse, request.read_mask, ("*",))
        ledger = self._view.ledger
        data = read_transaction(self._view, request.transaction)
        checks = request.checks != v2.SimulateTransactionRequestTransactionChecks.DISABLED
        outcome = await ledger.simulate(data, checks=checks)
        if checks and request.do_gas_selection:
            data = _with_estimated_budget(data, outcome.effects.gas.computation_cost, outcome.effects.gas.net)
        executed = ExecutedTransaction(
            data,
            (),
            outcome.effects,
            effects_digest(outcome.effects),
            outcome.events,
            ledger.balance_changes(outcome.writes),
        )
        message = v2.SimulateTransactionResponse(suggested_gas_price=ledger.reference_gas_price)
        if wants(mask, "transaction"):
            message.transaction = self._reads.transaction_message(executed, subtree(mask, "transaction"))
        if wants(mask, "command_outputs"):
            message.command_outputs = [self._outputs(values) for values in outcome.results]
        return apply_mask(message, mask)

    def _outputs(self, values: tuple[tuple[str, bytes], ...]) -> Any:
        types = self._view.ledger.datatypes
        return v2.CommandResult(
            return_values=[
                v2.CommandOutput(value=bcs_message(tag, contents), json=render_json(types, tag, contents))
                for tag, contents in values
            ]
        )


def _with_estimated_budget(data: TransactionData, computation: int, net: int) -> TransactionData:
    """The budget that suffices: the larger of computation and net cost, with one unit bucket to spare."""
    budget = max(computation, net) + 1_000 * data.gas.price
    return replace(data, gas=replace(data.gas, budget=budget))


def _encoded(transaction: Any) -> bytes:
    """The BCS of a transaction; this ledger does not resolve unresolved ones."""
    if transaction is None:
        raise GRPCError(Status.INVALID_ARGUMENT, "missing transaction")
    if transaction.bcs is None or not transaction.bcs.value:
        raise GRPCError(
            Status.INVALID_ARGUMENT,
            "transaction.bcs is missing: the local ledger takes built transactions (TransactionData) only",
        )
    encoded: bytes = transaction.bcs.value
    return encoded


def _signature(message: Any) -> bytes:
    """The bytes of a ``UserSignature``: its BCS, with or without a length in front, or its parts."""
    if message.bcs is not None and message.bcs.value:
        value: bytes = message.bcs.value
        prefixed = value[0] == len(value) - 1 and value[0] > _LAST_FLAG
        return value[1:] if prefixed else value
    simple = message.simple
    if simple is None or simple.scheme is None:
        raise GRPCError(Status.INVALID_ARGUMENT, "a signature needs bcs, or simple with its scheme")
    return bytes([int(simple.scheme)]) + (simple.signature or b"") + (simple.public_key or b"")
