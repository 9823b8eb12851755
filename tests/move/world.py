"""A cluster with a gateway, an executor, roles and holders, as the tests of the contract use it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas import bearer
from k3s_daas.contract import calls
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.keys import announcement
from k3s_daas.contract.objects import ClusterState, SealState
from k3s_daas.deadlines import Deadlines
from k3s_daas.ids import new_request_id
from k3s_daas.sui.transactions import Argument, PtbBuilder
from tests.move.harness import SUI_MIST, Account, Chain, Compose, Receipt

DAY_MS = 86_400_000
LISTENER_NAMESPACE = "daas-listener"
POLICY = calls.Policy(
    min_write_stake=10 * SUI_MIST,
    unbonding_ms=7 * DAY_MS,
    max_slash_bps=2_500,
    max_seal_ms=30 * DAY_MS,
    max_start_ms=60_000,
    max_finish_ms=600_000,
    max_answer_ms=1_800_000,
    read_ttl_ms=600_000,
    write_ttl_ms=3_600_000,
    ttl_per_priority_ms=60_000,
    max_ttl_ms=DAY_MS,
    commands_per_minute=1_000,
    deposit_per_day=100 * SUI_MIST,
    max_inline_bytes=96 * 1024,
)
HPKE_KEY = bytes(range(256)) * 4 + bytes(192)
ENOUGH = POLICY.min_write_stake
ROLE = "operator"
READ = OnChainAttributes("get", "", "v1", "pods", "", "default", "web")
WRITE = OnChainAttributes("delete", "", "v1", "pods", "", "default", "web")
PAYLOAD = (b"sealed request " * 1_000, b"and its end")
ANSWER = (b"sealed response " * 900, b"and its end")


CLUSTER, PAUSE, MEMBER, ACCESS = "cluster", "pause", "member", "access"
_DUTIES: dict[str, str] = {
    **dict.fromkeys(("pause",), PAUSE),
    **dict.fromkeys(("add_gateway", "remove_gateway", "add_executor", "remove_executor"), MEMBER),
    **dict.fromkeys(("define_role", "add_rule", "remove_role", "grant", "remove_grant", "revoke"), ACCESS),
}


@dataclass(frozen=True)
class Administration:
    """A call with everything but what all calls with a capability take first."""

    call: Callable[..., object]
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]

    @property
    def duty(self) -> str:
        """Which capability the call takes."""
        return _DUTIES.get(self.call.__name__, CLUSTER)

    def add(self, builder: PtbBuilder, package: bytes, cluster: SharedRef, cap: Argument) -> None:
        self.call(builder, package, cluster, cap, *self.arguments, **self.named)


def administering(call: Callable[..., object], *arguments: Any, **named: Any) -> Administration:
    return Administration(call, arguments, named)


def issuing(duty: calls.Duty, recipient: bytes) -> Administration:
    return administering(calls.issue_capability, duty, recipient=recipient)


@dataclass
class Seal:
    """A holder's seal with one open session."""

    owner: Account
    ref: SharedRef
    session: Ed25519PrivateKey

    @property
    def session_key(self) -> bytes:
        return self.session.public_key().public_bytes_raw()


