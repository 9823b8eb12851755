"""A gateway is taken over: it has its key, and the tokens that it was shown, and seals what it likes.

What the contract refuses, and what it accepts and the listener refuses: nothing is executed, nothing is
fetched, and each refusal is counted by its reason. The contract runs in the real Move VM.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from k3s_daas.aborts import abort_name
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls import Command
from k3s_daas.envelope import BlobReference, RequestEnvelope
from k3s_daas.errors import MoveAbortError
from listener_service.blobs import BlobClient, BlobPlaces
from listener_service.counts import Tally
from tests.integration.listener_stage import Process, Stage, now_ms, stage
from tests.unit.listener_world import World, until
from tests.unit.running_listener import listener as running_listener
from tests.unit.scripted_api_server import scripted_api_server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
METADATA = "https://169.254.169.254/latest/meta-data/iam/security-credentials/"
TEN_MINUTES_MS = 600_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("compromised")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listener(chain: Stage) -> AsyncIterator[Process]:
    async with chain.listener(DAAS_BLOB_HOSTS="blobs.example") as process:
        yield process


def config_map(name: str) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}).encode()


def objects(chain: Stage) -> dict[str, int]:
    """How many of everything that a command here could make or take away."""
    kinds = {
        "configmaps": ("", "configmaps"),
        "secrets": ("", "secrets"),
        "bindings": ("rbac.authorization.k8s.io", "clusterrolebindings"),
    }
    return {name: len(list(chain.cluster.store.objects(kind))) for name, kind in kinds.items()}


def with_token(chain: Stage, holder: str, *, signed_at_ms: int) -> Callable[[Command], Command]:
    """The claims of this holder's session, signed then, in the place of the right ones."""
    token = chain.holder(holder).token(signed_at_ms)
    return lambda command: replace(
        command,
        session_key=token.session_key,
        secret_hash=token.claims.secret_hash,
        not_before_ms=token.claims.not_before_ms,
        token_expires_at_ms=token.claims.expires_at_ms,
        claims_signature=token.signature,
    )


Attack = Callable[[Stage], Callable[[Command], Command]]
REFUSED_ON_CHAIN: dict[str, tuple[Attack, str]] = {
    "expired claims": (
        lambda chain: with_token(chain, "operator", signed_at_ms=now_ms() - 2 * TEN_MINUTES_MS),
        "EClaimsExpired",
    ),
    "claims of tomorrow": (
        lambda chain: with_token(chain, "operator", signed_at_ms=now_ms() + 2 * TEN_MINUTES_MS),
        "EClaimsNotYetValid",
    ),
    "claims made longer": (
        lambda _: lambda command: replace(command, token_expires_at_ms=command.token_expires_at_ms + 1),
        "EInvalidClaimsSignature",
    ),
    "another holder's seal": (
        lambda chain: with_token(chain, "viewer", signed_at_ms=now_ms()),
        "EUnknownSession",
    ),
    "another executor": (
        lambda chain: lambda command: replace(command, executor=chain.services.gateway.address),
        "EUnknownExecutor",
    ),
    "a start that has passed": (
        lambda _: lambda command: replace(command, start_by_ms=now_ms() - 60_000),
        "EStartByPassed",
    ),
    "a start next week": (
        lambda _: lambda command: replace(command, start_by_ms=command.start_by_ms + 7 * 86_400_000),
        "EInvalidDeadlines",
    ),
    "a resource in another's name": (
        lambda _: (
            lambda command: replace(
                command, attributes=OnChainAttributes("create", "", "v1", "con/figmaps", "", "default")
            )
        ),
        "EMalformedAttributes",
    ),
    "the listener's namespace": (
        lambda _: (
            lambda command: replace(
                command, attributes=OnChainAttributes("list", "", "v1", "secrets", "", "daas-system")
            )
        ),
        "EReservedNamespace",
    ),
    "the verb that chooses an identity": (
        lambda _: (
            lambda command: replace(
                command,
                attributes=OnChainAttributes("impersonate", "", "v1", "users", "", "", "system:admin"),
            )
        ),
        "EVerbNeverAllowed",
    ),
}


@pytest.mark.parametrize("name", REFUSED_ON_CHAIN)
async def test_what_the_contract_refuses(name: str, chain: Stage, listener: Process) -> None:
    attack, abort = REFUSED_ON_CHAIN[name]
    before = objects(chain)
    with pytest.raises(MoveAbortError) as caught:
        await chain.submit("POST", CONFIG_MAPS, body=config_map("x"), command_with=attack(chain))
    assert abort_name(caught.value.module, caught.value.code) == abort
    assert objects(chain) == before


