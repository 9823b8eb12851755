"""Transactions as ``sui.rpc.v2`` messages: the signed bytes, and what they say."""

from __future__ import annotations

from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..ledger.checkpoints import ExecutedTransaction
from ..ledger.datatypes import Datatypes
from ..ledger.digests import base58, hex_address
from ..ledger.transactions import (
    Argument,
    CallCommand,
    Command,
    Input,
    MakeMoveVector,
    MergeCoins,
    ObjectRef,
    OwnedObject,
    Publish,
    Pure,
    Receiving,
    SharedObject,
    SplitCoins,
    TransactionData,
    TransferObjects,
    Upgrade,
    ValidDuring,
    Withdrawal,
)
from .masks import Tree, subtree, wants
from .messages import bcs_message, effects_message, events_message, timestamp

_SCHEMES = {
    0: v2.SignatureScheme.ED25519,
    1: v2.SignatureScheme.SECP256K1,
    2: v2.SignatureScheme.SECP256R1,
}
_SIGNATURE_END = 65


def executed_message(types: Datatypes, executed: ExecutedTransaction, mask: Tree) -> v2.ExecutedTransaction:
    """An executed transaction with what ``mask`` wants; ``objects`` are the caller's to add."""
    message = v2.ExecutedTransaction(digest=base58(executed.digest))
    if wants(mask, "transaction"):
        message.transaction = transaction_message(executed.data)
    if wants(mask, "signatures"):
        message.signatures = [signature_message(signature) for signature in executed.signatures]
    if wants(mask, "effects"):
        message.effects = effects_message(executed.effects, executed.effects_digest, subtree(mask, "effects"))
    if wants(mask, "events"):
        message.events = events_message(types, executed, subtree(mask, "events"))
    if executed.checkpoint is not None:
        message.checkpoint = executed.checkpoint
        message.timestamp = timestamp(executed.checkpoint_ms)
        message.transaction_index = executed.index
    message.balance_changes = [
        v2.BalanceChange(address=hex_address(address), coin_type=currency, amount=str(change))
        for address, currency, change in executed.balance_changes
    ]
    return message


def signature_message(signature: bytes) -> v2.UserSignature:
    scheme = _SCHEMES[signature[0]]
    return v2.UserSignature(
        bcs=bcs_message("UserSignatureBytes", signature),
        scheme=scheme,
        simple=v2.SimpleSignature(
            scheme=scheme, signature=signature[1:_SIGNATURE_END], public_key=signature[_SIGNATURE_END:]
        ),
    )


def transaction_message(data: TransactionData) -> v2.Transaction:
    gas = data.gas
    return v2.Transaction(
        bcs=bcs_message("TransactionData", data.encoded),
        digest=base58(data.digest),
        version=1,
        kind=v2.TransactionKind(
            kind=v2.TransactionKindKind.PROGRAMMABLE_TRANSACTION,
            programmable_transaction=v2.ProgrammableTransaction(
                inputs=[_input(i) for i in data.inputs], commands=[_command(c) for c in data.commands]
            ),
        ),
        sender=hex_address(data.sender),
        gas_payment=v2.GasPayment(
            objects=[_reference(ref) for ref in gas.payment],
            owner=hex_address(gas.owner),
            price=gas.price,
            budget=gas.budget,
        ),
        expiration=_expiration(data.expiration),
    )


def _reference(ref: ObjectRef) -> v2.ObjectReference:
    return v2.ObjectReference(object_id=hex_address(ref.id), version=ref.version, digest=base58(ref.digest))


def _expiration(expiration: int | ValidDuring | None) -> v2.TransactionExpiration:
    kinds = v2.TransactionExpirationTransactionExpirationKind
    match expiration:
        case None:
            return v2.TransactionExpiration(kind=kinds.NONE)
        case int():
            return v2.TransactionExpiration(kind=kinds.EPOCH, epoch=expiration)
        case ValidDuring(first, last, earliest, latest, chain, nonce):
            return v2.TransactionExpiration(
                kind=kinds.VALID_DURING,
                min_epoch=first,
                epoch=last,
                min_timestamp=None if earliest is None else timestamp(earliest),
                max_timestamp=None if latest is None else timestamp(latest),
                chain=base58(chain),
                nonce=nonce,
            )


def _input(argument: Input) -> v2.Input:
    kinds, mutability = v2.InputInputKind, v2.InputMutability
    match argument:
        case Pure(value):
            return v2.Input(kind=kinds.PURE, pure=value)
        case SharedObject(object_id, initial_version, mutable):
            return v2.Input(
                kind=kinds.SHARED,
                object_id=hex_address(object_id),
                version=initial_version,
                mutable=mutable,
                mutability=mutability.MUTABLE if mutable else mutability.IMMUTABLE,
            )
        case Withdrawal(amount, currency, from_sponsor):
            sources = v2.FundsWithdrawalSource
            source = sources.SPONSOR if from_sponsor else sources.SENDER
            withdrawal = v2.FundsWithdrawal(amount=amount, coin_type=currency, source=source)
            return v2.Input(kind=kinds.FUNDS_WITHDRAWAL, funds_withdrawal=withdrawal)
        case OwnedObject(ref) | Receiving(ref):
            owned = isinstance(argument, OwnedObject)
            return v2.Input(
                kind=kinds.IMMUTABLE_OR_OWNED if owned else kinds.RECEIVING,
                object_id=hex_address(ref.id),
                version=ref.version,
                digest=base58(ref.digest),
            )


def argument_message(argument: Argument) -> v2.Argument:
    kinds = v2.ArgumentArgumentKind
    if argument.kind == "gas":
        return v2.Argument(kind=kinds.GAS)
    if argument.kind == "input":
        return v2.Argument(kind=kinds.INPUT, input=argument.index)
    return v2.Argument(kind=kinds.RESULT, result=argument.index, subresult=argument.nested)


def _command(command: Command) -> v2.Command:  # noqa: PLR0911 - one case per command
    def many(arguments: tuple[Argument, ...]) -> list[v2.Argument]:
        return [argument_message(argument) for argument in arguments]

    match command:
        case CallCommand(package, module, function, type_arguments, arguments):
            call = v2.MoveCall(
                package=hex_address(package),
                module=module,
                function=function,
                type_arguments=list(type_arguments),
                arguments=many(arguments),
            )
            return v2.Command(move_call=call)
        case TransferObjects(objects, recipient):
            transfer = v2.TransferObjects(objects=many(objects), address=argument_message(recipient))
            return v2.Command(transfer_objects=transfer)
        case SplitCoins(coin, amounts):
            return v2.Command(split_coins=v2.SplitCoins(coin=argument_message(coin), amounts=many(amounts)))
        case MergeCoins(target, sources):
            merge = v2.MergeCoins(coin=argument_message(target), coins_to_merge=many(sources))
            return v2.Command(merge_coins=merge)
        case Publish(modules, dependencies):
            packages = [hex_address(package) for package in dependencies]
            return v2.Command(publish=v2.Publish(modules=list(modules), dependencies=packages))
        case MakeMoveVector(element_type, elements):
            vector = v2.MakeMoveVector(element_type=element_type, elements=many(elements))
            return v2.Command(make_move_vector=vector)
        case Upgrade(modules, dependencies, package, ticket):
            upgrade = v2.Upgrade(
                modules=list(modules),
                dependencies=[hex_address(dependency) for dependency in dependencies],
                package=hex_address(package),
                ticket=argument_message(ticket),
            )
            return v2.Command(upgrade=upgrade)
