"""A tenant of the cluster, or whoever names things, is hostile: Leases, role names and resources of his
making have no effect on what the listener runs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from infra.local.stack.chain import LISTENER_NAMESPACE
from infra.local.stack.kubeconfigs import token_kubeconfig
from k3s_daas.contract import calls
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.errors import MoveAbortError
from k3s_daas.ids import request_id_text
from k3s_daas.rbac import Role
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transactions import PtbBuilder
from k3s_daas.sui.wallet import Wallet, object_ref
from listener_service.api_call import ApiCall, RawReply
from listener_service.api_server import ApiServer
from listener_service.api_way import load_configuration
from tests.integration.listener_stage import JSON, Asked, Process, Stage, stage
from tests.unit.contract_world import OPERATOR, announced, cluster_object, cluster_state
from tests.unit.listener_world import NAMESPACE, POLICY, World, until
from tests.unit.running_listener import listener as running_listener
from tests.unit.scripted_api_server import scripted_api_server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

HIS = "tenant-a"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
CR_LF = "viewer\r\nImpersonate-Group: system:masters"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("tenant")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listener(chain: Stage) -> AsyncIterator[Process]:
    async with chain.listener() as process:
        yield process


class Client:
    """Somebody's plain requests to the API server."""

    def __init__(self, kubeconfig: Path) -> None:
        self._server = ApiServer(lambda: load_configuration(kubeconfig), connections=1)

    def ask(self, method: str, path: str, body: Any = None) -> RawReply:
        content = b"" if body is None else json.dumps(body).encode()
        return self._server.send(ApiCall(method, path, JSON, content, 10.0, 1_000_000), lambda: True)

    def close(self) -> None:
        self._server.close()


@contextmanager
def client(kubeconfig: Path) -> Iterator[Client]:
    made = Client(kubeconfig)
    try:
        yield made
    finally:
        made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(chain: Stage) -> AsyncIterator[Client]:
    """The admin of his own namespace, and of no other."""
    admin_file = chain.directory / "admin.kubeconfig"
    account = {"kind": "ServiceAccount", "name": "tenant", "namespace": HIS}
    leases = {
        "metadata": {"name": "leases"},
        "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}],
    }

    def bound(name: str, kind: str, role: str) -> dict[str, Any]:
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
        return {"metadata": {"name": name}, "subjects": [account], "roleRef": reference}

    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{HIS}"
    accounts = f"/api/v1/namespaces/{HIS}/serviceaccounts"
    with client(admin_file) as admin:
        for path, body in (
            ("/api/v1/namespaces", {"metadata": {"name": HIS}}),
            (accounts, {"metadata": {"name": "tenant"}}),
            (f"{rbac}/roles", leases),
            (f"{rbac}/rolebindings", bound("tenant", "ClusterRole", "admin")),
            (f"{rbac}/rolebindings", bound("leases", "Role", "leases")),
        ):
            reply = await asyncio.to_thread(admin.ask, "POST", path, body)
            assert reply.status == 201, reply.body
        reply = await asyncio.to_thread(admin.ask, "POST", f"{accounts}/tenant/token", {"spec": {}})
        token = json.loads(reply.body)["status"]["token"]
    entry = yaml.safe_load(admin_file.read_text())["clusters"][0]["cluster"]
    file = chain.directory / "tenant.kubeconfig"
    file.write_text(token_kubeconfig(entry, "tenant", token))
    with client(file) as made:
        yield made


