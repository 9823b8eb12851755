"""Reading the contract's objects, with what an endpoint may do to them; payloads by hash."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from k3s_daas.bcs import Writer
from k3s_daas.contract import calls
from k3s_daas.contract.addresses import dynamic_field_id, request_object_id
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.objects import ExecutorState, UsageState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import LedgerUnavailableError, WireFormatError
from k3s_daas.payload import payload_hash
from k3s_daas.rbac import Role, Rule
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.digests import to_base58
from k3s_daas.sui.ledger import ChainObject, ForgedReplyError, Owner, SignedTransaction
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder, transaction_digest
from k3s_daas.sui.type_tags import parse_type_tag

ORIGINAL, LATEST = b"\x0a" * 32, b"\x0b" * 32
CLUSTER, SEAL, TABLE, HOLDER = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, b"\x04" * 32
EXECUTOR = b"\x07" * 32
REQUEST_ID = b"\x05" * 16
DIGEST = to_base58(bytes(range(32)))
ROOTS = TrustRoots(DIGEST, ORIGINAL, LATEST, CLUSTER, {}, {})
TYPE = "0x" + "0a" * 32
SHARED = Owner("shared", initial_shared_version=5)


@dataclass
class OneLedger:
    """The only objects there are. What a test does not need is not there and fails."""

    objects: dict[bytes, ChainObject] = field(default_factory=dict)

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        return self.objects.get(object_id)

    async def get_objects(self, object_ids: Sequence[bytes]) -> list[ChainObject | None]:
        return [self.objects.get(object_id) for object_id in object_ids]


def reader(*objects: ChainObject) -> ContractReader:
    ledger: Any = OneLedger({found.id: found for found in objects})
    return ContractReader(ledger, ROOTS)


def chain_object(object_id: bytes, type_tag: str, contents: Writer, owner: Owner = SHARED) -> ChainObject:
    body = object_id + contents.finish()
    return ChainObject(object_id, 9, DIGEST, type_tag, body, owner, DIGEST)


def cluster_object() -> ChainObject:
    contents = Writer().u64(1).string("dev").string("daas-listener")
    for value in range(1, 15):
        contents.u64(value)
    contents.uleb128(1).string("viewer").u8(3).u64(4).boolean(True).uleb128(1)
    for texts in (["get", "list"], [""], ["pods"], ["default"], [], []):
        contents.vector(texts, Writer.string)
    contents.address(TABLE).u64(1)
    contents.uleb128(1).address(b"\x07" * 32).byte_vector(b"hpke key").u64(3).byte_vector(b"signature")
    contents.uleb128(1).address(b"\x06" * 32).uleb128(1).address(b"\x0d" * 32).boolean(False)
    return chain_object(CLUSTER, f"{TYPE}::cluster::Cluster", contents)


def seal_object() -> ChainObject:
    contents = Writer().address(CLUSTER).address(HOLDER).string("viewer").u64(100).u64(20).u64(30)
    contents.u64(40).u64(1_000).u64(150).u64(30).u64(50).boolean(False)
    contents.uleb128(1).byte_vector(b"\x08" * 32).u64(60).boolean(True).uleb128(1).string("default")
    contents.u64(70).u64(71).u64(72).u64(73)
    return chain_object(SEAL, f"{TYPE}::seal::SealToken", contents)


def request_object(*, answered: bool) -> ChainObject:
    contents = Writer().byte_vector(REQUEST_ID).address(b"\x07" * 32).address(b"\x06" * 32).address(HOLDER)
    contents.string("viewer")
    OnChainAttributes("get", "", "v1", "pods").write(contents)
    contents.u8(3).byte_vector(b"\x09" * 32).u64(10)
    for value in (11, 12, 13, 14, 15):
        contents.u64(value)
    contents.boolean(answered)
    if answered:
        contents.u16(200).byte_vector(b"\x0c" * 32).u64(16).byte_vector(b"").u64(17)
    field_type = f"0x2::dynamic_field::Field<{TYPE}::k8s_gateway::RequestKey, {TYPE}::k8s_gateway::Request>"
    object_id = request_object_id(ORIGINAL, SEAL, REQUEST_ID)
    return chain_object(object_id, field_type, contents, Owner("object", address=SEAL))


def grant_object() -> ChainObject:
    key = Writer().address(HOLDER).string("viewer").finish()
    key_type = parse_type_tag(f"{TYPE}::cluster::GrantKey")
    contents = Writer().fixed(key).u64(77)
    field_type = f"0x2::dynamic_field::Field<{TYPE}::cluster::GrantKey, {TYPE}::cluster::Grant>"
    object_id = dynamic_field_id(TABLE, key_type, key)
    return chain_object(object_id, field_type, contents, Owner("object", address=TABLE))


async def test_a_cluster_is_read() -> None:
    cluster = await reader(cluster_object()).cluster()
    rule = Rule(("get", "list"), ("",), ("pods",), ("default",))
    assert cluster.ref == SharedRef(CLUSTER, 5)
    assert (cluster.version, cluster.name, cluster.listener_namespace) == (1, "dev", "daas-listener")
    assert cluster.policy == calls.Policy(*range(1, 15))
    assert cluster.roles == {"viewer": Role("viewer", 3, 4, True, (rule,))}
    assert cluster.executors == {EXECUTOR: ExecutorState(EXECUTOR, b"hpke key", 3, b"signature")}
    assert cluster.gateways == {b"\x06" * 32}
    assert cluster.capabilities == {b"\x0d" * 32}
    assert cluster.paused is False


async def test_a_seal_is_read() -> None:
    seal = await reader(seal_object()).seal(SEAL)
    assert seal is not None
    assert (seal.cluster, seal.owner, seal.role) == (CLUSTER, HOLDER, "viewer")
    assert (seal.stake, seal.unbonding, seal.withdrawable_at_ms, seal.unbonding_ms) == (100, 20, 30, 40)
    assert (seal.expires_at_ms, seal.revoked) == (50, False)
    session = seal.sessions[b"\x08" * 32]
    assert (session.expires_at_ms, session.read_only, session.namespaces) == (60, True, ("default",))
    assert (seal.max_slash_bps, seal.staked_total, seal.slashed) == (1_000, 150, 30)
    assert seal.usage == UsageState(minute=70, commands=71, day=72, deposit=73)


async def test_a_request_is_read_before_and_after_its_answer() -> None:
    pending = await reader(request_object(answered=False)).request(SEAL, REQUEST_ID)
    answered = await reader(request_object(answered=True)).request(SEAL, REQUEST_ID)
    assert pending is not None
    assert answered is not None
    assert pending.response is None
    assert (pending.previous_transaction, pending.answer_by_ms, pending.expires_at_ms) == (DIGEST, 14, 15)
    assert answered.response is not None
    assert (answered.response.status_code, answered.response.response_hash) == (200, b"\x0c" * 32)


async def test_a_grant_is_found_in_the_clusters_table() -> None:
    contract = reader(cluster_object(), grant_object())
    cluster = await contract.cluster()
    grant = await contract.grant(cluster, HOLDER, "viewer")
    assert grant is not None
    assert grant.expires_at_ms == 77
    assert await contract.grant(cluster, HOLDER, "editor") is None


async def test_seal_and_grant_are_read_in_one_call_as_each_is_alone() -> None:
    contract = reader(cluster_object(), seal_object(), grant_object())
    cluster = await contract.cluster()
    both = await contract.seal_and_grant(SEAL, cluster, HOLDER, "viewer")
    assert both == (await contract.seal(SEAL), await contract.grant(cluster, HOLDER, "viewer"))
    assert None not in both
    assert await contract.seal_and_grant(HOLDER, cluster, HOLDER, "editor") == (None, None)
    false = replace(grant_object(), owner=Owner("object", address=SEAL))
    with pytest.raises(ForgedReplyError):
        await reader(seal_object(), false).seal_and_grant(SEAL, cluster, HOLDER, "viewer")


async def test_what_does_not_exist_is_none_but_a_missing_cluster_is_an_error() -> None:
    contract = reader()
    assert await contract.seal(SEAL) is None
    assert await contract.request(SEAL, REQUEST_ID) is None
    with pytest.raises(LedgerUnavailableError, match="has no cluster"):
        await contract.cluster()


async def test_an_object_of_another_type_is_not_a_seal() -> None:
    for type_tag in ("0x" + "0b" * 32 + "::seal::SealToken", f"{TYPE}::cluster::Cluster", "package"):
        assert await reader(replace(seal_object(), type_tag=type_tag)).seal(SEAL) is None


async def test_a_false_cluster_is_forged() -> None:
    with pytest.raises(ForgedReplyError):
        await reader(replace(cluster_object(), type_tag="0x2::cluster::Cluster")).cluster()


async def test_a_field_of_another_object_or_type_is_forged() -> None:
    found = request_object(answered=True)
    other_field = found.type_tag.replace("k8s_gateway::Request>", "k8s_gateway::Other>")
    for forged in (
        replace(found, owner=Owner("object", address=CLUSTER)),
        replace(found, owner=Owner("address", address=HOLDER)),
        replace(found, type_tag=other_field),
    ):
        with pytest.raises(ForgedReplyError):
            await reader(forged).request(SEAL, REQUEST_ID)


async def test_contents_of_another_request_are_forged() -> None:
    found = request_object(answered=True)
    contents = found.contents.replace(REQUEST_ID, b"\x55" * 16)
    with pytest.raises(ForgedReplyError, match="another request"):
        await reader(replace(found, contents=contents)).request(SEAL, REQUEST_ID)


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"\x00", lambda c: b"\x63" * 32 + c[32:]])
async def test_malformed_contents_are_refused(change: Any) -> None:
    def broken(found: ChainObject) -> ContractReader:
        return reader(replace(found, contents=change(found.contents)))

    with pytest.raises(ForgedReplyError, match=r"cannot be read|another request"):
        await broken(cluster_object()).cluster()
    with pytest.raises(ForgedReplyError, match=r"cannot be read|another request"):
        await broken(seal_object()).seal(SEAL)
    with pytest.raises(ForgedReplyError, match=r"cannot be read|another request"):
        await broken(request_object(answered=True)).request(SEAL, REQUEST_ID)


def stored(*responses: tuple[bytes, list[bytes]], package: bytes = LATEST) -> SignedTransaction:
    builder = PtbBuilder()
    for request_id, chunks in responses:
        response = calls.Response(request_id, 200, chunks)
        calls.store_response(builder, package, SharedRef(CLUSTER, 5), SharedRef(SEAL, 6), response)
    data = builder.build(HOLDER, gas=AddressBalanceGas(1, 1, 1, DIGEST, 0))
    digest = transaction_digest(data)
    return SignedTransaction(digest, data, [], success=True)


def test_a_response_is_found_among_several_in_one_transaction() -> None:
    mine, other = [b"my answer", b"second chunk"], [b"somebody else's"]
    transaction = stored((b"\x66" * 16, other), (REQUEST_ID, [b"ignored"]), (REQUEST_ID, mine))
    assert reader().response_payload(transaction, REQUEST_ID, payload_hash(mine)) == mine
    assert reader().response_payload(transaction, b"\x66" * 16, payload_hash(other)) == other


def test_a_response_is_found_whatever_version_of_the_package_stored_it() -> None:
    chunks = [b"answer"]
    transaction = stored((REQUEST_ID, chunks), package=b"\x99" * 32)
    assert reader().response_payload(transaction, REQUEST_ID, payload_hash(chunks)) == chunks


def test_a_payload_with_another_hash_or_of_another_request_is_refused() -> None:
    transaction = stored((REQUEST_ID, [b"answer"]))
    with pytest.raises(WireFormatError, match="does not carry"):
        reader().response_payload(transaction, REQUEST_ID, payload_hash([b"another"]))
    with pytest.raises(WireFormatError, match="does not carry"):
        reader().response_payload(transaction, b"\x66" * 16, payload_hash([b"answer"]))
    with pytest.raises(WireFormatError, match="does not carry"):
        reader().request_payload(transaction, REQUEST_ID, payload_hash([b"answer"]))


def test_a_strange_call_beside_ours_does_not_hide_it() -> None:
    builder = PtbBuilder()
    junk = builder.pure(b"\xff")
    builder.move_call(b"\x99" * 32, "k8s_gateway", "store_k8s_response", [junk] * 6)
    builder.move_call(b"\x99" * 32, "k8s_gateway", "store_k8s_response", [])
    response = calls.Response(REQUEST_ID, 200, [b"answer"])
    calls.store_response(builder, LATEST, SharedRef(CLUSTER, 5), SharedRef(SEAL, 6), response)
    data = builder.build(HOLDER, gas=AddressBalanceGas(1, 1, 1, DIGEST, 0))
    transaction = replace(stored(), bcs=data)
    assert reader().response_payload(transaction, REQUEST_ID, payload_hash([b"answer"])) == [b"answer"]
