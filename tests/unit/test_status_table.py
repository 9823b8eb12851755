"""Every error and abort has one Status, and kubectl can read it."""

import json
from typing import Any

import pytest

from k3s_daas import errors
from k3s_daas.aborts import CODES, abort_name
from k3s_daas.answers import ANSWERS, ERRORS
from k3s_daas.errors import (
    ConfigurationError,
    ForbiddenError,
    LedgerUnavailableError,
    MalformedRequestError,
    MoveAbortError,
    PayloadTooLargeError,
    SealedDataError,
    TokenError,
    TransactionRefusedError,
    UntrustedKeyError,
    WireFormatError,
)
from k3s_daas.status import Cause, StatusError, from_abort, from_error, from_failure


def body(error: StatusError) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(error.body())
    return parsed


def test_a_status_has_the_shape_of_metav1() -> None:
    error = StatusError(
        503,
        "ServiceUnavailable",
        "wait",
        causes=(Cause("EWhy", "because"),),
        retry_after_s=1,
        request_id="0f" * 16,
    )
    assert body(error) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "wait",
        "reason": "ServiceUnavailable",
        "code": 503,
        "details": {
            "uid": "0f" * 16,
            "causes": [
                {"reason": "EWhy", "message": "because"},
                {"reason": "RequestId", "message": "0f" * 16},
            ],
            "retryAfterSeconds": 1,
        },
    }
    assert ("Content-Type", "application/json") in error.headers()
    assert ("Retry-After", "1") in error.headers()


def test_a_status_without_details_has_none() -> None:
    error = StatusError(405, "MethodNotAllowed", "no")
    assert "details" not in body(error)
    assert all(name != "Retry-After" for name, _ in error.headers())


def test_every_abort_of_the_contract_has_an_answer_and_nothing_else_has() -> None:
    assert ANSWERS.keys() == CODES.keys()


@pytest.mark.parametrize(("module", "code"), CODES.values())
def test_every_abort_has_an_answer_that_names_it(module: str, code: int) -> None:
    error = from_abort(module, code)
    assert 400 <= error.code <= 599
    assert error.code != 500, "an abort is a decision, not an accident"
    assert error.retry_after_s is None, "kubectl would repeat a refused command ten times"
    name = abort_name(module, code)
    assert body(error)["details"]["causes"][0] == {"reason": name, "message": f"{module}::{name} ({code})"}
    assert "{" not in error.message


@pytest.mark.parametrize(
    ("module", "code", "status", "reason"),
    [
        ("cluster", 102, 503, "ServiceUnavailable"),
        ("role", 202, 403, "Forbidden"),
        ("role", 203, 403, "Forbidden"),
        ("seal", 303, 403, "Forbidden"),
        ("seal", 304, 403, "Forbidden"),
        ("seal", 305, 403, "Forbidden"),
        ("seal", 306, 403, "Forbidden"),
        ("seal", 307, 403, "Forbidden"),
        ("seal", 311, 401, "Unauthorized"),
        ("seal", 312, 401, "Unauthorized"),
        ("seal", 313, 403, "Forbidden"),
        ("seal", 316, 401, "Unauthorized"),
        ("seal", 318, 401, "Unauthorized"),
        ("seal", 323, 403, "Forbidden"),
        ("seal", 324, 429, "TooManyRequests"),
        ("seal", 325, 429, "TooManyRequests"),
        ("cluster", 117, 503, "ServiceUnavailable"),
        ("k8s_gateway", 401, 502, "BadGateway"),
        ("k8s_gateway", 404, 504, "Timeout"),
        ("k8s_gateway", 406, 413, "RequestEntityTooLarge"),
        ("k8s_gateway", 408, 400, "BadRequest"),
    ],
)
def test_aborts_have_the_codes_that_kubectl_expects(module: str, code: int, status: int, reason: str) -> None:
    error = from_abort(module, code)
    assert (error.code, error.reason) == (status, reason)


def test_a_missing_stake_is_told_to_the_last_mist() -> None:
    error = from_abort("seal", 307, stake_mist=250_000_001, required_mist=1_000_000_000, request_id="ab")
    assert "It has 0.250000001 SUI of the 1 SUI needed: 0.749999999 SUI are missing." in error.message
    assert "add stake" in error.message
    assert error.request_id == "ab"
    assert "SUI" not in from_abort("seal", 307).message, "no figures are made up"


def test_a_role_that_refuses_is_named_with_what_it_refuses() -> None:
    error = from_abort("role", 202, role="viewer", verb="delete", resource="pods")
    assert error.message.endswith("Role viewer has no rule for delete of pods.")


def test_context_cannot_reach_into_the_template() -> None:
    error = from_abort("role", 202, role="{verb.__class__}", verb="{0}", resource="x")
    assert "Role {verb.__class__} has no rule for {0} of x." in error.message


