"""Coins and address balances: the commands and functions that the ledger carries out itself.

``SplitCoins`` and ``MergeCoins`` are native on Sui too. ``send_funds`` and ``redeem_funds`` are framework
functions there, over an accumulator that the local VM does not have: **the ledger does them, not the VM**.
"""

from __future__ import annotations

from collections.abc import Callable

from . import bcs
from .errors import ExecutionFailedError, bad_argument
from .transactions import Argument, CallCommand, MergeCoins, SplitCoins
from .type_tags import SUI_FRAMEWORK, balance_of, coin_of, coin_type
from .values import Arguments, PurePlace, Use, ValuePlace, WithdrawalPlace, result
from .workspace import Workspace

MAX_U64 = 2**64 - 1
_ID_BYTES = 32


def coin_balance(contents: bytes) -> int:
    """The balance of a ``Coin<T>`` from its BCS: id, then u64."""
    return int.from_bytes(contents[_ID_BYTES : _ID_BYTES + 8], "little")


def coin_contents(coin_id: bytes, balance: int) -> bytes:
    return coin_id + bcs.u64(balance)


def u64_argument(arguments: Arguments, argument: Argument, position: int) -> int:
    return int.from_bytes(_plain(arguments, argument, position, "u64", 8), "little")


def address_argument(arguments: Arguments, argument: Argument, position: int) -> bytes:
    return _plain(arguments, argument, position, "address", 32)


def _plain(arguments: Arguments, argument: Argument, position: int, type_tag: str, width: int) -> bytes:
    place = arguments.place(argument, position)
    if isinstance(place, PurePlace):
        if len(place.value) != width:
            raise bad_argument(position, "INVALID_BCS_BYTES", f"{len(place.value)} bytes are no {type_tag}")
        return place.value
    if not isinstance(place, ValuePlace) or place.type_tag != type_tag:
        raise bad_argument(position, "TYPE_MISMATCH", f"a {type_tag} is expected here")
    return place.contents


def _coin(arguments: Arguments, argument: Argument, position: int, use: Use) -> tuple[ValuePlace, str]:
    place = arguments.value(argument, position, use)
    currency = coin_type(place.type_tag)
    if currency is None:
        raise bad_argument(position, "TYPE_MISMATCH", f"{place.type_tag} is not a coin")
    return place, currency


def split_coins(command: SplitCoins, arguments: Arguments, workspace: Workspace) -> tuple[ValuePlace, ...]:
    """Raises: ExecutionFailedError."""
    coin, currency = _coin(arguments, command.coin, 0, Use.MUTABLE)
    amounts = [u64_argument(arguments, a, position) for position, a in enumerate(command.amounts, 1)]
    left = coin_balance(coin.contents) - sum(amounts)
    if left < 0:
        raise ExecutionFailedError(
            "INSUFFICIENT_COIN_BALANCE",
            f"the coin holds {coin_balance(coin.contents)}, {sum(amounts)} were to be split off",
        )
    coin.contents = coin_contents(coin.id, left)
    type_tag = coin_of(currency)
    return tuple(
        result(type_tag, coin_contents(workspace.next_id(), amount), is_object=True) for amount in amounts
    )


def merge_coins(command: MergeCoins, arguments: Arguments, workspace: Workspace) -> None:
    """Raises: ExecutionFailedError."""
    target, currency = _coin(arguments, command.target, 0, Use.MUTABLE)
    total = coin_balance(target.contents)
    for position, argument in enumerate(command.sources, 1):
        source, source_currency = _coin(arguments, argument, position, Use.VALUE)
        if source is target or source_currency != currency:
            raise bad_argument(position, "TYPE_MISMATCH", "coins of one type, each once, can be merged")
        total += coin_balance(source.contents)
        workspace.remove(source.id)
    if total > MAX_U64:
        raise ExecutionFailedError("COIN_BALANCE_OVERFLOW", "the merged balance would exceed a u64")
    target.contents = coin_contents(target.id, total)


Native = Callable[[CallCommand, str, Arguments, Workspace], tuple[ValuePlace, ...]]


def _send(
    call: CallCommand, expected: str, amount_at: int, arguments: Arguments, workspace: Workspace
) -> None:
    _expect_arity(call, 2)
    funds = arguments.value(call.arguments[0], 0, Use.VALUE)
    if funds.type_tag != expected:
        raise bad_argument(0, "TYPE_MISMATCH", f"{expected} is expected, this is {funds.type_tag}")
    amount = int.from_bytes(funds.contents[amount_at : amount_at + 8], "little")
    if funds.is_object:
        workspace.remove(funds.id)
    workspace.deposit(address_argument(arguments, call.arguments[1], 1), call.type_arguments[0], amount)


def _send_coin(
    call: CallCommand, currency: str, arguments: Arguments, workspace: Workspace
) -> tuple[ValuePlace, ...]:
    _send(call, coin_of(currency), _ID_BYTES, arguments, workspace)
    return ()


def _send_balance(
    call: CallCommand, currency: str, arguments: Arguments, workspace: Workspace
) -> tuple[ValuePlace, ...]:
    _send(call, balance_of(currency), 0, arguments, workspace)
    return ()


def _redeem(call: CallCommand, currency: str, arguments: Arguments, workspace: Workspace) -> int:
    _expect_arity(call, 1)
    place = arguments.place(call.arguments[0], 0)
    if not isinstance(place, WithdrawalPlace) or place.currency != currency:
        raise bad_argument(0, "TYPE_MISMATCH", f"a withdrawal of {currency} is expected here")
    if place.taken:
        raise bad_argument(0, "INVALID_VALUE_USAGE", "the withdrawal was used up before")
    place.taken = True
    workspace.deposit(workspace.sender, currency, -place.amount)
    return place.amount


def _redeem_coin(
    call: CallCommand, currency: str, arguments: Arguments, workspace: Workspace
) -> tuple[ValuePlace, ...]:
    amount = _redeem(call, currency, arguments, workspace)
    return (result(coin_of(currency), coin_contents(workspace.next_id(), amount), is_object=True),)


def _redeem_balance(
    call: CallCommand, currency: str, arguments: Arguments, workspace: Workspace
) -> tuple[ValuePlace, ...]:
    amount = _redeem(call, currency, arguments, workspace)
    return (result(balance_of(currency), bcs.u64(amount), is_object=False),)


_NATIVES: dict[tuple[str, str], Native] = {
    ("coin", "send_funds"): _send_coin,
    ("balance", "send_funds"): _send_balance,
    ("coin", "redeem_funds"): _redeem_coin,
    ("balance", "redeem_funds"): _redeem_balance,
}


def native_function(call: CallCommand) -> Native | None:
    """The ledger's own implementation of a framework function, if it has one."""
    return _NATIVES.get((call.module, call.function)) if call.package == SUI_FRAMEWORK else None


def call_native(
    native: Native, call: CallCommand, arguments: Arguments, workspace: Workspace
) -> tuple[ValuePlace, ...]:
    """Raises: ExecutionFailedError."""
    if len(call.type_arguments) != 1:
        raise ExecutionFailedError("TYPE_ARITY_MISMATCH", f"{call.function} takes one type argument")
    return native(call, call.type_arguments[0], arguments, workspace)


def _expect_arity(call: CallCommand, count: int) -> None:
    if len(call.arguments) != count:
        raise ExecutionFailedError(
            "ARITY_MISMATCH", f"{call.function} takes {count} arguments, {len(call.arguments)} came"
        )