def claim_of(asked: Asked, namespace: str) -> dict[str, Any]:
    """A Lease as the listener makes it for a claim, as far as anybody can know it."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": f"daas-claim-{request_id_text(asked.request_id)}",
            "namespace": namespace,
            "labels": {"daas.io/listener": "x", "daas.io/minute": "1"},
        },
        "spec": {"holderIdentity": "tenant"},
    }


def config_map(name: str) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}).encode()


async def test_leases_made_and_deleted_beforehand(chain: Stage, tenant: Client) -> None:
    """He sees the request on chain before the listener does: no listener runs yet."""
    asked = await chain.submit("POST", CONFIG_MAPS, body=config_map("contested"), start_within_ms=60_000)
    name = claim_of(asked, HIS)["metadata"]["name"]
    own, listeners = LEASES.format(HIS), LEASES.format(LISTENER_NAMESPACE)

    def meddle() -> list[int]:
        made = tenant.ask("POST", own, claim_of(asked, HIS)).status
        deleted = tenant.ask("DELETE", f"{own}/{name}").status
        again = tenant.ask("POST", own, claim_of(asked, HIS)).status
        assert (made, deleted, again) == (201, 200, 201)
        return [
            tenant.ask("POST", listeners, claim_of(asked, LISTENER_NAMESPACE)).status,
            tenant.ask("DELETE", f"{listeners}/{name}").status,
            tenant.ask("DELETE", listeners).status,
            tenant.ask("GET", listeners).status,
            tenant.ask("PUT", f"{listeners}/{name}", claim_of(asked, LISTENER_NAMESPACE)).status,
            tenant.ask("GET", LEASES.replace("namespaces/{}/", "")).status,
            tenant.ask("GET", f"/api/v1/namespaces/{LISTENER_NAMESPACE}/secrets").status,
        ]

    assert set(await asyncio.to_thread(meddle)) == {403}
    async with chain.listener() as process:
        assert (await chain.answer(asked)).status == 201
        assert set(await asyncio.to_thread(meddle_again, tenant, listeners, name)) == {403}
    assert chain.runs(asked) == 1
    # Seen again in the replay of a second one.
    async with chain.listener() as process:
        assert (await chain.ask("GET", CONFIG_MAPS)).status == 200
    assert chain.runs(asked) == 1
    assert "a Lease with the label of claims is none" not in process.messages()


def meddle_again(tenant: Client, listeners: str, name: str) -> list[int]:
    return [tenant.ask("DELETE", f"{listeners}/{name}").status, tenant.ask("DELETE", listeners).status]


async def test_leases_of_the_listener_are_out_of_reach_through_the_contract(
    chain: Stage, listener: Process
) -> None:
    """For the role that may do everything else, too."""
    for method, path in (
        ("POST", LEASES.format(LISTENER_NAMESPACE)),
        ("DELETE", LEASES.format(LISTENER_NAMESPACE)),
        ("DELETE", f"/api/v1/namespaces/{LISTENER_NAMESPACE}"),
    ):
        with pytest.raises(MoveAbortError):
            await chain.submit(method, path, body=b"{}")


async def test_a_role_whose_name_would_be_a_header(chain: Stage) -> None:
    """The contract takes no such role; that the listener would not send it either, the next test shows."""
    roots, ledger = chain.chain.roots, chain.ledger
    wallet = Wallet(ledger, FileSigner.load(chain.directory / "keys" / "admin.key"))
    [cap] = await ledger.list_owned_objects(
        wallet.address, f"0x{roots.package_original.hex()}::capability::AccessCap"
    )
    found = await ledger.get_object(roots.cluster)
    assert found is not None
    cluster = SharedRef.of(found)

    def compose(builder: PtbBuilder) -> None:
        calls.define_role(
            builder,
            roots.package_latest,
            cluster,
            builder.owned(object_ref(cap)),
            name=CR_LF,
            priority=1,
            stake=0,
            is_open=True,
        )

    with pytest.raises(MoveAbortError):
        await wallet.run(compose)
    assert set((await chain.reader.cluster()).roles) == {"operator", "viewer"}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_role_whose_name_is_a_header_on_every_endpoint(method: str) -> None:
    """All endpoints together say that the chain has it."""
    world = World()
    state = cluster_state(
        executors=[announced(world.executor, world.sealing_key)],
        gateways=[world.gateway.address],
        namespace=NAMESPACE,
        policy=POLICY,
    )
    role = Role(CR_LF, 1, 0, True, OPERATOR)
    world.ledger.put(cluster_object(replace(state, roles={CR_LF: role})))
    world.set_seal(role=CR_LF)
    requested, event = world.command(method, f"{CONFIG_MAPS}/x", event=lambda made: replace(made, role=CR_LF))
    with scripted_api_server() as api:
        async with running_listener(world, api):
            world.ledger.publish(event)
            await until(lambda: requested.request_id in world.answers())
        assert api.seen == []
    assert world.answers()[requested.request_id][0] >= 400


DOTS = [
    ("GET", "/api/v1/namespaces/default/..", OnChainAttributes("list", "", "v1", "..", "", "default")),
    ("GET", "/api/v1/namespaces/default/%2e%2e", OnChainAttributes("list", "", "v1", "..", "", "default")),
    (
        "GET",
        "/api/v1/namespaces/default/configmaps/..",
        OnChainAttributes("get", "", "v1", "configmaps", "", "default", ".."),
    ),
    (
        "DELETE",
        "/api/v1/namespaces/../configmaps/x",
        OnChainAttributes("delete", "", "v1", "configmaps", "", "..", "x"),
    ),
    (
        "GET",
        f"/api/v1/namespaces/default/../{LISTENER_NAMESPACE}/secrets",
        OnChainAttributes("get", "", "v1", "..", "secrets", "default", LISTENER_NAMESPACE),
    ),
]


@pytest.mark.parametrize("case", DOTS, ids=lambda case: f"{case[0]} {case[1]}")
async def test_a_resource_called_dot_dot(
    case: tuple[str, str, OnChainAttributes], chain: Stage, listener: Process
) -> None:
    method, path, authorised = case
    try:
        asked = await chain.submit(method, path, authorised=authorised)
    except MoveAbortError as error:
        assert error.module in ("k8s_gateway", "role")  # noqa: PT017  one of two refusals, both are right
        return
    answer = await chain.answer(asked)
    assert answer.status == 400
    assert chain.runs(asked) == 0
    assert any(line.get("reason") == "malformed-request" for line in listener.logged)
