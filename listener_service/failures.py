"""Why a transaction with answers failed on chain, and which of these reasons may pass.

It was executed, so it cost gas, and the same bytes are never executed again. What is not in the table is
about the answer itself, and would fail again.

Source of the rule: what `store_k8s_response` asserts (`k8s_gateway.move`; a pause is not among it, so answers
pass a paused cluster), and the kinds of Sui's `ExecutionFailureStatus` that say nothing about a single call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from k3s_daas.aborts import abort_name
from k3s_daas.sui.ledger import ExecutionOutcome

MOST_FAILURES = 30
"""With the pauses between them about as many as there is time for until `answer_by`."""


@dataclass(frozen=True, slots=True)
class PassingFailure:
    """A failure that has nothing to do with what the answers say.

    `do` is for the operator. `concerns_all`: any other transaction of this executor fails likewise, so there
    is no use in smaller ones. After `at_most` of them the answers are given up, since each costs gas.
    """

    do: str
    concerns_all: bool
    at_most: int = MOST_FAILURES


# By the name of the contract's abort, or of Sui's failure.
PASSING_FAILURES: Mapping[str, PassingFailure] = {
    "EUnsupportedVersion": PassingFailure(
        "the cluster is served by another version of the package: run daas cluster migrate, or restart the "
        "listener with the trust roots of that version",
        concerns_all=True,
    ),
    "INSUFFICIENT_FUNDS_FOR_WITHDRAW": PassingFailure(
        "send SUI to the executor's address balance", concerns_all=True
    ),
    "INSUFFICIENT_GAS": PassingFailure(
        "restart the listener with a larger DAAS_GAS_BUDGET",
        concerns_all=False,
        # Each costs the whole budget.
        at_most=3,
    ),
    "EXECUTION_CANCELED_DUE_TO_CONSENSUS_OBJECT_CONGESTION": PassingFailure(
        "nothing, unless it goes on: then too many transactions want the same seal", concerns_all=False
    ),
}


def failure_name(outcome: ExecutionOutcome) -> str | None:
    """The contract's name for the abort, or Sui's for another failure; None for a success."""
    if outcome.abort is None:
        return outcome.failure_kind
    return abort_name(outcome.abort.module, outcome.abort.code) or outcome.failure_kind


def passing_failure(outcome: ExecutionOutcome) -> PassingFailure | None:
    """What is known of a failure that may pass; None for a success, and for what is final."""
    name = failure_name(outcome)
    return None if name is None else PASSING_FAILURES.get(name)
