"""What an operator is shown before anything happens, and which transactions it becomes."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from k3s_daas.admin.administrator import Administrator, capability_type
from k3s_daas.admin.changes import Change, Power, batches, powers_needed
from k3s_daas.admin.clusters import (
    plan_capability,
    plan_pause,
    plan_policy,
    plan_resume,
    plan_revocation,
    with_issued,
)
from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.grants import list_grants, plan_grant, plan_grant_removal
from k3s_daas.admin.members import plan_executor, plan_gateway
from k3s_daas.admin.paying import Payer
from k3s_daas.admin.policy_file import DEFAULT_POLICY
from k3s_daas.admin.publishing import IncompatibleUpgradeError, PackageCode, plan_upgrade
from k3s_daas.admin.report import announcement_fault
from k3s_daas.admin.roles import plan_roles
from k3s_daas.admin.trust import move_latest, parse_public_key, pin, unpinned
from k3s_daas.bcs import Writer
from k3s_daas.contract.announcing import Announcement
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.calls import Duty
from k3s_daas.contract.keys import announcement
from k3s_daas.contract.objects import ClusterState, ExecutorState, GrantState
from k3s_daas.errors import ConfigurationError, LedgerError, LedgerUnavailableError, TransactionRefusedError
from k3s_daas.ids import to_hex
from k3s_daas.rbac import Role, Rule
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.sui.digests import to_base58
from k3s_daas.sui.ledger import (
    ChainObject,
    ChainPackage,
    CreatedObject,
    EpochInfo,
    ExecutionOutcome,
    Owner,
    ServiceInfo,
)
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transaction_data import Argument, ArgumentKind, TransferObjects
from k3s_daas.sui.transactions import decode_transaction, transaction_digest

FRAMEWORK = to_hex((2).to_bytes(32, "big"))
CHAIN = to_base58(bytes(range(32)))
PACKAGE, CAP, CLUSTER, TABLE = b"\x0a" * 32, b"\x0b" * 32, b"\x0c" * 32, b"\x0d" * 32
DEPLOYMENT = Deployment(CHAIN, PACKAGE, PACKAGE, CAP, CLUSTER)
GATEWAY, EXECUTOR, HOLDER = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
READER = Role("viewer", 3, 0, False, (Rule(("get",), ("",), ("pods",)),))
STATE = ClusterState(
    ref=SharedRef(CLUSTER, 5),
    version=1,
    name="shop",
    listener_namespace="daas-system",
    policy=DEFAULT_POLICY,
    roles={"viewer": READER},
    grants=TABLE,
    executors={EXECUTOR: ExecutorState(EXECUTOR, b"", 0, b"")},
    gateways=frozenset({GATEWAY}),
    capabilities=frozenset(),
    paused=False,
)


@dataclass
class ScriptedLedger:
    """A chain that executes everything, and keeps what it was sent. What no test needs is not there."""

    objects: dict[bytes, ChainObject] = field(default_factory=dict)
    fields: list[ChainObject] = field(default_factory=list)
    package: ChainPackage | None = None
    executed: list[bytes] = field(default_factory=list)
    address_balance: int = 10**12
    refusals: int = 0
    breaks: int = 0
    sent: list[bytes] = field(default_factory=list)
    lag: int = 0
    created: Sequence[CreatedObject] = ()

    async def service_info(self) -> ServiceInfo:
        return ServiceInfo(CHAIN, 1, 1, 0, 1_000)

    async def epoch(self) -> EpochInfo:
        return EpochInfo(1, 1_000)

    async def balance(self, _: bytes) -> int:
        return self.address_balance

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        return self.objects.get(object_id)

    async def list_owned_objects(self, owner: bytes, object_type: str) -> list[ChainObject]:
        mine = (one for one in self.objects.values() if one.owner.address == owner)
        return [one for one in mine if one.type_tag == object_type]

    async def list_dynamic_fields(self, _: bytes) -> list[ChainObject]:
        return self.fields

    async def get_package(self, package: bytes) -> ChainPackage | None:
        return self.package if self.package and self.package.id == package else None

    async def get_signed_transaction(self, digest: str) -> object | None:
        if self.lag:
            self.lag -= 1
            return None
        return digest if digest in [transaction_digest(one) for one in self.executed] else None

    async def execute(self, transaction: bytes, _: bytes) -> ExecutionOutcome:
        self.sent.append(transaction)
        if self.breaks:
            self.breaks -= 1
            raise LedgerUnavailableError("the endpoint is away")
        if self.refusals:
            self.refusals -= 1
            raise TransactionRefusedError("stale-object", "the object is at another version")
        self.executed.append(transaction)
        return ExecutionOutcome(transaction_digest(transaction), True, created=self.created)

    def calls(self, position: int = -1) -> list[str]:
        """The functions that a transaction called."""
        return [call.function for call in decode_transaction(self.executed[position]).move_calls]


def port(ledger: ScriptedLedger) -> Any:
    """Only a part of the port: what is missing fails."""
    return ledger


def put(ledger: ScriptedLedger, object_id: bytes, type_tag: str, contents: bytes, owner: Owner) -> None:
    ledger.objects[object_id] = ChainObject(object_id, 7, CHAIN, type_tag, object_id + contents, owner, CHAIN)


def owned_by(signer: FileSigner) -> Owner:
    return Owner("address", signer.address)


def with_cluster(ledger: ScriptedLedger, *, capabilities: Sequence[bytes] = ()) -> None:
    """The chain has the cluster, with these live duty capabilities."""
    contents = Writer().u64(1).string("shop").string("daas-system")
    for name in DEFAULT_POLICY.__dataclass_fields__:
        contents.u64(getattr(DEFAULT_POLICY, name))
    contents.uleb128(0).address(TABLE).u64(0).uleb128(0).uleb128(0)
    contents.vector(capabilities, Writer.address).boolean(False)
    owner = Owner("shared", initial_shared_version=5)
    put(ledger, CLUSTER, f"{to_hex(PACKAGE)}::cluster::Cluster", contents.finish(), owner)


@pytest.fixture
def signer(tmp_path: Path) -> FileSigner:
    return FileSigner.generate(tmp_path / "key")


def summaries(changes: Sequence[Change]) -> str:
    return "\n".join(change.summary for change in changes)


# === Differences ===


def test_roles_that_are_equal_need_no_change() -> None:
    assert plan_roles({"viewer": READER}, [READER]).changes == ()


def test_a_changed_role_shows_what_changes_and_is_replaced_whole() -> None:
    after = replace(READER, priority=4, stake=10**9, open=True, rules=(Rule(("list",), ("",), ("pods",)),))
    [change] = plan_roles({"viewer": READER}, [after]).changes
    for line in (
        "change the role viewer",
        "~ priority 3 -> 4",
        "~ stake 0 -> 1 SUI",
        "~ by grant -> open to everybody",
        "- verbs get; apiGroups ''; resources pods",
        "+ verbs list; apiGroups ''; resources pods",
    ):
        assert line in change.summary
    assert (change.power, change.commands) == ("access", 2)


def test_rules_in_another_order_are_a_difference() -> None:
    second = Rule(("list",), ("",), ("pods",))
    before = replace(READER, rules=(*READER.rules, second))
    [change] = plan_roles({"viewer": before}, [replace(READER, rules=(second, *READER.rules))]).changes
    assert "another order" in change.summary


def test_only_pruning_removes_a_role_that_the_file_does_not_have() -> None:
    kept = plan_roles({"viewer": READER, "old": READER}, [READER])
    assert (kept.changes, kept.kept) == ((), ("old",))
    pruned = plan_roles({"viewer": READER, "old": READER}, [READER], prune=True)
    assert "remove the role old" in summaries(pruned.changes)


def test_members_change_only_if_they_are_not_so_already() -> None:
    assert plan_gateway(STATE, GATEWAY, registered=True) == []
    assert plan_executor(STATE, EXECUTOR, registered=True) == []
    assert plan_gateway(STATE, EXECUTOR, registered=False) == []
    assert to_hex(EXECUTOR) in summaries(plan_gateway(STATE, EXECUTOR, registered=True))
    assert to_hex(EXECUTOR) in summaries(plan_executor(STATE, EXECUTOR, registered=False))


def test_pause_takes_one_power_and_resume_another() -> None:
    assert [change.power for change in plan_pause(STATE)] == ["pause"]
    assert plan_resume(STATE) == []
    paused = replace(STATE, paused=True)
    assert plan_pause(paused) == []
    assert [change.power for change in plan_resume(paused)] == ["cluster"]


def test_a_policy_that_is_the_same_is_no_change() -> None:
    assert plan_policy(STATE, DEFAULT_POLICY) == []
    shown = summaries(plan_policy(STATE, replace(DEFAULT_POLICY, max_seal_ms=1)))
    assert "maxSeal: 30d -> 1ms" in shown


def test_grants_name_their_end_and_unknown_roles_the_known_ones() -> None:
    present = [GrantState(HOLDER, "viewer", 1_000)]
    assert plan_grant(STATE.roles, present, HOLDER, "viewer", 1_000) == []
    moved = summaries(plan_grant(STATE.roles, present, HOLDER, "viewer", 86_400_000))
    assert "until 1970-01-02T00:00:00Z instead of 1970-01-01T00:00:01Z" in moved
    with pytest.raises(ConfigurationError, match="no role 'boss'; it has: viewer"):
        plan_grant(STATE.roles, present, HOLDER, "boss", 1)
    with pytest.raises(ConfigurationError, match="daas role apply"):
        plan_grant([], present, HOLDER, "boss", 1)
    assert plan_grant_removal([], HOLDER, "viewer") == []
    assert to_hex(HOLDER) in summaries(plan_grant_removal(present, HOLDER, "viewer"))


async def test_grants_are_read_from_the_table_and_nothing_else() -> None:
    field_type = (
        f"{FRAMEWORK}::dynamic_field::Field<{to_hex(PACKAGE)}::cluster::GrantKey, "
        f"{to_hex(PACKAGE)}::cluster::Grant>"
    )
    entries = ScriptedLedger()
    for number, (holder, role) in enumerate([(HOLDER, "viewer"), (GATEWAY, "viewer"), (HOLDER, "admin")]):
        contents = Writer().address(holder).string(role).u64(number).finish()
        put(entries, bytes([number]) * 32, field_type, contents, Owner("object", TABLE))
    strange = field_type.replace("::Grant>", "::Granted>")
    put(entries, b"\x09" * 32, strange, contents, Owner("object", TABLE))
    put(entries, b"\x0a" * 32, field_type, contents, Owner("object", HOLDER))
    entries.fields = list(entries.objects.values())

    found = await list_grants(port(entries), PACKAGE, STATE)

    assert [(one.role, one.holder) for one in found] == [
        ("admin", HOLDER),
        ("viewer", GATEWAY),
        ("viewer", HOLDER),
    ]


# === Transactions ===


def change(power: Power, *, commands: int = 1, size: int = 200, issues: Duty | None = None) -> Change:
    return Change("x", power, lambda draft: None, commands, size, issues)


def test_changes_fill_transactions_in_order_and_none_is_cut() -> None:
    many = [change("access", commands=200) for _ in range(5)] + [change("access", commands=900)]
    assert [len(batch) for batch in batches(many)] == [2, 2, 1, 1]
    large = [change("access", size=50_000) for _ in range(3)]
    assert [len(batch) for batch in batches(large)] == [1, 1, 1]
    assert list(batches([])) == []


def test_what_a_transaction_issues_itself_need_not_be_owned() -> None:
    issuing = [change("cluster", issues="member"), change("member"), change("access")]
    assert powers_needed(issuing) == ["cluster", "access"]
    assert powers_needed([change("member"), change("cluster", issues="member")]) == ["member", "cluster"]


async def test_duties_are_issued_used_and_handed_over_in_one_transaction(signer: FileSigner) -> None:
    ledger = ScriptedLedger()
    with_cluster(ledger)
    put(ledger, b"\x0e" * 32, capability_type(PACKAGE, "cluster"), CLUSTER, owned_by(signer))
    issued = CreatedObject(b"\x0f" * 32, capability_type(PACKAGE, "member"))
    ledger.created = [issued]
    administrator = Administrator(port(ledger), Payer(port(ledger), signer), DEPLOYMENT)

    outcomes = await administrator.apply(
        [
            plan_capability("member", HOLDER),
            *plan_gateway(STATE, EXECUTOR, registered=True),
            *plan_gateway(STATE, HOLDER, registered=True),
        ]
    )

    assert ledger.calls() == ["issue_member_cap", "add_gateway", "add_gateway"]
    decoded = decode_transaction(ledger.executed[0])
    issuing = Argument(ArgumentKind.RESULT, 0)
    assert [call.arguments[1] for call in decoded.move_calls[1:]] == [issuing, issuing]
    assert decoded.commands[-1] == TransferObjects((issuing,), Argument(ArgumentKind.INPUT, 4))
    assert decoded.resolve_pure(Argument(ArgumentKind.INPUT, 4)) == HOLDER
    assert with_issued(DEPLOYMENT, outcomes).capabilities == {"member": issued.id}


async def test_only_a_live_capability_of_this_cluster_is_used(signer: FileSigner) -> None:
    ledger = ScriptedLedger()
    administrator = Administrator(port(ledger), Payer(port(ledger), signer), DEPLOYMENT)
    member = capability_type(PACKAGE, "member")
    revoked, foreign, live = b"\x21" * 32, b"\x22" * 32, b"\x23" * 32
    with_cluster(ledger, capabilities=[live, foreign])
    put(ledger, revoked, member, CLUSTER, owned_by(signer))
    put(ledger, foreign, member, b"\x77" * 32, owned_by(signer))
    changes = plan_gateway(STATE, EXECUTOR, registered=True)

    with pytest.raises(ConfigurationError, match="no live MemberCap"):
        await administrator.apply(changes)
    assert ledger.executed == []

    put(ledger, live, member, CLUSTER, owned_by(signer))
    await administrator.apply(changes)
    decoded = decode_transaction(ledger.executed[0])
    assert decoded.resolve_object(decoded.move_calls[0].arguments[1]) == live


async def test_an_endpoint_that_lags_is_waited_for(
    signer: FileSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k3s_daas.admin.paying._BETWEEN_LOOKS_S", 0)
    ledger = ScriptedLedger(refusals=2, lag=3)
    with_cluster(ledger)
    put(ledger, b"\x0e" * 32, capability_type(PACKAGE, "cluster"), CLUSTER, owned_by(signer))
    administrator = Administrator(port(ledger), Payer(port(ledger), signer), DEPLOYMENT)
    await administrator.apply([plan_capability("pause", HOLDER)])
    assert (ledger.refusals, ledger.lag, len(ledger.executed)) == (0, 0, 1)

    ledger.refusals = 9
    with pytest.raises(TransactionRefusedError):
        await administrator.apply([plan_capability("pause", HOLDER)])
    ledger.refusals, ledger.lag = 0, 99
    with pytest.raises(LedgerError, match="lags"):
        await administrator.apply([plan_capability("pause", HOLDER)])


async def test_what_may_have_been_made_is_sent_again_as_it_was(
    signer: FileSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k3s_daas.admin.paying._BETWEEN_LOOKS_S", 0)
    ledger = ScriptedLedger(breaks=2)
    await Payer(port(ledger), signer).run(lambda builder: None)
    assert len(ledger.sent) == 3
    assert len(set(ledger.sent)) == 1

    ledger.breaks = 9
    with pytest.raises(LedgerUnavailableError, match=r"whether transaction \w+ was made is not known"):
        await Payer(port(ledger), signer).run(lambda builder: None)


async def test_an_address_without_money_is_named(signer: FileSigner) -> None:
    ledger = ScriptedLedger(address_balance=10)
    coin = f"{FRAMEWORK}::coin::Coin<{FRAMEWORK}::sui::SUI>"
    put(ledger, HOLDER, coin, (5).to_bytes(8, "little"), owned_by(signer))
    with pytest.raises(LedgerError, match=f"{to_hex(signer.address)}.*--gas-budget"):
        await Payer(port(ledger), signer).run(lambda builder: None)
    assert ledger.executed == []

    put(ledger, HOLDER, coin, (10**10).to_bytes(8, "little"), owned_by(signer))
    await Payer(port(ledger), signer).run(lambda builder: None)
    assert [ref.id for ref in decode_transaction(ledger.executed[0]).data.gas.payment] == [HOLDER]


def test_a_capability_that_is_not_live_cannot_be_revoked() -> None:
    with pytest.raises(ConfigurationError, match="daas cluster show"):
        plan_revocation(STATE, HOLDER)


# === Announcements and pins ===


def announced(signer: FileSigner, key: SealingPrivateKey, generation: int = 1) -> ExecutorState:
    public = key.public_bytes()
    signature = signer.sign_personal_message(announcement(CLUSTER, signer.address, generation, public))
    return ExecutorState(signer.address, public, generation, signature)


def test_an_announcement_is_the_next_generation_of_a_registered_executor(signer: FileSigner) -> None:
    state = replace(STATE, executors={signer.address: announced(signer, SealingPrivateKey.generate(), 4)})
    assert Announcement.following(state, signer.address).generation == 5
    with pytest.raises(ConfigurationError, match="daas executor add"):
        Announcement.following(STATE, signer.address)


def test_a_shown_key_is_judged_by_its_signature(signer: FileSigner, tmp_path: Path) -> None:
    other = FileSigner.generate(tmp_path / "other")
    good = announced(signer, SealingPrivateKey.generate())
    assert announcement_fault(CLUSTER, good) is None
    assert announcement_fault(b"\x55" * 32, good) is not None
    assert announcement_fault(CLUSTER, replace(good, generation=2)) is not None
    stolen = replace(announced(other, SealingPrivateKey.generate()), address=signer.address)
    assert "another key" in str(announcement_fault(CLUSTER, stolen))
    assert announcement_fault(CLUSTER, replace(good, signature=b"\x00")) is not None


def test_only_keys_of_registered_members_are_pinned(signer: FileSigner, tmp_path: Path) -> None:
    other = FileSigner.generate(tmp_path / "other")
    state = replace(
        STATE,
        gateways=frozenset({signer.address, GATEWAY}),
        executors={signer.address: ExecutorState(signer.address, b"", 0, b"")},
    )
    roots = pin(DEPLOYMENT, state, [signer.public_key], [signer.public_key])
    assert roots.gateways == roots.executors == {signer.address: signer.public_key}
    assert unpinned(state, roots) == [f"the gateway {to_hex(GATEWAY)}"]
    with pytest.raises(ConfigurationError, match="no registered executor"):
        pin(DEPLOYMENT, state, [signer.public_key], [other.public_key])
    with pytest.raises(ConfigurationError, match="no gateway's public key"):
        pin(DEPLOYMENT, state, [], [signer.public_key])


def test_public_keys_are_read_strictly(signer: FileSigner) -> None:
    assert parse_public_key("0x" + signer.public_key.hex()) == signer.public_key
    for text in ("", "0x", "0x03" + "11" * 32, "0x00" + "11" * 31, "zz", "0x01" + "11" * 32):
        with pytest.raises(ConfigurationError, match="no public key"):
            parse_public_key(text)


def test_an_upgrade_moves_only_the_latest_package_of_its_own_roots(
    signer: FileSigner, tmp_path: Path
) -> None:
    path = tmp_path / "roots.json"
    keys = {signer.address: signer.public_key}
    DEPLOYMENT.roots(keys, keys).dump(path)
    move_latest(path, replace(DEPLOYMENT, package_latest=b"\x99" * 32))
    assert TrustRoots.load(path) == replace(DEPLOYMENT.roots(keys, keys), package_latest=b"\x99" * 32)
    with pytest.raises(ConfigurationError, match="another deployment"):
        move_latest(path, replace(DEPLOYMENT, package_original=b"\x98" * 32))


# === Upgrades ===

MODULES = {"one": b"one" + PACKAGE + b"!", "two": b"two"}
COMPILED = (b"one" + bytes(32) + b"!", b"two")


def upgradable(signer: FileSigner) -> ScriptedLedger:
    ledger = ScriptedLedger(package=ChainPackage(PACKAGE, PACKAGE, 1, MODULES))
    contents = Writer().address(PACKAGE).u64(1).u8(0).finish()
    put(ledger, CAP, f"{FRAMEWORK}::package::UpgradeCap", contents, owned_by(signer))
    return ledger


def code(*modules: bytes) -> PackageCode:
    return PackageCode(modules, (), bytes(32))


async def test_an_upgrade_says_what_changes(signer: FileSigner) -> None:
    ledger = upgradable(signer)
    asked: list[tuple[Sequence[bytes], Sequence[bytes]]] = []

    def compatible(old: Sequence[bytes], new: Sequence[bytes]) -> list[str]:
        asked.append((old, new))
        return []

    new = code(COMPILED[0], b"two, again", b"three")
    plan = await plan_upgrade(port(ledger), DEPLOYMENT, signer.address, new, compatible)
    assert plan is not None
    assert plan.summary() == "upgrade the package from version 1 to 2: changes two and adds 1 modules"
    assert asked == [(list(MODULES.values()), new.modules)]
    same = await plan_upgrade(
        port(ledger),
        DEPLOYMENT,
        signer.address,
        code(*COMPILED),
        compatible,
    )
    assert same is None


async def test_an_upgrade_that_the_chain_would_refuse_is_not_tried(signer: FileSigner) -> None:
    ledger = upgradable(signer)
    with pytest.raises(IncompatibleUpgradeError, match="a is missing; b is missing") as refused:
        await plan_upgrade(
            port(ledger),
            DEPLOYMENT,
            signer.address,
            code(b"one"),
            lambda old, new: ["a is missing", "b is missing"],
        )
    assert refused.value.reasons == ("a is missing", "b is missing")
    assert ledger.executed == []


async def test_an_upgrade_needs_the_capability_and_a_current_file(signer: FileSigner) -> None:
    ledger = upgradable(signer)

    async def plan(deployment: Deployment, owner: bytes) -> None:
        await plan_upgrade(port(ledger), deployment, owner, code(b"x"), lambda old, new: [])

    with pytest.raises(ConfigurationError, match="not owned by"):
        await plan(DEPLOYMENT, HOLDER)
    with pytest.raises(ConfigurationError, match=f"upgraded to {to_hex(PACKAGE)} since"):
        await plan(replace(DEPLOYMENT, package_latest=b"\x99" * 32), signer.address)
    with pytest.raises(ConfigurationError, match="no UpgradeCap"):
        await plan(replace(DEPLOYMENT, upgrade_cap=HOLDER), signer.address)


def test_bytecode_is_what_the_compiler_prints() -> None:
    printed = {"modules": [b64encode(b"m").decode()], "dependencies": ["0x1"], "digest": [7] * 32}
    read = PackageCode.from_json(json.dumps(printed), "bytecode.json")
    assert read == PackageCode((b"m",), (bytes(31) + b"\x01",), b"\x07" * 32)
    wrong: list[dict[str, object]] = [
        {"modules": []},
        {"digest": [7]},
        {"modules": ["?"]},
        {"dependencies": None},
    ]
    for change_ in wrong:
        with pytest.raises(ConfigurationError, match=r"bytecode\.json is not the output of sui move build"):
            PackageCode.from_json(json.dumps(printed | change_), "bytecode.json")
    for text in ("", "[]", "{"):
        with pytest.raises(ConfigurationError):
            PackageCode.from_json(text, "bytecode.json")
