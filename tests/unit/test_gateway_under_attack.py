"""What callers try with the gateway: to make it pay, to make others wait, to see or leave something in its
texts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
from chalicelib.http_request import GatewayRequest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from k3s_daas.long_running import bounded_watch
from k3s_daas.sui.grpc_messages import outcome
from k3s_daas.sui.transactions import transaction_digest
from tests.unit.gateway_world import SealTerms, World, now_ms, status

PODS = "/api/v1/namespaces/default/pods"


@pytest.mark.parametrize(
    ("token", "fragment"),
    [
        (lambda world: world.token(lifetime_ms=3_000), "about to expire"),
        (lambda world: world.token(backdate_ms=0), "valid only in"),
    ],
)
def test_a_token_that_the_chains_clock_may_refuse_costs_no_gas(
    world: World, token: Callable[[World], str], fragment: str
) -> None:
    parsed = status(world.send(PODS, token=token(world)))
    assert parsed["code"] == 401
    assert fragment in parsed["message"]
    assert world.chain.executed == []


@pytest.mark.parametrize("terms", [SealTerms(session_expires_in_ms=3_000), SealTerms(expires_in_ms=3_000)])
def test_what_ends_before_the_chain_decides_costs_no_gas(world: World, terms: SealTerms) -> None:
    world.set_seal(terms)
    assert status(world.send(PODS))["code"] in (401, 403)
    assert world.chain.executed == []


def test_a_token_for_a_seal_that_does_not_exist_costs_one_read_and_nobodys_cache(world: World) -> None:
    assert world.send(PODS).status == 200
    before = world.chain.calls["get_object"]
    for _ in range(10):
        stranger = world.token(seal=os.urandom(32), key=Ed25519PrivateKey.generate())
        assert status(world.send(PODS, token=stranger))["code"] == 401
    # Ten seals, and now and then the cluster, whose second is over.
    assert world.chain.calls["get_object"] - before <= 13
    assert len(world.chain.executed) == 1


@pytest.mark.parametrize("seconds", ["9" * 5_000, "\N{ARABIC-INDIC DIGIT ONE}", "-1", "1e3", ""])
def test_no_text_of_a_timeout_makes_a_watch_longer_or_fails(seconds: str) -> None:
    assert bounded_watch(f"watch=1&timeoutSeconds={seconds}", 2) == "watch=1&timeoutSeconds=2"


def test_a_request_shows_neither_token_nor_body_in_its_text_form(world: World) -> None:
    token = world.token()
    headers = (("Authorization", f"Bearer {token}"),)
    request = GatewayRequest("POST", PODS, "q=hidden", headers, b"hidden", now_ms())
    assert token not in repr(request)
    assert "hidden" not in repr(request)


def test_an_endpoints_words_about_a_failure_cannot_steer_a_terminal() -> None:
    digest = transaction_digest(b"any")
    error = v2.ExecutionError(
        kind=v2.ExecutionErrorExecutionErrorKind.INSUFFICIENT_GAS,
        description="\x1b]0;owned\x07" + "x" * 10_000,
    )
    effects = v2.TransactionEffects(
        status=v2.ExecutionStatus(success=False, error=error), transaction_digest=digest
    )
    failure = outcome(v2.ExecutedTransaction(digest=digest, effects=effects), digest).failure or ""
    assert failure.isprintable()
    assert len(failure) < 400
    assert "owned" in failure


def test_refusals_repeat_nothing_that_could_be_a_token(world: World) -> None:
    """Somebody who puts his token where it does not belong finds it in no reply and no log."""
    token = world.token()
    for reply in (
        world.send(f"/api/v1/namespaces/{token}%2f/pods"),
        world.send(f"{PODS}?fieldSelector={token}"),
        world.send(f"{PODS}?watch={token}&watch=1"),
        world.send(PODS, method=token[:8].upper().replace(".", "")),
        world.send(PODS, headers=[("Impersonate-User", token)]),
        world.send(PODS, headers=[("Accept", f"{token}\x00")]),
    ):
        assert reply.status >= 400
        assert token not in json.dumps(status(reply))
    assert token not in "".join(world.logged)
