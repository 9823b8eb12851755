"""The numbers in the contract's document are those that the ledger counts."""

from __future__ import annotations

import pytest

from k3s_daas.contract.usage import command_deposit
from tests.bench.contract_numbers import READ, WRITE, Number, count, documented
from tests.move.harness import Chain
from tests.move.world import ROLE

DEPOSIT_PER_BYTE = 7_600


@pytest.fixture(scope="module")
def counted(chain: Chain) -> list[Number]:
    return count(chain)


def test_the_document_has_every_number_and_no_other(counted: list[Number]) -> None:
    units = {number.what: number.unit for number in counted}
    assert {what: unit for what, (_, unit) in documented().items()} == units


def test_the_numbers_in_the_document_are_the_counted_ones(counted: list[Number]) -> None:
    written = documented()
    wrong = {
        number.what: (written[number.what][0], number.text)
        for number in counted
        if not number.agrees(written[number.what][0])
    }
    assert wrong == {}, "make numbers counts anew"


def test_requests_leave_nothing_and_touch_nothing_but_their_seal(counted: list[Number]) -> None:
    amounts = {number.what: number.amount for number in counted}
    assert {amount for what, amount in amounts.items() if what.startswith("left of")} == {0}
    assert {number.amount for number in counted if number.unit == "inputs"} == {1}
    assert amounts["transactions per command, answered alone"] == 2
    assert amounts["transactions per command, 32 answered at once"] == 1.03125


def test_the_deposit_that_the_contract_estimates_is_never_below_the_counted_one(
    counted: list[Number],
) -> None:
    amounts = {number.what: number.amount for number in counted}
    longest = amounts["stored for a read that is answered by the longest reference"]
    assert longest * DEPOSIT_PER_BYTE <= command_deposit(ROLE, READ)
    assert amounts["stored for a write that is answered"] * DEPOSIT_PER_BYTE <= command_deposit(ROLE, WRITE)


@pytest.mark.parametrize(
    ("number", "written", "agrees"),
    [
        (Number("", 518, "bytes"), "518", True),
        (Number("", 518, "bytes"), "519", False),
        (Number("", 120_000, "bytes"), "120,000", True),
        (Number("", 1.0625, "transactions"), "1.06", True),
        (Number("", 1.0625, "transactions"), "1.07", False),
        (Number("", -1_000_000, "MIST"), "-1,050,000", True),
        (Number("", -1_000_000, "MIST"), "-1,050,001", False),
        (Number("", 1_000_000, "MIST"), "-1,000,000", False),
    ],
)
def test_only_mist_have_a_tolerance(number: Number, written: str, agrees: bool) -> None:
    assert number.agrees(written) is agrees
