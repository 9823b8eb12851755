"""Transactions that come as messages instead of bytes: read for simulation, with gas chosen for them.

Clients send these to learn a budget. References must be complete (ids, versions, digests); what Sui's
resolver would look up (literals, missing versions) is refused.
"""

from __future__ import annotations

from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..bytecode.types import TypeTextError
from ..ledger.coins import coin_balance
from ..ledger.digests import parse_address, parse_base58
from ..ledger.encoding import encode_transaction
from ..ledger.gas import MAX_BUDGET, MAX_GAS_OBJECTS, MIN_BUDGET_UNITS
from ..ledger.transactions import (
    Argument,
    CallCommand,
    Command,
    GasData,
    Input,
    MakeMoveVector,
    MergeCoins,
    ObjectRef,
    OwnedObject,
    Publish,
    Pure,
    SharedObject,
    SplitCoins,
    TransactionData,
    TransferObjects,
    Upgrade,
    ValidDuring,
    Withdrawal,
    decode_transaction,
)
from ..ledger.type_tags import SUI, canonical_type, coin_of
from .view import NodeView


def read_transaction(view: NodeView, message: Any) -> TransactionData:
    """A transaction message as transaction data: from its bytes, else from its parts.

    Raises:
        GRPCError: incomplete or malformed.
        TransactionRefusedError: the bytes are refused.
    """
    if message is None:
        raise _invalid("missing transaction")
    if message.bcs is not None and message.bcs.value:
        return decode_transaction(message.bcs.value)
    program = message.kind.programmable_transaction if message.kind is not None else None
    if program is None or not message.sender:
        raise _invalid("the transaction needs bcs, or a sender and a programmable transaction")
    try:
        inputs = [_input(one) for one in program.inputs]
        commands = [_command(one) for one in program.commands]
        sender = parse_address(message.sender)
    except (ValueError, TypeError, TypeTextError) as error:
        raise _invalid(f"the transaction is incomplete or malformed: {error}") from error
    gas = _choose_gas(view, sender, inputs, message.gas_payment)
    ledger = view.ledger
    expiration = ValidDuring(ledger.epoch, ledger.epoch + 1, None, None, ledger.chain_id, 0)
    encoded = encode_transaction(
        inputs, commands, sender=sender, gas=gas, expiration=None if gas.payment else expiration
    )
    return decode_transaction(encoded)


def _invalid(message: str) -> GRPCError:
    return GRPCError(Status.INVALID_ARGUMENT, message)


def _choose_gas(view: NodeView, sender: bytes, inputs: list[Input], wanted: Any) -> GasData:
    """The sender's coins that the transaction does not use, else the address balance; a budget to match."""
    price = (wanted.price if wanted is not None else None) or view.ledger.reference_gas_price
    used = {argument.ref.id for argument in inputs if isinstance(argument, OwnedObject)}
    coins = [s for s in view.owned_by(sender) if s.type_tag == coin_of(SUI) and s.id not in used]
    coins.sort(key=lambda stored: -coin_balance(stored.contents))
    coins = coins[:MAX_GAS_OBJECTS]
    funds = sum(coin_balance(stored.contents) for stored in coins)
    if not coins:
        funds = view.ledger.available_balance(sender, SUI)
        funds -= sum(a.amount for a in inputs if isinstance(a, Withdrawal) and a.coin_type == SUI)
    budget = (wanted.budget if wanted is not None else None) or max(
        MIN_BUDGET_UNITS * price, min(MAX_BUDGET, funds)
    )
    return GasData(tuple(ObjectRef(s.id, s.version, s.digest) for s in coins), sender, price, budget)


def _reference(message: Any) -> ObjectRef:
    if message.version is None or not message.digest:
        raise ValueError(f"object {message.object_id} needs version and digest")
    return ObjectRef(parse_address(message.object_id or ""), message.version, parse_base58(message.digest))


def _input(message: Any) -> Input:
    kinds = v2.InputInputKind
    if message.kind == kinds.PURE:
        return Pure(message.pure or b"")
    if message.kind == kinds.IMMUTABLE_OR_OWNED:
        return OwnedObject(_reference(message))
    if message.kind == kinds.SHARED:
        if message.version is None:
            raise ValueError(f"shared object {message.object_id} needs its initial version")
        mutable = bool(message.mutable) or message.mutability == v2.InputMutability.MUTABLE
        return SharedObject(parse_address(message.object_id or ""), message.version, mutable)
    if message.kind == kinds.FUNDS_WITHDRAWAL:
        funds = message.funds_withdrawal
        return Withdrawal(
            funds.amount, canonical_type(funds.coin_type), funds.source == v2.FundsWithdrawalSource.SPONSOR
        )
    raise ValueError("inputs of this kind are not resolved here")


def _argument(message: Any) -> Argument:
    kinds = v2.ArgumentArgumentKind
    if message.kind == kinds.GAS:
        return Argument("gas")
    if message.kind == kinds.INPUT:
        return Argument("input", message.input or 0)
    return Argument("result", message.result or 0, message.subresult)


def _arguments(messages: list[Any]) -> tuple[Argument, ...]:
    return tuple(_argument(message) for message in messages)


def _type(text: str) -> str:
    """Type tags as clients spell them, also ``U64`` for ``u64``."""
    return canonical_type(text if "::" in text else text.lower())


def _command(message: Any) -> Command:  # noqa: PLR0911 - one case per command
    if (call := message.move_call) is not None:
        types = tuple(_type(text) for text in call.type_arguments)
        package = parse_address(call.package or "")
        return CallCommand(package, call.module or "", call.function or "", types, _arguments(call.arguments))
    if (transfer := message.transfer_objects) is not None:
        return TransferObjects(_arguments(transfer.objects), _argument(transfer.address))
    if (split := message.split_coins) is not None:
        return SplitCoins(_argument(split.coin), _arguments(split.amounts))
    if (merge := message.merge_coins) is not None:
        return MergeCoins(_argument(merge.coin), _arguments(merge.coins_to_merge))
    if (publish := message.publish) is not None:
        dependencies = tuple(parse_address(text) for text in publish.dependencies)
        return Publish(tuple(publish.modules), dependencies)
    if (upgrade := message.upgrade) is not None:
        dependencies = tuple(parse_address(text) for text in upgrade.dependencies)
        package = parse_address(upgrade.package or "")
        return Upgrade(tuple(upgrade.modules), dependencies, package, _argument(upgrade.ticket))
    if (vector := message.make_move_vector) is not None:
        element = _type(vector.element_type) if vector.element_type else None
        return MakeMoveVector(element, _arguments(vector.elements))
    raise ValueError("commands of this kind are not resolved here")
