"""Calls about seals (module `seal`): the holder's, the administrator's `revoke` and `slash`; gas deposits.

`package` is the latest package id; amounts are MIST.
"""

from __future__ import annotations

from collections.abc import Sequence

from k3s_daas.contract import arguments
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.sui.transactions import Argument, PtbBuilder
from k3s_daas.sui.type_tags import StructTag

_MODULE = "seal"
_SUI_FRAMEWORK = (2).to_bytes(32, "big")
SUI_TYPE = StructTag(_SUI_FRAMEWORK, "sui", "SUI")
SUI_COIN_TYPE = StructTag(_SUI_FRAMEWORK, "coin", "Coin", (SUI_TYPE,))


def stake(
    builder: PtbBuilder,
    package: bytes,
    cluster: SharedRef,
    *,
    role: str,
    coin: Argument,
    amount: int,
    expires_at_ms: int,
) -> None:
    """Stakes `amount` out of `coin` (an owned SUI coin, or `GAS_COIN`); creates a seal of the sender."""
    [payment] = builder.split_coins(coin, [amount])
    call_arguments = [
        arguments.shared(builder, cluster),
        arguments.string(builder, role),
        payment,
        arguments.u64(builder, expires_at_ms),
        arguments.clock(builder),
    ]
    builder.move_call(package, _MODULE, "stake", call_arguments)


def add_stake(builder: PtbBuilder, package: bytes, seal: SharedRef, *, coin: Argument, amount: int) -> None:
    """Adds `amount` out of `coin` to the sender's seal."""
    [payment] = builder.split_coins(coin, [amount])
    builder.move_call(package, _MODULE, "add_stake", [arguments.shared(builder, seal, mutable=True), payment])


def start_unstaking(builder: PtbBuilder, package: bytes, seal: SharedRef, *, amount: int) -> None:
    """Takes `amount` out of the stake at once; it can be withdrawn after the unbonding period."""
    call_arguments = [
        arguments.shared(builder, seal, mutable=True),
        arguments.u64(builder, amount),
        arguments.clock(builder),
    ]
    builder.move_call(package, _MODULE, "start_unstaking", call_arguments)


def withdraw(builder: PtbBuilder, package: bytes, seal: SharedRef, *, recipient: bytes) -> None:
    """Pays out what has finished unbonding, as a coin for `recipient`."""
    call_arguments = [arguments.shared(builder, seal, mutable=True), arguments.clock(builder)]
    coin = builder.move_call(package, _MODULE, "withdraw", call_arguments)
    builder.transfer([coin], recipient)


def transfer_ownership(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, seal: SharedRef, *, new_owner: bytes
) -> None:
    """Gives the sender's seal and its stake to another address; all its sessions end."""
    call_arguments = [
        arguments.shared(builder, cluster),
        arguments.shared(builder, seal, mutable=True),
        arguments.address(builder, new_owner),
        arguments.clock(builder),
    ]
    builder.move_call(package, _MODULE, "transfer_ownership", call_arguments)


def revoke(
    builder: PtbBuilder,
    package: bytes,
    cluster: SharedRef,
    cap: Argument,
    seal: SharedRef,
    *,
    reason: str,
) -> None:
    """Ends a seal for good; its stake starts to unbond. `cap` is an `AccessCap`, `reason` is public."""
    call_arguments = [
        arguments.shared(builder, cluster),
        cap,
        arguments.shared(builder, seal, mutable=True),
        arguments.string(builder, reason),
        arguments.clock(builder),
    ]
    builder.move_call(package, _MODULE, "revoke", call_arguments)


def slash(
    builder: PtbBuilder,
    package: bytes,
    cluster: SharedRef,
    cap: Argument,
    seal: SharedRef,
    *,
    amount: int,
    reason: str,
    recipient: bytes,
) -> None:
    """Takes `amount` of a seal's stake as a coin for `recipient`. `cap` is the `ClusterCap`."""
    call_arguments = [
        arguments.shared(builder, cluster),
        cap,
        arguments.shared(builder, seal, mutable=True),
        arguments.u64(builder, amount),
        arguments.string(builder, reason),
    ]
    coin = builder.move_call(package, _MODULE, "slash", call_arguments)
    builder.transfer([coin], recipient)


def open_session(
    builder: PtbBuilder,
    package: bytes,
    cluster: SharedRef,
    seal: SharedRef,
    *,
    session_key: bytes,
    expires_at_ms: int,
    read_only: bool,
    namespaces: Sequence[str] = (),
) -> None:
    """Lets the ed25519 key `session_key` (32 bytes) sign claims for the sender's seal.

    With `namespaces` it admits only requests in them (and reads of non-resource URLs).
    """
    call_arguments = [
        arguments.shared(builder, cluster),
        arguments.shared(builder, seal, mutable=True),
        arguments.byte_vector(builder, session_key),
        arguments.u64(builder, expires_at_ms),
        arguments.boolean(builder, read_only),
        arguments.strings(builder, namespaces),
        arguments.clock(builder),
    ]
    builder.move_call(package, _MODULE, "open_session", call_arguments)


def close_session(builder: PtbBuilder, package: bytes, seal: SharedRef, *, session_key: bytes) -> None:
    """Ends a session before its time."""
    call_arguments = [
        arguments.shared(builder, seal, mutable=True),
        arguments.byte_vector(builder, session_key),
    ]
    builder.move_call(package, _MODULE, "close_session", call_arguments)


def close_all_sessions(builder: PtbBuilder, package: bytes, seal: SharedRef) -> None:
    """Ends every session of the sender's seal."""
    builder.move_call(package, _MODULE, "close_all_sessions", [arguments.shared(builder, seal, mutable=True)])


def deposit_to_address_balance(
    builder: PtbBuilder, *, coin: Argument, recipient: bytes, amount: int | None = None
) -> None:
    """Moves `amount` of a SUI coin (all of it without `amount`) to an address balance, which pays for gas."""
    payment = coin if amount is None else builder.split_coins(coin, [amount])[0]
    builder.move_call(
        _SUI_FRAMEWORK, "coin", "send_funds", [payment, arguments.address(builder, recipient)], [SUI_TYPE]
    )