def test_an_abort_that_is_not_ours_says_where_it_came_from() -> None:
    error = from_abort("balance", 2)
    assert error.code == 502
    assert error.causes == (Cause("MoveAbort", "balance::2"),)
    assert abort_name("balance", 2) is None


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (MalformedRequestError("the path is odd: fix it"), 400, "BadRequest"),
        (TokenError("expired: renew it"), 401, "Unauthorized"),
        (ForbiddenError("no"), 403, "Forbidden"),
        (PayloadTooLargeError("too much", size=2, limit=1), 413, "RequestEntityTooLarge"),
        (ConfigurationError("DAAS_X is missing"), 500, "InternalError"),
        (TransactionRefusedError("signature", "wrong"), 502, "BadGateway"),
        (TransactionRefusedError("insufficient-funds", "poor"), 503, "ServiceUnavailable"),
        (SealedDataError("altered"), 502, "BadGateway"),
        (UntrustedKeyError("older"), 502, "BadGateway"),
        (WireFormatError("short"), 502, "BadGateway"),
        (MoveAbortError("seal", 305), 403, "Forbidden"),
        (ValueError("a token: kdaas1.x"), 500, "InternalError"),
    ],
)
def test_every_error_has_one_answer(error: Exception, code: int, reason: str) -> None:
    answer = from_error(error, request_id="ab")
    assert (answer.code, answer.reason, answer.request_id) == (code, reason, "ab")
    assert answer.retry_after_s is None


@pytest.mark.parametrize("kind", ["gas-price", "expired", "stale-object"])
def test_an_endpoint_that_is_behind_is_asked_again(kind: str) -> None:
    answer = from_error(TransactionRefusedError(kind, "old"))
    assert (answer.code, answer.retry_after_s) == (503, 1)
    assert "behind" in answer.message


@pytest.mark.parametrize(
    ("kind", "code", "retry_after_s", "word"),
    [
        ("EXECUTION_CANCELED_DUE_TO_CONSENSUS_OBJECT_CONGESTION", 503, 1, "at once"),
        ("INSUFFICIENT_FUNDS_FOR_WITHDRAW", 503, None, "SUI"),
        ("INSUFFICIENT_GAS", 502, None, "gas"),
        ("VM_INVARIANT_VIOLATION", 502, None, "failed"),
        (None, 502, None, "failed"),
    ],
)
def test_a_transaction_that_failed_without_an_abort_is_told_apart(
    kind: str | None, code: int, retry_after_s: int | None, word: str
) -> None:
    answer = from_failure(kind, transaction="D", request_id="ab")
    assert (answer.code, answer.retry_after_s, answer.request_id) == (code, retry_after_s, "ab")
    assert word in answer.message
    assert "nothing was run" in answer.message
    assert ("Transaction", "D") in answer.causes


def test_every_class_of_the_error_tree_has_a_row_or_a_rule() -> None:
    handled = (*(row[0] for row in ERRORS), LedgerUnavailableError, MoveAbortError)
    leaves = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DaasError) and not kind.__subclasses__()
    ]
    assert len(leaves) >= 9
    assert all(issubclass(kind, handled) for kind in leaves)


def test_what_the_caller_cannot_mend_is_not_told_him() -> None:
    assert "DAAS_X" not in from_error(ConfigurationError("DAAS_X is missing")).message
    assert "kdaas1" not in str(from_error(ValueError("kdaas1.x")).body())
    assert "the path is odd" in from_error(MalformedRequestError("the path is odd")).message


def test_kubectl_finds_the_word_it_knows_in_a_401() -> None:
    assert from_error(TokenError("expired: renew it")).message == "Unauthorized: expired: renew it"
    assert from_abort("seal", 311).message.startswith("Unauthorized: ")


def test_only_what_was_not_submitted_is_worth_a_silent_retry() -> None:
    before = from_error(LedgerUnavailableError("refused"), submitted=False)
    assert (before.code, before.reason, before.retry_after_s) == (503, "ServiceUnavailable", 1)
    after = from_error(LedgerUnavailableError("reset"))
    assert (after.code, after.reason, after.retry_after_s) == (504, "Timeout", None)
    assert "may still run" in after.message


@pytest.mark.parametrize(("second", "wait"), [(0, 60), (1, 59), (59, 1)])
def test_a_rate_says_when_the_next_minute_begins(second: int, wait: int) -> None:
    now_ms = 1_800_000_000_000 // 60_000 * 60_000 + second * 1000 + 999
    assert from_abort("seal", 324, now_ms=now_ms).retry_after_s == wait
    assert from_error(MoveAbortError("seal", 324), now_ms=now_ms).retry_after_s == wait


def test_nothing_else_is_retried_because_a_minute_is_over() -> None:
    assert [code for module, code in CODES.values() if from_abort(module, code, now_ms=0).retry_after_s] == [
        324
    ]


def test_a_session_names_its_namespaces() -> None:
    assert from_abort("seal", 323, namespaces="a, b").message.endswith("It admits a, b.")


def test_an_abort_names_its_transaction() -> None:
    answer = from_error(MoveAbortError("role", 202, digest="9mXJ"))
    assert Cause("Transaction", "9mXJ") in answer.causes


def test_a_status_is_its_own_answer() -> None:
    original = StatusError(501, "NotImplemented", "no", causes=(Cause("a", "b"),), retry_after_s=3)
    assert from_error(original) is original
    carried = from_error(original, request_id="ab")
    assert (carried.code, carried.causes, carried.retry_after_s, carried.request_id) == (
        501,
        original.causes,
        3,
        "ab",
    )
