"""Every call of the contract has as many arguments as its Move function takes, of the right kinds."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from k3s_daas.bcs import Reader
from k3s_daas.contract import calls
from k3s_daas.contract.arguments import CLOCK, SharedRef
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.errors import WireFormatError
from k3s_daas.sui.digests import to_base58
from k3s_daas.sui.ledger import ChainObject, Owner
from k3s_daas.sui.transaction_data import ArgumentKind, MoveCall, SharedInput
from k3s_daas.sui.transactions import (
    GAS_COIN,
    AddressBalanceGas,
    Argument,
    DecodedTransaction,
    ObjectRef,
    PtbBuilder,
    decode_transaction,
)

SOURCES = Path(__file__).parents[2] / "move" / "sources"
PACKAGE = b"\x0a" * 32
CLUSTER, SEAL = SharedRef(b"\x01" * 32, 5), SharedRef(b"\x02" * 32, 6)
CAP = ObjectRef(b"\x0e" * 32, 1, to_base58(b"\x0f" * 32))
SOMEBODY = b"\x0b" * 32
POLICY = calls.Policy(*range(1, 15))
COMMAND = calls.Command(
    b"\x03" * 16,
    b"\x04" * 32,
    b"\x05" * 32,
    1,
    2,
    b"\x06" * 64,
    OnChainAttributes("get"),
    SOMEBODY,
    1,
    2,
    3,
    [b"x"],
)
REFERENCE = calls.PayloadReference(b"r", b"\x07" * 32, 8)

Compose = Callable[[PtbBuilder, Argument], object]
CALLS: dict[str, Compose] = {
    "cluster::create": lambda b, _: calls.create_cluster(
        b, PACKAGE, name="c", listener_namespace="n", policy=POLICY, admin=SOMEBODY
    ),
    "cluster::new_policy": lambda b, _: calls.new_policy(b, PACKAGE, POLICY),
    "cluster::set_policy": lambda b, cap: calls.set_policy(b, PACKAGE, CLUSTER, cap, POLICY),
    "cluster::pause": lambda b, cap: calls.pause(b, PACKAGE, CLUSTER, cap),
    "cluster::resume": lambda b, cap: calls.resume(b, PACKAGE, CLUSTER, cap),
    "cluster::add_gateway": lambda b, cap: calls.add_gateway(b, PACKAGE, CLUSTER, cap, SOMEBODY),
    "cluster::remove_gateway": lambda b, cap: calls.remove_gateway(b, PACKAGE, CLUSTER, cap, SOMEBODY),
    "cluster::add_executor": lambda b, cap: calls.add_executor(b, PACKAGE, CLUSTER, cap, SOMEBODY),
    "cluster::announce_key": lambda b, _: calls.announce_key(
        b, PACKAGE, CLUSTER, hpke_key=b"k", generation=1, signature=b"s"
    ),
    "cluster::migrate": lambda b, cap: calls.migrate(b, PACKAGE, CLUSTER, cap),
    "cluster::issue_pause_cap": lambda b, cap: calls.issue_capability(
        b, PACKAGE, CLUSTER, cap, "pause", recipient=SOMEBODY
    ),
    "cluster::issue_member_cap": lambda b, cap: calls.issue_capability(
        b, PACKAGE, CLUSTER, cap, "member", recipient=SOMEBODY
    ),
    "cluster::issue_access_cap": lambda b, cap: calls.issue_capability(
        b, PACKAGE, CLUSTER, cap, "access", recipient=SOMEBODY
    ),
    "cluster::revoke_capability": lambda b, cap: calls.revoke_capability(
        b, PACKAGE, CLUSTER, cap, b"\x0c" * 32
    ),
    "cluster::remove_role": lambda b, cap: calls.remove_role(b, PACKAGE, CLUSTER, cap, "r"),
    "cluster::remove_executor": lambda b, cap: calls.remove_executor(b, PACKAGE, CLUSTER, cap, SOMEBODY),
    "cluster::define_role": lambda b, cap: calls.define_role(
        b, PACKAGE, CLUSTER, cap, name="r", priority=1, stake=2, is_open=True
    ),
    "cluster::add_rule": lambda b, cap: calls.add_rule(b, PACKAGE, CLUSTER, cap, role="r", verbs=["get"]),
    "cluster::grant": lambda b, cap: calls.grant(
        b, PACKAGE, CLUSTER, cap, holder=SOMEBODY, role="r", expires_at_ms=9
    ),
    "cluster::remove_grant": lambda b, cap: calls.remove_grant(
        b, PACKAGE, CLUSTER, cap, holder=SOMEBODY, role="r"
    ),
    "seal::stake": lambda b, _: calls.stake(
        b, PACKAGE, CLUSTER, role="r", coin=GAS_COIN, amount=1, expires_at_ms=9
    ),
    "seal::add_stake": lambda b, _: calls.add_stake(b, PACKAGE, SEAL, coin=GAS_COIN, amount=1),
    "seal::start_unstaking": lambda b, _: calls.start_unstaking(b, PACKAGE, SEAL, amount=1),
    "seal::withdraw": lambda b, _: calls.withdraw(b, PACKAGE, SEAL, recipient=SOMEBODY),
    "seal::transfer_ownership": lambda b, _: calls.transfer_ownership(
        b, PACKAGE, CLUSTER, SEAL, new_owner=SOMEBODY
    ),
    "seal::revoke": lambda b, cap: calls.revoke(b, PACKAGE, CLUSTER, cap, SEAL, reason="left"),
    "seal::slash": lambda b, cap: calls.slash(
        b, PACKAGE, CLUSTER, cap, SEAL, amount=1, reason="abuse", recipient=SOMEBODY
    ),
    "seal::open_session": lambda b, _: calls.open_session(
        b,
        PACKAGE,
        CLUSTER,
        SEAL,
        session_key=b"\x04" * 32,
        expires_at_ms=9,
        read_only=False,
        namespaces=["default"],
    ),
    "seal::close_all_sessions": lambda b, _: calls.close_all_sessions(b, PACKAGE, SEAL),
    "seal::close_session": lambda b, _: calls.close_session(b, PACKAGE, SEAL, session_key=b"\x04" * 32),
    "k8s_gateway::execute_kubectl_command_with_id": lambda b, _: calls.execute_command(
        b, PACKAGE, CLUSTER, SEAL, COMMAND
    ),
    "k8s_gateway::store_k8s_response": lambda b, _: calls.store_response(
        b, PACKAGE, CLUSTER, SEAL, calls.Response(b"\x03" * 16, 200, [b"x"])
    ),
    "k8s_gateway::execute_kubectl_command_by_reference": lambda b, _: calls.execute_command(
        b, PACKAGE, CLUSTER, SEAL, replace(COMMAND, payload=REFERENCE)
    ),
    "k8s_gateway::store_k8s_response_by_reference": lambda b, _: calls.store_response(
        b, PACKAGE, CLUSTER, SEAL, calls.Response(b"\x03" * 16, 200, REFERENCE)
    ),
    "k8s_gateway::reclaim": lambda b, _: calls.reclaim(b, PACKAGE, CLUSTER, SEAL, [b"\x03" * 16]),
}


def composed(compose: Compose) -> DecodedTransaction:
    builder = PtbBuilder()
    compose(builder, builder.owned(CAP))
    gas = AddressBalanceGas(1, 1, 1, to_base58(bytes(32)), 0)
    return decode_transaction(builder.build(SOMEBODY, gas=gas))


def parameters(target: str) -> list[str]:
    """The Move types of a public function, without the transaction context (which is never passed)."""
    module, function = target.split("::")
    text = re.sub(r"//[^\n]*", "", (SOURCES / f"{module}.move").read_text())
    match = re.search(rf"public fun {function}\(([^)]*)\)", text)
    assert match, f"{target} is not a public function of the contract"
    types = [part.split(":", 1)[1].strip() for part in match.group(1).split(",") if ":" in part]
    return [move_type for move_type in types if "TxContext" not in move_type]


@pytest.mark.parametrize("target", CALLS)
def test_arguments_fit_the_move_function(target: str) -> None:
    decoded = composed(CALLS[target])
    [call] = [call for call in decoded.move_calls if f"{call.module}::{call.function}" == target]
    expected = parameters(target)
    assert call.package == PACKAGE
    assert len(call.arguments) == len(expected)
    for argument, move_type in zip(call.arguments, expected, strict=True):
        check_argument(decoded, argument, move_type)


def check_argument(decoded: DecodedTransaction, argument: Argument, move_type: str) -> None:
    sizes = {"u8": 1, "u16": 2, "u64": 8, "bool": 1, "address": 32, "ID": 32}
    if move_type in sizes:
        assert len(decoded.resolve_pure(argument)) == sizes[move_type]
    elif move_type in ("String", "vector<u8>"):
        data = decoded.resolve_pure(argument)
        assert data[0] == len(data) - 1
    elif move_type == "vector<String>":
        texts(decoded.resolve_pure(argument))
    elif move_type == "vector<vector<u8>>":
        assert chunks(decoded, argument) in ([b"x"], [b"\x03" * 16])
    elif move_type in CAPABILITIES:
        assert decoded.resolve_object(argument) == CAP.id
    elif move_type == "Policy":
        assert argument.kind is ArgumentKind.RESULT
    elif move_type == "Coin<SUI>":
        assert argument.kind is ArgumentKind.NESTED_RESULT
    else:
        shared = decoded.inputs[argument.index]
        assert isinstance(shared, SharedInput)
        struct = move_type.removeprefix("&").removeprefix("mut ")
        ref = {"Cluster": CLUSTER, "SealToken": SEAL, "Clock": CLOCK}[struct]
        assert (shared.id, shared.initial_version) == (ref.id, ref.initial_version)
        assert shared.mutable == move_type.startswith("&mut ")


CAPABILITIES = ("&ClusterCap", "&PauseCap", "&MemberCap", "&AccessCap")


def texts(data: bytes) -> list[str]:
    reader = Reader(data)
    values = reader.vector(Reader.string)
    reader.finish()
    return values


def chunks(decoded: DecodedTransaction, argument: Argument) -> list[bytes]:
    """A vector that was made by a command, or one that is an input of its own."""
    if argument.kind is not ArgumentKind.INPUT:
        return decoded.resolve_chunks(argument)
    reader = Reader(decoded.resolve_pure(argument))
    values = reader.vector(Reader.byte_vector)
    reader.finish()
    return values


def test_every_public_function_of_the_contract_has_its_call() -> None:
    public = {
        f"{path.stem}::{name}"
        for path in SOURCES.glob("*.move")
        for name in re.findall(r"(?<!#\[test_only\]\n)public fun (\w+)\(", path.read_text())
    }
    assert public == set(CALLS)


def test_several_responses_share_one_transaction_and_its_objects() -> None:
    builder = PtbBuilder()
    for number in range(3):
        response = calls.Response(bytes([number]) * 16, 200, [b"a", b"b"])
        calls.store_response(builder, PACKAGE, CLUSTER, SEAL, response)
    gas = AddressBalanceGas(1, 1, 1, to_base58(bytes(32)), 0)
    decoded = decode_transaction(builder.build(SOMEBODY, gas=gas))
    assert len(decoded.move_calls) == 3
    assert len([value for value in decoded.inputs if isinstance(value, SharedInput)]) == 3


def test_a_deposit_calls_the_framework() -> None:
    decoded = composed(
        lambda b, _: calls.deposit_to_address_balance(b, coin=GAS_COIN, recipient=SOMEBODY, amount=5)
    )
    [call] = decoded.move_calls
    assert isinstance(call, MoveCall)
    assert (call.package, call.module, call.function) == ((2).to_bytes(32, "big"), "coin", "send_funds")
    assert call.type_arguments == (calls.SUI_TYPE,)


def test_only_a_shared_object_has_a_shared_reference() -> None:
    def found(owner: Owner) -> ChainObject:
        return ChainObject(b"\x01" * 32, 7, "", "", b"", owner, "")

    assert SharedRef.of(found(Owner("shared", initial_shared_version=5))) == CLUSTER
    with pytest.raises(WireFormatError):
        SharedRef.of(found(Owner("address", address=SOMEBODY)))
