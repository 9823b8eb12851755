"""The contract's objects as a chain holds them, for tests of both halves.

What is encoded here is decoded by the product; that both follow the Move sources, other tests compare.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple

from k3s_daas.bcs import Writer
from k3s_daas.contract.addresses import dynamic_field_id, request_key, request_object_id
from k3s_daas.contract.calls import Policy, SharedRef
from k3s_daas.contract.keys import announcement
from k3s_daas.contract.objects import (
    ClusterState,
    ExecutorState,
    GrantState,
    RequestState,
    ResponseState,
    SealState,
    SessionState,
    UsageState,
)
from k3s_daas.rbac import Role, Rule
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.sui.ledger import ChainObject, Owner
from k3s_daas.sui.signers import FileSigner, TransactionSigner
from k3s_daas.sui.type_tags import StructTag

CHAIN_ID = "4btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S"
PACKAGE = hashlib.sha256(b"package").digest()
CLUSTER = hashlib.sha256(b"cluster").digest()
SEAL = hashlib.sha256(b"seal").digest()
OWNER = hashlib.sha256(b"owner").digest()
GRANTS = hashlib.sha256(b"grants").digest()
CLUSTER_REF, SEAL_REF = SharedRef(CLUSTER, 3), SharedRef(SEAL, 3)
SECOND_MS, HOUR_MS = 1_000, 3_600_000
SUI = 1_000_000_000
POLICY = Policy(
    min_write_stake=10 * SUI,
    unbonding_ms=HOUR_MS,
    max_slash_bps=1_000,
    max_seal_ms=24 * HOUR_MS,
    max_start_ms=60 * SECOND_MS,
    max_finish_ms=600 * SECOND_MS,
    max_answer_ms=1_800 * SECOND_MS,
    read_ttl_ms=600 * SECOND_MS,
    write_ttl_ms=HOUR_MS,
    ttl_per_priority_ms=60 * SECOND_MS,
    max_ttl_ms=2 * HOUR_MS,
    commands_per_minute=1_000,
    deposit_per_day=10 * SUI,
    max_inline_bytes=98_304,
)
OPERATOR = (
    Rule(verbs=("*",), api_groups=("*",), resources=("*",)),
    Rule(verbs=("get",), non_resource_urls=("/version", "/api", "/apis", "/openapi/*")),
)


def trust_roots(gateway: TransactionSigner, executor: TransactionSigner) -> TrustRoots:
    """Those of a deployment with one gateway and one listener."""
    return TrustRoots(
        chain_id=CHAIN_ID,
        package_original=PACKAGE,
        package_latest=PACKAGE,
        cluster=CLUSTER,
        gateways={gateway.address: gateway.public_key},
        executors={executor.address: executor.public_key},
    )


def announced(executor: FileSigner, key: SealingPrivateKey, generation: int = 1) -> ExecutorState:
    """An executor as the chain shows it after it announced this key."""
    public = key.public_bytes()
    message = announcement(CLUSTER, executor.address, generation, public)
    return ExecutorState(executor.address, public, generation, executor.sign_personal_message(message))


def cluster_state(
    *,
    executors: Sequence[ExecutorState],
    gateways: Sequence[bytes],
    namespace: str,
    rules: Sequence[Rule] = OPERATOR,
    role_stake: int = 0,
    is_open: bool = True,
    paused: bool = False,
    policy: Policy = POLICY,
) -> ClusterState:
    """A cluster with one role, `operator`."""
    return ClusterState(
        ref=CLUSTER_REF,
        version=1,
        name="demo",
        listener_namespace=namespace,
        policy=policy,
        roles={"operator": Role("operator", 1, role_stake, is_open, tuple(rules))},
        grants=GRANTS,
        executors={executor.address: executor for executor in executors},
        gateways=frozenset(gateways),
        capabilities=frozenset(),
        paused=paused,
    )


def seal_state(
    *,
    sessions: Mapping[bytes, SessionState],
    stake: int,
    expires_at_ms: int,
    owner: bytes = OWNER,
    role: str = "operator",
    cluster: bytes = CLUSTER,
    revoked: bool = False,
    usage: UsageState | None = None,
) -> SealState:
    """A seal that nobody has unstaked or slashed."""
    return SealState(
        ref=SEAL_REF,
        cluster=cluster,
        owner=owner,
        role=role,
        stake=stake,
        unbonding=0,
        withdrawable_at_ms=0,
        unbonding_ms=HOUR_MS,
        max_slash_bps=1_000,
        staked_total=stake,
        slashed=0,
        expires_at_ms=expires_at_ms,
        revoked=revoked,
        sessions=sessions,
        usage=usage or UsageState(minute=0, commands=0, day=0, deposit=0),
    )


def cluster_object(state: ClusterState) -> ChainObject:
    writer = Writer().address(CLUSTER).u64(state.version).string(state.name).string(state.listener_namespace)
    _write_u64s(writer, astuple(state.policy))
    writer.vector(state.roles.values(), _write_role)
    writer.address(state.grants).u64(0)
    writer.vector(
        state.executors.values(),
        lambda inner, executor: (
            inner.address(executor.address)
            .byte_vector(executor.hpke_key)
            .u64(executor.generation)
            .byte_vector(executor.signature)
        ),
    )
    writer.vector(sorted(state.gateways), Writer.address)
    writer.vector(sorted(state.capabilities), Writer.address).boolean(state.paused)
    return _shared(CLUSTER, "cluster::Cluster", writer)


def seal_object(state: SealState) -> ChainObject:
    writer = Writer().address(state.ref.id).address(state.cluster).address(state.owner).string(state.role)
    _write_u64s(writer, (state.stake, state.unbonding, state.withdrawable_at_ms, state.unbonding_ms))
    _write_u64s(writer, (state.max_slash_bps, state.staked_total, state.slashed, state.expires_at_ms))
    writer.boolean(state.revoked)
    writer.vector(
        state.sessions.items(),
        lambda inner, item: (
            inner.byte_vector(item[0])
            .u64(item[1].expires_at_ms)
            .boolean(item[1].read_only)
            .vector(item[1].namespaces, Writer.string)
        ),
    )
    _write_u64s(writer, astuple(state.usage))
    return _shared(state.ref.id, "seal::SealToken", writer)


def request_object(state: RequestState) -> ChainObject:
    """The dynamic field of the seal; `state.previous_transaction` is the object's."""
    writer = Writer().address(state.executor).address(state.gateway).address(state.requester)
    state.attributes.write(writer.string(state.role))
    writer.u8(state.priority).byte_vector(state.request_hash).u64(state.request_size)
    _write_u64s(writer, (state.accepted_at_ms, state.start_by_ms, state.finish_by_ms, state.answer_by_ms))
    writer.u64(state.expires_at_ms).option(state.response, _write_response)
    return _field(
        request_object_id(PACKAGE, SEAL, state.request_id),
        SEAL,
        ("k8s_gateway", "RequestKey", "Request"),
        request_key(state.request_id) + writer.finish(),
        state.previous_transaction,
    )