READ = OnChainAttributes("get", "", "v1", "configmaps", "", "default", "x")
ANOTHER_REQUEST = [
    ("DELETE", f"{CONFIG_MAPS}/x", "", READ),
    ("GET", f"{CONFIG_MAPS}/y", "", READ),
    ("GET", "/api/v1/namespaces/default/secrets/x", "", READ),
    ("GET", "/api/v1/namespaces/kube-system/configmaps/x", "", READ),
    ("GET", f"{CONFIG_MAPS}/x/status", "", READ),
    ("GET", CONFIG_MAPS, "", READ),
    ("GET", CONFIG_MAPS, "watch=1", OnChainAttributes("list", "", "v1", "configmaps", "", "default")),
    ("GET", "/version", "", READ),
    ("GET", CONFIG_MAPS, "", OnChainAttributes("get", non_resource_url="/version")),
    ("GET", "/api/v1/namespaces/daas-system/secrets", "", OnChainAttributes("list", "", "v1", "secrets")),
]


@pytest.mark.parametrize("case", ANOTHER_REQUEST, ids=lambda case: f"{case[0]} {case[1]}?{case[2]}")
async def test_a_sealed_request_that_is_not_the_authorised_one(
    case: tuple[str, str, str, OnChainAttributes], chain: Stage, listener: Process
) -> None:
    method, path, query, authorised = case
    before, counted = objects(chain), reasons(listener)
    answer = await chain.ask(method, path, query, authorised=authorised)
    assert answer.status == 403
    assert reasons(listener) - counted == Counter({"attribute-mismatch": 1})
    assert objects(chain) == before


async def test_a_sealed_body_that_was_copied_from_another_request(chain: Stage, listener: Process) -> None:
    before, counted = objects(chain), reasons(listener)
    asked = await chain.submit(
        "POST", CONFIG_MAPS, body=config_map("copied"), payload_for=lambda _: bytes(16)
    )
    await _counted(listener, counted, "not-openable")
    assert (await chain.request(asked)).response is None
    assert objects(chain) == before


@pytest.mark.parametrize(
    "url",
    [
        METADATA,
        "http://169.254.169.254/latest/meta-data/",
        "https://blobs.example:8443/x",
        "https://blobs.example@169.254.169.254/x",
        "https://127.0.0.1/x",
        "https://kubernetes.default.svc/api/v1/secrets",
    ],
)
async def test_a_body_at_a_place_that_nobody_allowed(url: str, chain: Stage, listener: Process) -> None:
    before, counted = objects(chain), reasons(listener)
    blob = BlobReference(url, 1_000_000, bytes(32))

    def outside(envelope: RequestEnvelope) -> RequestEnvelope:
        return replace(envelope, body=b"", body_blob=blob)

    answer = await chain.ask("POST", CONFIG_MAPS, envelope_with=outside)
    assert answer.status >= 400
    assert json.loads(answer.body)["kind"] == "Status"
    assert reasons(listener) - counted == Counter({"body-blob": 1})
    assert objects(chain) == before


@pytest.mark.parametrize("header", ["Impersonate-User", "impersonate_group", "X-Remote-User"])
async def test_an_identity_of_its_own_choice(header: str, chain: Stage, listener: Process) -> None:
    before, counted = objects(chain), reasons(listener)
    headers = (("Content-Type", "application/json"), (header, "system:masters"))
    answer = await chain.ask("POST", CONFIG_MAPS, body=config_map("chosen"), headers=headers)
    assert answer.status == 403
    assert reasons(listener) - counted == Counter({"identity-header": 1})
    assert objects(chain) == before


async def test_after_all_this_a_genuine_command_runs(chain: Stage, listener: Process) -> None:
    assert (await chain.ask("POST", CONFIG_MAPS, body=config_map("genuine"))).status == 201


def reasons(process: Process) -> Counter[str]:
    """Why things were not run, as the listener has said so far."""
    return Counter(
        line["reason"]
        for line in process.logged
        if line["message"] in ("command refused, nothing was run", "event not believed, nothing was run")
    )


async def _counted(process: Process, before: Counter[str], reason: str) -> None:
    async with asyncio.timeout(10):
        while reasons(process) - before != Counter({reason: 1}):  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every place that a blob is asked for at; nothing is connected."""
    asked: list[Any] = []

    def connect(place: Any, *_: Any, **__: Any) -> None:
        asked.append(place)
        raise ConnectionRefusedError

    monkeypatch.setattr("listener_service.checked_addresses.create_connection", connect)
    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    return asked


@pytest.mark.parametrize("address", ["169.254.169.254", "127.0.0.1", "10.0.0.1", "::1", "fe80::1"])
async def test_an_allowed_name_that_was_made_to_stand_for_an_address_inside(
    address: str, connections: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def lied_to(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve(address if host == "blobs.example" else host, *arguments, **options)

    blobs = BlobClient(BlobPlaces(frozenset({"blobs.example:443"})))
    world = World()
    reference = BlobReference("https://blobs.example/requests/1", 1_000_000, bytes(32))
    with scripted_api_server() as api:
        requested, event = world.command("POST", CONFIG_MAPS, body_blob=reference)
        async with running_listener(world, api, blobs=blobs) as running:
            monkeypatch.setattr(socket, "getaddrinfo", lied_to)
            world.ledger.publish(event)
            await until(lambda: requested.request_id in world.answers())
            counts = running.service.counts
        assert isinstance(counts, Tally)
        assert counts.by_reason == {"body-blob": 1}
        assert (api.seen, connections) == ([], [])
    blobs.close()
