"""The rules of the module ``k8s_gateway``."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from k3s_daas.bearer import Claims
from k3s_daas.contract.attributes import ATTRIBUTE_NAMES, OnChainAttributes
from k3s_daas.contract.objects import ClusterState, RequestState, SessionState
from tests.fuzz import shapes
from tests.fuzz.model import Asked, Rule, broken
from tests.fuzz.rules_cluster import cluster_of
from tests.fuzz.rules_seal import granted, live, of_cluster, seal_of

MAX_VALIDITY_MS = 900_000
MAX_CHUNKS, MAX_CHUNK_BYTES = 8, 16_000
MAX_REFERENCED_BYTES = 16 * 1024 * 1024
MAX_RECLAIMED = 64
PAYERS_TIME_MS = 30 * shapes.DAY_MS
# An estimate that the contract makes of what a request costs, so that it can be limited.
REQUEST_BYTES, DEPOSIT_PER_BYTE = 700, 7_600


def _command(asked: Asked) -> set[str]:
    cluster, seal = cluster_of(asked), seal_of(asked)
    attributes = OnChainAttributes(*(asked[name] for name in ATTRIBUTE_NAMES))
    session = seal.sessions.get(asked["session_key"])
    return (
        of_cluster(asked)
        | live(asked)
        | granted(asked, cluster, seal.owner, seal.role)
        | broken(EUnknownGateway=asked.sender not in cluster.gateways, EClusterPaused=cluster.paused)
        | _request_id(asked)
        | _claims(asked, session)
        | _role(asked, attributes)
        | (set() if session is None else _session(asked, session, attributes))
        | _executor(asked, cluster)
        | _deadlines(asked, cluster)
        | _rates(asked, attributes)
    )


def _request_id(asked: Asked) -> set[str]:
    request_id = asked["request_id"]
    if len(request_id) != 16:
        return {"EInvalidRequestId"}
    time_ms = int.from_bytes(request_id[:8], "big")
    return broken(
        ERequestExists=asked.view.request(asked["seal"], request_id) is not None,
        ERequestIdOutsideWindow=not asked.now_ms - 60_000 <= time_ms <= asked.now_ms + 5_000,
    )


def _claims(asked: Asked, session: SessionState | None) -> set[str]:
    begin, end = asked["not_before_ms"], asked["token_expires_at_ms"]
    claims = Claims(asked["cluster"], asked["seal"], asked.sender, begin, end, asked["secret_hash"])
    well_formed = len(asked["secret_hash"]) == 32 and 0 < end - begin <= MAX_VALIDITY_MS
    return broken(
        EUnknownSession=session is None,
        ESessionExpired=session is not None and asked.now_ms >= session.expires_at_ms,
        EInvalidClaims=not well_formed,
        EClaimsNotYetValid=asked.now_ms < begin,
        EClaimsExpired=asked.now_ms >= end,
        # The message of claims without a proper hash is nothing that a key signs.
        EInvalidClaimsSignature=well_formed
        and not _verifies(asked["session_key"], asked["claims_signature"], claims.signing_bytes()),
    )


def _verifies(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _role(asked: Asked, attributes: OnChainAttributes) -> set[str]:
    cluster, seal = cluster_of(asked), seal_of(asked)
    role = cluster.roles.get(seal.role)
    if role is None:
        return {"EUnknownRole"}
    minimum = max(cluster.policy.min_write_stake, role.stake)
    return broken(
        EMalformedAttributes=not shapes.are_attributes(attributes),
        EVerbNeverAllowed=attributes.verb == "impersonate",
        EReservedNamespace=shapes.touches(attributes, cluster.listener_namespace),
        EForbiddenByRole=not shapes.admits(role, attributes),
        EStakeTooLow=not shapes.is_read(attributes) and seal.stake < minimum,
    )


def _session(asked: Asked, session: SessionState, attributes: OnChainAttributes) -> set[str]:
    read = shapes.is_read(attributes)
    if not session.namespaces:
        reaches = True
    elif attributes.resource:
        reaches = attributes.namespace in session.namespaces
    else:
        reaches = read
    return broken(ESessionNamespace=not reaches, ESessionReadOnly=session.read_only and not read)


def _executor(asked: Asked, cluster: ClusterState) -> set[str]:
    executor = cluster.executors.get(asked["executor"])
    return broken(
        EUnknownExecutor=executor is None,
        EExecutorHasNoKey=executor is not None and executor.generation == 0,
    )


def _deadlines(asked: Asked, cluster: ClusterState) -> set[str]:
    now_ms, policy = asked.now_ms, cluster.policy
    start, finish, answer = asked["start_by_ms"], asked["finish_by_ms"], asked["answer_by_ms"]
    in_bounds = (
        start <= now_ms + policy.max_start_ms
        and finish <= now_ms + policy.max_finish_ms
        and answer <= now_ms + policy.max_answer_ms
    )
    return broken(
        EStartByPassed=start < now_ms, EInvalidDeadlines=not (start < finish < answer and in_bounds)
    )


def _rates(asked: Asked, attributes: OnChainAttributes) -> set[str]:
    policy, seal = cluster_of(asked).policy, seal_of(asked)
    same_minute = seal.usage.minute == asked.now_ms // 60_000
    same_day = seal.usage.day == asked.now_ms // shapes.DAY_MS
    texts = sum(len(text.encode()) for text in (*attributes.values(), seal.role))
    deposit = (REQUEST_BYTES + texts) * DEPOSIT_PER_BYTE
    return broken(
        ERateExceeded=(seal.usage.commands if same_minute else 0) >= policy.commands_per_minute,
        EDepositExceeded=(seal.usage.deposit if same_day else 0) + deposit > policy.deposit_per_day,
    )


def _inline(chunks: list[bytes], limit: int) -> set[str]:
    too_large = (
        len(chunks) > MAX_CHUNKS
        or any(len(chunk) > MAX_CHUNK_BYTES for chunk in chunks)
        or sum(map(len, chunks)) > limit
    )
    return broken(EPayloadTooLarge=too_large, EEmptyPayload=not chunks or b"" in chunks)


def _referenced(reference: bytes, digest: bytes, size: int) -> set[str]:
    return broken(
        EInvalidReference=not 1 <= len(reference) <= 128 or len(digest) != 32,
        EEmptyPayload=size == 0,
        EPayloadTooLarge=size > MAX_REFERENCED_BYTES,
    )


def _execute(asked: Asked) -> set[str]:
    return _command(asked) | _inline(asked["payload"], cluster_of(asked).policy.max_inline_bytes)


def _execute_by_reference(asked: Asked) -> set[str]:
    payload = _referenced(asked["payload_reference"], asked["payload_hash"], asked["payload_size"])
    return _command(asked) | payload


def _answer(asked: Asked) -> set[str]:
    """Late and second answers are ignored, which is a success; so are an executor's to nothing."""
    request = asked.view.request(asked["seal"], asked["request_id"])
    assigned = asked.sender in cluster_of(asked).executors
    if request is not None:
        assigned = request.executor == asked.sender
    return of_cluster(asked) | broken(
        EInvalidRequestId=len(asked["request_id"]) != 16,
        EInvalidStatusCode=not 200 <= asked["status_code"] <= 599,
        ENotAssignedExecutor=not assigned,
    )