def grant_object(grant: GrantState) -> ChainObject:
    key = Writer().address(grant.holder).string(grant.role).finish()
    object_id = dynamic_field_id(GRANTS, StructTag(PACKAGE, "cluster", "GrantKey"), key)
    contents = key + Writer().u64(grant.expires_at_ms).finish()
    return _field(object_id, GRANTS, ("cluster", "GrantKey", "Grant"), contents, "")


def _shared(object_id: bytes, name: str, contents: Writer) -> ChainObject:
    owner = Owner("shared", initial_shared_version=3)
    return ChainObject(object_id, 9, "", f"0x{PACKAGE.hex()}::{name}", contents.finish(), owner, "")


def _field(
    object_id: bytes, parent: bytes, names: tuple[str, str, str], contents: bytes, transaction: str
) -> ChainObject:
    module, key, value = names
    ours = f"0x{PACKAGE.hex()}::{module}"
    type_tag = f"0x{2:064x}::dynamic_field::Field<{ours}::{key}, {ours}::{value}>"
    owner = Owner("object", address=parent)
    return ChainObject(object_id, 1, "", type_tag, object_id + contents, owner, transaction)


def _write_u64s(writer: Writer, values: Sequence[int]) -> None:
    for value in values:
        writer.u64(value)


def _write_role(writer: Writer, role: Role) -> None:
    writer.string(role.name).u8(role.priority).u64(role.stake).boolean(role.open)
    writer.vector(role.rules, _write_rule)


def _write_rule(writer: Writer, rule: Rule) -> None:
    for texts in astuple(rule):
        writer.vector(texts, Writer.string)


def _write_response(writer: Writer, response: ResponseState) -> None:
    writer.u16(response.status_code).byte_vector(response.response_hash).u64(response.response_size)
    writer.byte_vector(response.response_reference).u64(response.answered_at_ms)