@dataclass
class World:
    """A cluster of its own. ``gateway`` and ``executor`` are registered, everybody may stake for ``ROLE``."""

    chain: Chain
    admin: Account
    """Holds all capabilities."""
    cluster: SharedRef
    capabilities: dict[str, bytes]
    """Duty -> capability."""
    gateway: Account
    executor: Account
    secrets: list[bytes] = field(default_factory=list)
    """Of every token that was made: none may ever be found on the chain."""

    @classmethod
    def create(cls, chain: Chain, policy: calls.Policy = POLICY) -> World:
        admin, gateway, executor = chain.account(), chain.account(), chain.account()
        created = chain.run(
            admin,
            lambda builder: calls.create_cluster(
                builder,
                chain.package,
                name="test",
                listener_namespace=LISTENER_NAMESPACE,
                policy=policy,
                admin=admin.address,
            ),
        )
        [cluster_id], [cap] = created.created("Cluster"), created.created("ClusterCap")
        world = cls(chain, admin, chain.shared(cluster_id), {CLUSTER: cap}, gateway, executor)
        duties: tuple[calls.Duty, ...] = ("pause", "member", "access")
        issued = world.administer(*(issuing(duty, admin.address) for duty in duties))
        for duty in duties:
            [world.capabilities[duty]] = issued.created(f"{duty.title()}Cap")
        world.administer(
            administering(calls.add_gateway, gateway.address),
            administering(calls.add_executor, executor.address),
            administering(calls.define_role, name=ROLE, priority=1, stake=0, is_open=True),
            administering(calls.add_rule, role=ROLE, verbs=["*"], api_groups=["*"], resources=["*"]),
            administering(calls.add_rule, role=ROLE, verbs=["get"], non_resource_urls=["/api/*"]),
        )
        chain.run(executor, world.announcing(executor))
        return world

    @property
    def package(self) -> bytes:
        return self.chain.package

    # The administrator

    def administration(
        self, *calls_: Administration, capabilities: Mapping[str, bytes] | None = None
    ) -> Compose:
        """One transaction of calls that take a capability."""
        held = capabilities or self.capabilities

        def compose(builder: PtbBuilder) -> None:
            caps = {
                duty: self.chain.owned(builder, held[duty])
                for duty in dict.fromkeys(call.duty for call in calls_)
            }
            for call in calls_:
                call.add(builder, self.package, self.cluster, caps[call.duty])

        return compose

    def administer(self, *calls_: Administration) -> Receipt:
        return self.chain.run(self.admin, self.administration(*calls_))

    def refuses_administration(self, *calls_: Administration) -> str:
        return self.chain.abort(self.admin, self.administration(*calls_))

    def define_role(
        self, name: str, rules: Sequence[dict[str, Any]], *, stake: int = 0, is_open: bool = True
    ) -> None:
        self.administer(
            administering(calls.define_role, name=name, priority=1, stake=stake, is_open=is_open),
            *(administering(calls.add_rule, role=name, **rule) for rule in rules),
        )

    def state(self) -> ClusterState:
        return ClusterState.decode(self.chain.read(self.cluster.id))

    def set_policy(self, **changes: int) -> None:
        policy = replace(self.state().policy, **changes)
        self.administer(administering(calls.set_policy, policy))

    def announcing(self, executor: Account, hpke_key: bytes = HPKE_KEY, generation: int = 1) -> Compose:
        message = announcement(self.cluster.id, executor.address, generation, hpke_key)
        signature = executor.signer.sign_personal_message(message)
        return lambda builder: calls.announce_key(
            builder,
            self.package,
            self.cluster,
            hpke_key=hpke_key,
            generation=generation,
            signature=signature,
        )

    def add_executor(self) -> Account:
        """Another one that can be assigned commands."""
        executor = self.chain.account()
        self.administer(administering(calls.add_executor, executor.address))
        self.chain.run(executor, self.announcing(executor))
        return executor

    def revoke(self, seal: Seal, reason: str = "lost") -> Receipt:
        return self.administer(administering(calls.revoke, seal.ref, reason=reason))

    # Holders

    def staking(self, owner: Account, **terms: Any) -> Compose:
        chosen: dict[str, Any] = {
            "role": ROLE,
            "amount": ENOUGH,
            "expires_at_ms": self.chain.now_ms + POLICY.max_seal_ms,
        } | terms

        def compose(builder: PtbBuilder) -> None:
            coin = self.chain.owned(builder, owner.coin)
            calls.stake(builder, self.package, self.cluster, coin=coin, **chosen)

        return compose

    def opening(self, seal: SharedRef, session_key: bytes, **terms: Any) -> Compose:
        chosen: dict[str, Any] = {"expires_at_ms": self.chain.now_ms + DAY_MS, "read_only": False} | terms
        return lambda builder: calls.open_session(
            builder, self.package, self.cluster, seal, session_key=session_key, **chosen
        )

    def stake(self, owner: Account | None = None, **terms: Any) -> Seal:
        """A new seal, without a session."""
        owner = owner or self.chain.account()
        [seal_id] = self.chain.run(owner, self.staking(owner, **terms)).created("SealToken")
        return Seal(owner, self.chain.shared(seal_id), Ed25519PrivateKey.generate())

    def open_session(self, seal: Seal, **terms: Any) -> Receipt:
        return self.chain.run(seal.owner, self.opening(seal.ref, seal.session_key, **terms))

    def holder(self, *, read_only: bool = False, **terms: Any) -> Seal:
        """A new seal with an open session."""
        seal = self.stake(**terms)
        self.open_session(seal, read_only=read_only)
        return seal

    def transferring(self, seal: Seal, new_owner: bytes) -> Compose:
        return lambda builder: calls.transfer_ownership(
            builder, self.package, self.cluster, seal.ref, new_owner=new_owner
        )

    def seal_state(self, seal: Seal) -> SealState:
        return SealState.decode(self.chain.read(seal.ref.id))

    # Commands

    def token(self, seal: Seal, /, **changes: Any) -> bearer.BearerToken:
        named: dict[str, Any] = {
            "cluster": self.cluster.id,
            "seal": seal.ref.id,
            "gateway": self.gateway.address,
            "now_ms": self.chain.now_ms,
        }
        session = changes.pop("session", seal.session)
        token = bearer.mint(session, **(named | changes))
        self.secrets.append(token.secret)
        return token

    def command(self, seal: Seal, token: bearer.BearerToken | None = None, **changes: Any) -> calls.Command:
        """A read, or with ``changes`` whatever a test wants."""
        token = token or self.token(seal)
        now_ms = self.chain.now_ms
        command = calls.Command.of(
            token,
            Deadlines(now_ms + 24_000, now_ms + 240_000, now_ms + 840_000),
            request_id=new_request_id(now_ms),
            attributes=READ,
            executor=self.executor.address,
            payload=PAYLOAD,
        )
        return replace(command, **changes)

    def executing(self, seal: Seal, command: calls.Command) -> Compose:
        return lambda builder: calls.execute_command(builder, self.package, self.cluster, seal.ref, command)

    def execute(self, seal: Seal, command: calls.Command | None = None) -> calls.Command:
        """A command that is accepted."""
        command = command or self.command(seal)
        self.chain.run(self.gateway, self.executing(seal, command))
        return command

    def refuses(self, seal: Seal, sender: Account | None = None, **changes: Any) -> str:
        """The abort of a command that differs from an acceptable one in ``changes``."""
        return self.chain.abort(sender or self.gateway, self.executing(seal, self.command(seal, **changes)))

    # Responses

    def answering(self, seal: Seal, *responses: calls.Response) -> Compose:
        def compose(builder: PtbBuilder) -> None:
            for response in responses:
                calls.store_response(builder, self.package, self.cluster, seal.ref, response)

        return compose

    def answer(self, seal: Seal, request_id: bytes, **changes: Any) -> Receipt:
        response = replace(calls.Response(request_id, 200, ANSWER), **changes)
        return self.chain.run(self.executor, self.answering(seal, response))

    # The end of requests

    def reclaiming(self, seal: Seal, *request_ids: bytes) -> Compose:
        return lambda builder: calls.reclaim(builder, self.package, self.cluster, seal.ref, request_ids)


def hash_of(chunks: Sequence[bytes]) -> bytes:
    """The payload hash, written down a second time: contract and product are compared with it."""
    return hashlib.sha3_256(b"".join(hashlib.sha3_256(chunk).digest() for chunk in chunks)).digest()
