"""Calls that ought to succeed, from what the chain holds at the moment.

The planner knows what it made (clusters, capabilities, seals, session keys, request ids) and looks at the
present state for the rest. It is not careful: a call that the state does not allow is as good as any.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.sui.ledger.type_tags import CLOCK_ID
from tests.fuzz.functions import Function
from tests.fuzz.model import Call
from tests.fuzz.shapes import DAY_MS
from tests.fuzz.stage import SUCCESS, Account, Result, Stage, signing_key
from tests.fuzz.values import PURE_TYPES, Argument, Chunks, Object, Payment, PolicyCall, Pure, encode

LISTENER_NAMESPACE = "daas-listener"
ROLES = ("operator", "viewer", "auditor")
NAMESPACES = ("shop", "bank")
POLICY = {
    "min_write_stake": 1_000,
    "unbonding_ms": 60_000,
    "max_slash_bps": 5_000,
    "max_seal_ms": 30 * DAY_MS,
    "max_start_ms": 60_000,
    "max_finish_ms": 600_000,
    "max_answer_ms": 1_800_000,
    "read_ttl_ms": 30_000,
    "write_ttl_ms": 60_000,
    "ttl_per_priority_ms": 1_000,
    "max_ttl_ms": 65_000,
    "commands_per_minute": 2,
    "deposit_per_day": 40_000_000,
    "max_inline_bytes": 20_000,
}
POOL = 6
"""So many seals are in use at a time: each request of a seal makes the VM slower for it."""
OLD = 2
"""Among the clusters, the place of one of an earlier version."""
CAPABILITIES = frozenset({"ClusterCap", "PauseCap", "MemberCap", "AccessCap"})

Plan = Callable[["Planner"], tuple[bytes, dict[str, Any]]]
"""Sender, and values by the names of the parameters; what is too much is left out."""


@dataclass
class Knowledge:
    """What was made so far, by id."""

    clusters: list[bytes] = field(default_factory=list)
    capabilities: list[bytes] = field(default_factory=list)
    seals: list[bytes] = field(default_factory=list)
    requests: dict[bytes, list[bytes]] = field(default_factory=dict)
    """Seal -> request ids, most of which are still there."""
    sessions: dict[bytes, Ed25519PrivateKey] = field(default_factory=dict)
    """Public session key -> the key."""


class Planner:
    """Plans a call for every function: by the plan of its name, or as what a capability's holder does."""

    def __init__(
        self, stage: Stage, functions: dict[str, Function], rng: random.Random, plans: dict[str, Plan]
    ) -> None:
        self.stage = stage
        self.rng = rng
        self.known = Knowledge()
        self._functions = functions
        self._plans = plans
        self._addresses = {account.address for account in stage.accounts}
        self._sequence = 0

    # Who and what there is

    def is_account(self, address: bytes) -> bool:
        """Somebody who can sign."""
        return address in self._addresses

    def anybody(self) -> bytes:
        return self.rng.choice(self.stage.accounts).address

    @property
    def admin(self) -> Account:
        return self.stage.accounts[0]

    @property
    def gateway(self) -> Account:
        return self.stage.accounts[1]

    @property
    def executor(self) -> Account:
        return self.stage.accounts[2]

    def holder(self) -> bytes:
        return self.rng.choice(self.stage.accounts[3:]).address

    @property
    def cluster(self) -> bytes:
        """The one that most calls are about."""
        return self.known.clusters[0]

    def pool(self) -> list[bytes]:
        """The seals in use."""
        return self.known.seals[-POOL:]

    def one_of(self, addresses: list[bytes]) -> bytes:
        return self.rng.choice(addresses) if addresses else self.anybody()

    def next_number(self) -> int:
        self._sequence += 1
        return self._sequence

    def new_session_key(self) -> bytes:
        private = signing_key(f"session {self.next_number()}")
        public = private.public_key().public_bytes_raw()
        self.known.sessions[public] = private
        return public

    def capability(self, kind: str, cluster: bytes) -> bytes:
        """One that works if there is one."""
        view = self.stage.view
        named = [view.capability(cap) for cap in self.known.capabilities]
        fitting = [cap.id for cap in named if cap.kind == kind and cap.cluster == cluster]
        live = [cap for cap in fitting if cap in view.cluster(cluster).capabilities]
        return (live or fitting or self.known.capabilities)[-1]

    # Calls

    def plan(self, path: str, /, **changes: Any) -> Call:
        """A call of the function ``module::name``; ``changes`` replace what would be chosen."""
        function = self._functions[path]
        plan = self._plans.get(function.name)
        sender, values = plan(self) if plan is not None else self.administer(path)
        values |= changes
        sender = values.pop("sender", sender)
        if not self.is_account(sender):
            sender = self.anybody()
        arguments = [self._argument(function, values, p.name, p.type) for p in function.parameters]
        return Call(function, sender, tuple(arguments))

    def administer(self, path: str) -> tuple[bytes, dict[str, Any]]:
        """Any call by a capability, with arguments that often fit."""
        function = self._functions[path]
        cluster = self.rng.choice(self.known.clusters) if self.rng.random() < 0.2 else self.cluster
        state = self.stage.view.cluster(cluster)
        kind = next(p.type for p in function.parameters if p.name == "cap")
        values: dict[str, Any] = {"cluster": cluster, "cap": self.capability(kind, cluster)}
        removing = function.name.startswith("remove")
        for parameter in function.parameters:
            match parameter.name:
                case "gateway":
                    values["gateway"] = self.one_of(sorted(state.gateways) if removing else [])
                case "executor":
                    values["executor"] = self.one_of(sorted(state.executors) if removing else [])
                case "name" | "role":
                    values[parameter.name] = self.rng.choice(ROLES)
                case "holder":
                    values["holder"] = self.holder()
                case "expires_at_ms":
                    values["expires_at_ms"] = self.stage.view.now_ms + self.rng.randint(1, DAY_MS)
        return self.stage.view.capability(values["cap"]).owner, values

    def learn(self, call: Call, result: Result) -> None:
        """Remember what a call made."""
        if result.ending != SUCCESS:
            return
        for kind, object_id in result.created:
            if kind == "Cluster":
                self.known.clusters.append(object_id)
            elif kind in CAPABILITIES:
                self.known.capabilities.append(object_id)
            elif kind == "SealToken":
                self.known.seals.append(object_id)
        if call.function.name.startswith("execute"):
            seal, request_id = call.arguments[1], call.arguments[2]
            assert isinstance(seal, Object)
            assert isinstance(request_id, Pure)
            # Without the length before it.
            self.known.requests.setdefault(seal.id, []).append(request_id.data[1:])

    def _argument(self, function: Function, values: dict[str, Any], name: str, kind: str) -> Argument:
        if name in values:
            value = values[name]
            if isinstance(value, Pure | Chunks | Object | Payment | PolicyCall):
                return value
            if kind in PURE_TYPES:
                return encode(kind, value)
            return Payment(value) if kind == "Coin<SUI>" else Object(value)
        if kind == "Clock":
            return Object(CLOCK_ID)
        if kind == "vector<String>":
            return encode(kind, ())
        if kind == "Cluster":
            return Object(self.cluster)
        raise AssertionError(f"nothing is planned for {name} of {function.path}")


def good_policy() -> PolicyCall:
    """The one that the planner's calls are made for."""
    return PolicyCall(tuple(encode("u64", value) for value in POLICY.values()))
