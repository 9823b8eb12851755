"""Plans for the module ``k8s_gateway``."""

from __future__ import annotations

from typing import Any

from k3s_daas.bearer import Claims
from k3s_daas.contract.attributes import ATTRIBUTE_NAMES
from k3s_daas.contract.objects import SealState
from tests.fuzz.planner import LISTENER_NAMESPACE, Plan, Planner
from tests.fuzz.rules_gateway import due_at_ms
from tests.fuzz.values import Chunks, encode

_ATTRIBUTES = (
    ("get", "", "v1", "pods", "", "shop", "web", ""),
    ("list", "apps", "v1", "deployments", "", "bank", "", ""),
    ("get", "", "v1", "pods", "log", "shop", "web", ""),
    ("delete", "", "v1", "pods", "", "shop", "web", ""),
    ("create", "apps", "v1", "deployments", "", "bank", "web", ""),
    ("create", "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "", "", "", ""),
    ("patch", "", "v1", "configmaps", "", "bank", "settings", ""),
    ("get", "", "v1", "pods", "exec", "shop", "web", ""),
    ("get", "", "", "", "", "", "", "/openapi/*"),
    ("get", "", "v1", "secrets", "", LISTENER_NAMESPACE, "key", ""),
    ("impersonate", "", "v1", "users", "", "", "root", ""),
)
_SELDOM = 0.04
"""How often a command brings what no client should: a request id again, the key of an ended session."""
_UNKNOWN_REQUEST = bytes(16)


def _usable(planner: Planner) -> bytes:
    """A seal with a live session, if there is one in the pool."""
    now_ms = planner.stage.view.now_ms

    def usable(state: SealState) -> bool:
        live = not state.revoked and now_ms < state.expires_at_ms
        return live and any(session.expires_at_ms > now_ms for session in state.sessions.values())

    pool = planner.pool()
    return planner.rng.choice([one for one in pool if usable(planner.stage.view.seal(one))] or pool)


def _execute(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    rng, seal = planner.rng, _usable(planner)
    state, now_ms = planner.stage.view.seal(seal), planner.stage.view.now_ms
    keys = sorted(key for key, session in state.sessions.items() if session.expires_at_ms > now_ms)
    if rng.random() < _SELDOM:
        keys = sorted(state.sessions)
    request_id = now_ms.to_bytes(8, "big") + planner.next_number().to_bytes(8, "big")
    if rng.random() < _SELDOM:
        request_id = (planner.known.requests.get(seal) or [request_id])[-1]
    values: dict[str, Any] = {
        "cluster": state.cluster,
        "seal": seal,
        "request_id": request_id,
        "session_key": rng.choice(keys or sorted(planner.known.sessions)),
        "secret_hash": rng.randbytes(32),
        "not_before_ms": now_ms - rng.choice((0, 60_000)),
        "token_expires_at_ms": now_ms + rng.choice((1, 600_000)),
        "executor": _assignable(planner, state.cluster),
        "start_by_ms": now_ms + rng.choice((0, 24_000)),
        "finish_by_ms": now_ms + 240_000,
        "answer_by_ms": now_ms + rng.choice((300_000, 840_000)),
        "payload": _chunks(planner),
        "payload_reference": b"s3://bodies/1",
        "payload_hash": rng.randbytes(32),
        "payload_size": rng.randint(1, 1_000_000),
    }
    values |= dict(zip(ATTRIBUTE_NAMES, rng.choice(_ATTRIBUTES), strict=True))
    sender = planner.gateway.address
    return sender, values | {"claims_signature": _signature(planner, sender, values)}


def _signature(planner: Planner, gateway: bytes, values: dict[str, Any]) -> bytes:
    """The session key's signature over the claims, if the key is known."""
    private = planner.known.sessions.get(values["session_key"])
    terms = (values[name] for name in ("not_before_ms", "token_expires_at_ms", "secret_hash"))
    claims = Claims(values["cluster"], values["seal"], gateway, *terms)
    return bytes(64) if private is None else private.sign(claims.signing_bytes())


def _assignable(planner: Planner, cluster: bytes) -> bytes:
    executors = planner.stage.view.cluster(cluster).executors
    return planner.one_of(sorted(one for one, state in executors.items() if state.generation))


def _chunks(planner: Planner) -> Chunks:
    sizes = planner.rng.choice(((100,), (1, 2, 3), (16_000, 4_000), (12_000,)))
    return Chunks(tuple(encode("vector<u8>", planner.rng.randbytes(size)) for size in sizes))


def _with_requests(planner: Planner, seals: list[bytes]) -> bytes:
    return planner.rng.choice([one for one in seals if planner.known.requests.get(one)] or planner.pool())


def _store(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    seal = _with_requests(planner, planner.pool())
    # One of the later ones, which are less likely to be answered.
    request_id = planner.rng.choice((planner.known.requests.get(seal) or [_UNKNOWN_REQUEST])[-4:])
    request = planner.stage.view.request(seal, request_id)
    return planner.executor.address if request is None else request.executor, {
        "cluster": planner.stage.view.seal(seal).cluster,
        "seal": seal,
        "request_id": request_id,
        "status_code": planner.rng.choice((200, 404, 599)),
        "response": _chunks(planner),
        "response_reference": b"s3://bodies/2",
        "response_hash": planner.rng.randbytes(32),
        "response_size": planner.rng.randint(1, 1_000_000),
    }


def _reclaim(planner: Planner) -> tuple[bytes, dict[str, Any]]:
    """All that is due, and some that is not."""
    view, seal = planner.stage.view, _with_requests(planner, planner.known.seals)
    present = []
    for request_id in planner.known.requests.get(seal, ()):
        request = view.request(seal, request_id)
        if request is not None:
            present.append((due_at_ms(request), request_id))
    planner.known.requests[seal] = [request_id for _, request_id in present]
    chosen = [*(request_id for _, request_id in sorted(present)[:60]), _UNKNOWN_REQUEST]
    sender = planner.rng.choice((planner.gateway, planner.executor)).address
    return sender, {"seal": seal, "cluster": view.seal(seal).cluster, "request_ids": chosen}


PLANS: dict[str, Plan] = {
    "execute_kubectl_command_with_id": _execute,
    "execute_kubectl_command_by_reference": _execute,
    "store_k8s_response": _store,
    "store_k8s_response_by_reference": _store,
    "reclaim": _reclaim,
}
