"""What the gateway does when the chain, the store or the signer fails, at each step of a submission."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from chalicelib import command_answer
from chalicelib.errors import RequestStoreUnavailableError
from chalicelib.request_store import NewRequest, RequestRecord, RequestState, RequestStore, Reservation
from chalicelib.routes import create_app
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.gateway.strict import StrictGateway
from k3s_daas.contract.calls import EXECUTE_PAYLOAD
from k3s_daas.deadlines import DeadlineSettings
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope
from k3s_daas.errors import LedgerUnavailableError, TransactionRefusedError
from k3s_daas.sui.ledger import Abort, EpochInfo, ExecutionOutcome, SignedTransaction
from k3s_daas.sui.signers import FileSigner, TransactionSigner
from k3s_daas.sui.transactions import decode_transaction, transaction_digest
from tests.unit.gateway_world import MakeWorld, World, echo, header, now_ms, status

PODS = "/api/v1/namespaces/default/pods"


def record(world: World, reply: HttpReply) -> RequestRecord:
    found = world.store.get(bytes.fromhex(header(reply, "X-Daas-Request-Id") or ""))
    assert found is not None
    return found


def broken(transaction: bytes) -> NoReturn:
    raise LedgerUnavailableError("the connection broke")


def refused(kind: str) -> Callable[[bytes], ExecutionOutcome]:
    def refuse(transaction: bytes) -> NoReturn:
        raise TransactionRefusedError(kind, "refused")

    return refuse


def aborted(module: str, code: int) -> Callable[[bytes], ExecutionOutcome]:
    return lambda transaction: ExecutionOutcome(
        transaction_digest(transaction), success=False, abort=Abort(module, None, code, 0), failure="aborted"
    )


# Before anything is sent


def test_an_unreachable_ledger_is_a_503_and_nothing_goes_round_it(world: World) -> None:
    world.chain.away = True
    parsed = status(world.send(PODS, "POST", b"{}"))
    assert (parsed["code"], parsed["reason"]) == (503, "ServiceUnavailable")
    assert world.chain.calls["execute"] == 0


def test_a_ledger_that_stops_after_a_good_command_fails_the_next_one(world: World) -> None:
    assert world.send(PODS).status == 200
    world.chain.away = True
    reply = world.send(PODS)
    assert status(reply)["code"] in (503, 504)
    assert world.chain.transactions.keys() >= {transaction_digest(world.chain.executed[0])}


class FailingStore:
    """Fails at one step, and otherwise does what the real one does."""

    def __init__(self, store: RequestStore, step: str) -> None:
        self._store = store
        self._step = step

    def __getattr__(self, name: str) -> Any:
        if name == self._step:
            return self._fail
        return getattr(self._store, name)

    def _fail(self, *_: object, **__: object) -> NoReturn:
        raise RequestStoreUnavailableError("the request store does not answer (Throttled): try again")


@pytest.mark.parametrize(
    ("step", "retry_after", "says"),
    [
        ("look", "1", "try again"),
        ("reserve", "1", "try again"),
        # The bytes may be on record, and then the sweeper sends them.
        ("record_signed", None, "it may still run"),
    ],
)
def test_without_a_record_nothing_is_submitted(
    make: MakeWorld, step: str, retry_after: str | None, says: str
) -> None:
    world = make(wrap_store=lambda store: FailingStore(store, step))
    reply = world.send(PODS)
    assert status(reply)["code"] == 503
    assert says in status(reply)["message"]
    assert dict(reply.headers).get("Retry-After") == retry_after
    assert world.chain.executed == []


@pytest.mark.parametrize("step", ["record_submitted", "record_answered"])
def test_a_store_that_fails_afterwards_does_not_take_the_answer_away(
    make: MakeWorld, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_answer, "NOTE_AFTER_MS", 0)
    world = make(wrap_store=lambda store: FailingStore(store, step))
    assert world.send(PODS).status == 200
    assert any("record-not-updated" in line for line in world.logged)


def test_a_quick_answer_spares_the_record_a_write(make: MakeWorld) -> None:
    world = make(wrap_store=lambda store: FailingStore(store, "record_submitted"))
    assert world.send(PODS).status == 200
    assert not any("record-not-updated" in line for line in world.logged)


class RefusingSigner:
    """A key in a signing service that does not sign."""

    def __init__(self, signer: TransactionSigner, error: Exception) -> None:
        self.address = signer.address
        self.public_key = signer.public_key
        self.error = error

    def sign(self, transaction: bytes) -> bytes:
        raise self.error

    def sign_personal_message(self, message: bytes) -> bytes:
        raise self.error


def kms_error(code: str, status: int = 400) -> ClientError:
    reply = {
        "Error": {"Code": code, "Message": "arn:kms.example"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(reply, "Sign")  # type: ignore[arg-type] # the fields that count


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (EndpointConnectionError(endpoint_url="https://kms.example"), "cannot be reached (Endpoint"),
        (ReadTimeoutError(endpoint_url="https://kms.example"), "cannot be reached (ReadTimeout"),
        (NoCredentialsError(), "cannot be reached (NoCredentials"),
        (kms_error("ThrottlingException"), "KMS answered ThrottlingException"),
        (kms_error("KMSInternalException", 500), "KMS answered KMSInternalException"),
        (kms_error("AccessDeniedException"), "AccessDeniedException: allow the AWS role of this process"),
        (kms_error("ExpiredTokenException"), "ExpiredTokenException: renew the AWS credentials"),
    ],
)
def test_without_a_signature_nothing_is_submitted(make: MakeWorld, error: Exception, logged: str) -> None:
    world = make(wrap_signer=lambda signer: RefusingSigner(signer, error))
    reply = world.send(PODS)
    parsed = status(reply)
    assert (parsed["code"], parsed["reason"]) == (503, "ServiceUnavailable")
    assert "nothing was submitted" in parsed["message"]
    assert header(reply, "Retry-After") == "1"
    assert world.chain.executed == []
    [line] = [json.loads(line) for line in world.logged if "not-signed" in line]
    assert logged in line["reason"]
    assert not any("kms.example" in text for text in (*world.logged, reply.body.decode()))


def late(world: World, late_ms: int) -> HttpReply:
    """A request that API Gateway received that long ago."""
    app = create_app(lambda: world.gateway)
    door = StrictGateway(app, now_ms=lambda: now_ms() - late_ms)
    return door.handle(HttpRequest("GET", PODS, (("Authorization", f"Bearer {world.token()}"),), b""))


def test_nothing_is_sent_after_start_by(world: World) -> None:
    reply = late(world, 24_200)
    parsed = status(reply)
    assert (parsed["code"], parsed["reason"]) == (504, "Timeout")
    assert header(reply, "Retry-After") is None
    assert world.chain.executed == []
    assert record(world, reply).state in (RequestState.EXPIRED, RequestState.RESERVED)


# Sending


class Crash(BaseException):
    """The process dies here."""


def test_a_crash_between_record_and_submission_leaves_the_signed_bytes(make: MakeWorld) -> None:
    reserved: list[NewRequest] = []

    class Watching(FailingStore):
        def reserve(self, request: NewRequest) -> Reservation:
            reserved.append(request)
            return self._store.reserve(request)

    def crash(transaction: bytes) -> NoReturn:
        raise Crash

    world = make(wrap_store=lambda store: Watching(store, "none"))
    world.chain.outcomes.append(crash)
    with pytest.raises(Crash):
        world.send(PODS)
    found = world.store.get(reserved[0].request_id)
    assert found is not None
    assert found.state is RequestState.SIGNED
    assert found.transaction is not None
    assert found.transaction.data == world.chain.executed[0]
    assert found.transaction.digest == transaction_digest(world.chain.executed[0])


def test_a_broken_connection_sends_the_same_bytes_again(world: World) -> None:
    world.chain.outcomes += [broken, broken]
    reply = world.send(PODS)
    assert reply.status == 200
    assert len(world.chain.executed) == 3
    assert len(set(world.chain.executed)) == 1
    assert record(world, reply).fence == 2


def test_bytes_that_were_executed_before_the_connection_broke_run_once(world: World) -> None:
    runs: list[str] = []

    def run(request: RequestEnvelope) -> ResponseEnvelope:
        runs.append(request.path)
        return echo(request)

    def executed_then_broken(transaction: bytes) -> NoReturn:
        world.chain.accept(transaction)
        broken(transaction)

    world.chain.respond = run
    world.chain.outcomes.append(executed_then_broken)
    assert world.send(PODS, "POST", b"{}").status == 200
    assert runs == [PODS]


def test_a_connection_that_stays_broken_is_a_504_that_says_what_is_unknown(world: World) -> None:
    world.chain.outcomes += [broken] * 10
    reply = world.send(PODS, "DELETE")
    parsed = status(reply)
    assert (parsed["code"], parsed["reason"]) == (504, "Timeout")
    assert header(reply, "Retry-After") is None
    assert header(reply, "X-Daas-Request-Digest") == transaction_digest(world.chain.executed[0])
    assert len(set(world.chain.executed)) == 1
    assert record(world, reply).state is RequestState.SIGNED


def test_a_stale_refusal_makes_new_bytes_once_for_the_same_command(world: World) -> None:
    world.send(PODS)
    world.chain.executed.clear()
    world.chain.epoch_info = EpochInfo(8, 2_000)
    world.chain.outcomes.append(refused("gas-price"))
    reply = world.send(PODS)
    assert reply.status == 200
    first, second = map(decode_transaction, world.chain.executed)
    assert (first.data.gas.price, second.data.gas.price) == (1_000, 2_000)
    calls = [decoded.move_calls[0] for decoded in (first, second)]
    for position in (2, 3, 4, 7, EXECUTE_PAYLOAD - 1):
        assert first.resolve_pure(calls[0].arguments[position]) == second.resolve_pure(
            calls[1].arguments[position]
        )
    found = record(world, reply)
    assert found.fence == 3
    assert found.transaction is not None
    assert found.transaction.data == world.chain.executed[1]


def test_a_second_refusal_is_final(world: World) -> None:
    world.send(PODS)
    world.chain.executed.clear()
    world.chain.epoch_info = EpochInfo(8, 2_000)
    world.chain.outcomes += [refused("gas-price"), refused("gas-price")]
    reply = world.send(PODS)
    assert (status(reply)["code"], header(reply, "Retry-After")) == (503, "1")
    assert len(world.chain.executed) == 2
    assert record(world, reply).state is RequestState.REFUSED


def test_a_refusal_that_fresh_terms_cannot_cure_is_final_at_once(world: World) -> None:
    world.chain.outcomes.append(refused("insufficient-funds"))
    reply = world.send(PODS)
    assert (status(reply)["code"], header(reply, "Retry-After")) == (503, None)
    assert len(world.chain.executed) == 1
    assert json.loads(world.logged[-1])["refused"] == "TransactionRefused:insufficient-funds"


def test_a_refusal_after_a_broken_connection_is_not_taken_for_definite(world: World) -> None:
    world.chain.epoch_info = EpochInfo(8, 2_000)
    world.chain.outcomes += [broken, refused("gas-price")]
    reply = world.send(PODS, "DELETE")
    assert status(reply)["code"] == 504
    assert len(set(world.chain.executed)) == 1
    assert record(world, reply).state is RequestState.SIGNED


def test_a_request_that_exists_already_counts_as_submitted(world: World) -> None:
    def exists(transaction: bytes) -> ExecutionOutcome:
        world.chain.accept(transaction)
        return aborted("k8s_gateway", 401)(transaction)

    world.chain.outcomes.append(exists)
    assert world.send(PODS).status == 200


@pytest.mark.parametrize(
    ("module", "code", "expected", "name"),
    [
        ("seal", 305, 403, "ESealRevoked"),
        ("seal", 307, 403, "EStakeTooLow"),
        ("seal", 318, 401, "EClaimsExpired"),
        ("role", 202, 403, "EForbiddenByRole"),
        ("cluster", 102, 503, "EClusterPaused"),
        ("k8s_gateway", 404, 504, "EStartByPassed"),
        ("k8s_gateway", 406, 413, "EPayloadTooLarge"),
        ("dynamic_field", 0, 502, "MoveAbort"),
    ],
)
def test_an_abort_on_chain_is_its_status_with_the_transaction(
    world: World, module: str, code: int, expected: int, name: str
) -> None:
    world.chain.outcomes.append(aborted(module, code))
    reply = world.send(PODS)
    parsed = status(reply)
    assert parsed["code"] == expected
    reasons = {cause["reason"]: cause["message"] for cause in parsed["details"]["causes"]}
    assert name in reasons
    assert reasons["RequestDigest"] == transaction_digest(world.chain.executed[0])
    assert reasons["RequestId"] == header(reply, "X-Daas-Request-Id")
    assert record(world, reply).state is RequestState.REFUSED


def test_a_failure_that_is_no_abort_is_a_502(world: World) -> None:
    world.chain.outcomes.append(
        lambda transaction: ExecutionOutcome(
            transaction_digest(transaction), success=False, failure="…", failure_kind="INSUFFICIENT_GAS"
        )
    )
    reply = world.send(PODS)
    assert "more gas" in status(reply)["message"]
    assert status(reply)["code"] == 502
    assert json.loads(world.logged[-1])["refused"] == "TransactionFailed:INSUFFICIENT_GAS"


# Waiting


def test_an_unanswered_command_is_a_504_that_names_request_and_transaction(make: MakeWorld) -> None:
    world = make(deadlines=DeadlineSettings().scaled(40))
    world.chain.respond = None
    reply = world.send(PODS, "POST", b"{}")
    parsed = status(reply)
    assert (parsed["code"], parsed["reason"]) == (504, "Timeout")
    assert header(reply, "Retry-After") is None
    assert header(reply, "X-Daas-Request-Id") in parsed["message"]
    assert header(reply, "X-Daas-Request-Digest") in parsed["message"]
    assert record(world, reply).state is RequestState.SUBMITTED


def other_signature(done: SignedTransaction) -> SignedTransaction:
    return replace(done, signatures=[FileSigner(Ed25519PrivateKey.generate()).sign(done.bcs)])


def no_signature(done: SignedTransaction) -> SignedTransaction:
    return replace(done, signatures=[])


@pytest.mark.parametrize("forge", [other_signature, no_signature])
def test_an_answer_that_the_pinned_executor_did_not_sign_is_a_502(
    world: World, forge: Callable[[SignedTransaction], SignedTransaction]
) -> None:
    world.chain.forge = forge
    assert status(world.send(PODS))["code"] == 502


def test_an_answer_sent_by_somebody_else_is_a_502(world: World) -> None:
    world.chain.executor = FileSigner(Ed25519PrivateKey.generate())
    assert status(world.send(PODS))["code"] == 502


def test_an_answer_with_other_bytes_than_its_hash_is_a_502(world: World) -> None:
    def altered(done: SignedTransaction) -> SignedTransaction:
        data = bytearray(done.bcs)
        data[300] ^= 1
        return replace(done, bcs=bytes(data), signatures=[world.executor.sign(bytes(data))])

    world.chain.forge = altered
    assert status(world.send(PODS))["code"] == 502


def test_an_endpoint_that_fails_while_waiting_is_asked_again(world: World) -> None:
    world.send(PODS)
    look, failures = world.chain.get_object, iter([True, True, False])

    async def flaky(object_id: bytes) -> Any:
        if next(failures, False):
            raise LedgerUnavailableError("away for a moment")
        return await look(object_id)

    world.chain.get_object = flaky  # type: ignore[method-assign] # the script of this test
    assert world.send(PODS).status == 200


def test_a_transaction_that_the_endpoint_does_not_know_yet_is_waited_for(world: World) -> None:
    look, unknown = world.chain.get_signed_transaction, iter([True, True, False])

    async def lagging(digest: str) -> SignedTransaction | None:
        return None if next(unknown, False) else await look(digest)

    world.chain.get_signed_transaction = lagging  # type: ignore[method-assign] # the script of this test
    assert world.send(PODS).status == 200


def test_a_setting_that_does_not_fit_the_cluster_is_named_in_the_log_only(make: MakeWorld) -> None:
    world = make(deadlines=replace(DeadlineSettings(), answer_after_finish_ms=5_000_000))
    reply = world.send(PODS)
    parsed = status(reply)
    assert (parsed["code"], world.chain.executed) == (500, [])
    assert b"answer_after_finish" not in reply.body.lower()
    [line] = [parsed for text in world.logged if (parsed := json.loads(text))["event"] == "misconfigured"]
    assert "5240000" in line["reason"]


def test_an_endpoint_on_another_chain_is_named_in_the_log_only(make: MakeWorld) -> None:
    world = make()
    world.chain.chain_id = "6btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S"
    reply = world.send(PODS)
    assert (status(reply)["code"], world.chain.executed) == (500, [])
    assert b"6btiui" not in reply.body
    assert any("6btiui" in line and "misconfigured" in line for line in world.logged)