def _store(asked: Asked) -> set[str]:
    return _answer(asked) | _inline(asked["response"], cluster_of(asked).policy.max_inline_bytes)


def _store_by_reference(asked: Asked) -> set[str]:
    response = _referenced(asked["response_reference"], asked["response_hash"], asked["response_size"])
    return _answer(asked) | response


def _reclaim(asked: Asked) -> set[str]:
    cluster, now_ms = cluster_of(asked), asked.now_ms
    requests = {
        request_id: asked.view.request(asked["seal"], request_id) for request_id in asked["request_ids"]
    }
    waited = [now_ms - due_at_ms(request) for request in requests.values() if request is not None]
    due = [time_ms for time_ms in waited if time_ms >= 0]
    is_payer = asked.sender in cluster.gateways or asked.sender in cluster.executors
    for_everybody = bool(due) and min(due) >= PAYERS_TIME_MS
    return of_cluster(asked) | broken(
        ETooManyRequests=len(asked["request_ids"]) > MAX_RECLAIMED, ENotPayer=not (is_payer or for_everybody)
    )


def due_at_ms(request: RequestState) -> int:
    """From when on it may be deleted: kept its time, its id useless, and no answer possible any more."""
    end_of_window_ms = int.from_bytes(request.request_id[:8], "big") + 60_001
    kept_until_ms = max(request.expires_at_ms, end_of_window_ms)
    return kept_until_ms if request.response else max(kept_until_ms, request.answer_by_ms + 1)


RULES: dict[str, Rule] = {
    "k8s_gateway::execute_kubectl_command_with_id": _execute,
    "k8s_gateway::execute_kubectl_command_by_reference": _execute_by_reference,
    "k8s_gateway::store_k8s_response": _store,
    "k8s_gateway::store_k8s_response_by_reference": _store_by_reference,
    "k8s_gateway::reclaim": _reclaim,
}
