"""The contract's calls: each function adds one to a transaction under construction (`PtbBuilder`).

Commands and responses (module `k8s_gateway`) are here; the administrator's and the holders' calls are in
`calls_cluster` and `calls_seal` and can be used from here. `package` is always the latest package id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from k3s_daas.contract import arguments
from k3s_daas.contract.addresses import GATEWAY_MODULE
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls_cluster import (
    Policy,
    add_executor,
    add_gateway,
    add_rule,
    create_cluster,
    define_role,
    grant,
    new_policy,
    pause,
    remove_executor,
    remove_gateway,
    remove_grant,
    resume,
    set_policy,
)
from k3s_daas.contract.calls_seal import (
    SUI_COIN_TYPE,
    SUI_TYPE,
    add_stake,
    close_session,
    deposit_to_address_balance,
    open_session,
    revoke,
    stake,
    start_unstaking,
    withdraw,
)
from k3s_daas.sui.transactions import PtbBuilder

__all__ = [
    "SUI_COIN_TYPE",
    "SUI_TYPE",
    "Command",
    "Policy",
    "Response",
    "SharedRef",
    "add_executor",
    "add_gateway",
    "add_rule",
    "add_stake",
    "close_session",
    "create_cluster",
    "define_role",
    "deposit_to_address_balance",
    "execute_command",
    "grant",
    "new_policy",
    "open_session",
    "pause",
    "remove_executor",
    "remove_gateway",
    "remove_grant",
    "resume",
    "revoke",
    "set_policy",
    "stake",
    "start_unstaking",
    "store_response",
    "withdraw",
]

EXECUTE_FUNCTION = "execute_kubectl_command_with_id"
STORE_FUNCTION = "store_k8s_response"
# Position of the arguments that readers take out of a transaction again.
EXECUTE_SEAL, EXECUTE_REQUEST_ID, EXECUTE_PAYLOAD = 1, 2, 20
STORE_SEAL, STORE_REQUEST_ID, STORE_STATUS, STORE_RESPONSE = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Command:
    """One kubectl command for the chain: what the session key claimed, what is asked, and until when.

    `request_id` 16 bytes; `session_key` 32, `secret_hash` 32, `claims_signature` 64; times in Unix ms;
    `payload` is the sealed request in chunks (`k3s_daas.payload.split`).
    """

    request_id: bytes
    session_key: bytes
    secret_hash: bytes
    not_before_ms: int
    token_expires_at_ms: int
    claims_signature: bytes
    attributes: OnChainAttributes
    executor: bytes
    start_by_ms: int
    finish_by_ms: int
    answer_by_ms: int
    payload: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Response:
    """One answer for the chain: HTTP status, and the sealed response in chunks."""

    request_id: bytes
    status_code: int
    payload: Sequence[bytes]


def execute_command(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, seal: SharedRef, command: Command
) -> None:
    """Submits a command. The sender of the transaction must be the gateway that the claims name."""
    payload = arguments.chunks(builder, command.payload)
    call_arguments = [
        arguments.shared(builder, cluster),
        arguments.shared(builder, seal, mutable=True),
        arguments.byte_vector(builder, command.request_id),
        arguments.byte_vector(builder, command.session_key),
        arguments.byte_vector(builder, command.secret_hash),
        arguments.u64(builder, command.not_before_ms),
        arguments.u64(builder, command.token_expires_at_ms),
        arguments.byte_vector(builder, command.claims_signature),
        *(arguments.string(builder, value) for value in command.attributes.values()),
        arguments.address(builder, command.executor),
        arguments.u64(builder, command.start_by_ms),
        arguments.u64(builder, command.finish_by_ms),
        arguments.u64(builder, command.answer_by_ms),
        payload,
        arguments.clock(builder),
    ]
    builder.move_call(package, GATEWAY_MODULE, EXECUTE_FUNCTION, call_arguments)


def store_response(
    builder: PtbBuilder, package: bytes, cluster: SharedRef, seal: SharedRef, response: Response
) -> None:
    """Stores an answer; may be added several times to one transaction. The sender must be the executor."""
    payload = arguments.chunks(builder, response.payload)
    call_arguments = [
        arguments.shared(builder, cluster),
        arguments.shared(builder, seal, mutable=True),
        arguments.byte_vector(builder, response.request_id),
        arguments.u16(builder, response.status_code),
        payload,
        arguments.clock(builder),
    ]
    builder.move_call(package, GATEWAY_MODULE, STORE_FUNCTION, call_arguments)
