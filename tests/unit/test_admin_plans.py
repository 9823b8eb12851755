"""What an operator is shown before anything happens, and which transactions it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

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
from k3s_daas.admin.grants import list_grants, plan_grant, plan_grant_removal
from k3s_daas.admin.members import plan_executor, plan_gateway
from k3s_daas.admin.paying import Payer
from k3s_daas.admin.policy_file import DEFAULT_POLICY
from k3s_daas.admin.roles import plan_roles
from k3s_daas.bcs import Writer
from k3s_daas.contract.calls import Duty
from k3s_daas.contract.objects import GrantState
from k3s_daas.errors import ConfigurationError, LedgerError, LedgerUnavailableError, TransactionRefusedError
from k3s_daas.ids import to_hex
from k3s_daas.rbac import Rule
from k3s_daas.sui.ledger import (
    CreatedObject,
    Owner,
)
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transaction_data import Argument, ArgumentKind, TransferObjects
from k3s_daas.sui.transactions import decode_transaction
from tests.unit.admin_world import (
    CLUSTER,
    DEPLOYMENT,
    EXECUTOR,
    FRAMEWORK,
    GATEWAY,
    HOLDER,
    PACKAGE,
    READER,
    STATE,
    TABLE,
    ScriptedLedger,
    owned_by,
    port,
    put,
    with_cluster,
)


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
