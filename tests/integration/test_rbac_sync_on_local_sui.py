"""`daas rbac sync` between the contract in the local Sui and an API server that enforces impersonation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from infra.local.stack import roles as demo
from k3s_daas.admin.listener_rbac import IMPERSONATOR, owner_user, role_group
from k3s_daas.cli.daas import main
from listener_service.api_call import ApiCall
from listener_service.api_server import ApiServer
from listener_service.api_way import load_configuration
from tests.integration.listener_stage import Stage, stage
from tests.integration.revocation import revoke

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

CLUSTER_ROLES = ("rbac.authorization.k8s.io", "clusterroles")
BINDINGS = ("rbac.authorization.k8s.io", "clusterrolebindings")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("rbac"), ports=3) as made:
        made.chain.deployment.save(made.directory / "daas.json")
        yield made


class Operator:
    """Types `daas rbac sync`."""

    def __init__(self, chain: Stage, capture: pytest.CaptureFixture[str]) -> None:
        self._chain, self._capture = chain, capture

    async def sync(self, *words: str, endpoints: int = 1, code: int = 0) -> str:
        urls = [f"http://127.0.0.1:{port}" for port in self._chain.sui.grpc_ports[:endpoints]]
        directory = self._chain.directory
        command = ["rbac", "sync", "--endpoint", ",".join(urls), "--deployment", str(directory / "daas.json")]
        if "--output" not in words:
            command += ["--kubeconfig", str(directory / "admin.kubeconfig")]
        self._capture.readouterr()
        ended = await asyncio.to_thread(main, [*command, *words])
        printed = self._capture.readouterr()
        assert ended == code, printed.out + printed.err
        return printed.err if code else printed.out


@pytest.fixture
def operator(chain: Stage, capsys: pytest.CaptureFixture[str]) -> Operator:
    return Operator(chain, capsys)


def user(chain: Stage, holder: str) -> str:
    return owner_user(chain.chain.addresses[holder])


async def status_as(chain: Stage, *identity: tuple[str, str]) -> int:
    """What the API server answers to the listener's service account in somebody's name."""
    server = ApiServer(lambda: load_configuration(chain.kubeconfig), connections=1)
    call = ApiCall("GET", "/api/v1/namespaces/default/pods", identity, b"", 5.0, 1_000_000)
    try:
        return (await asyncio.to_thread(server.send, call, lambda: True)).status
    finally:
        server.close()


async def test_owners_of_live_seals_come_and_go(chain: Stage, operator: Operator) -> None:
    operators = role_group("operator")
    alice, mallory = user(chain, "operator"), user(chain, "small-stake")
    assert await status_as(chain, ("Impersonate-User", alice), ("Impersonate-Group", operators)) == 200
    before = chain.cluster.store.get(CLUSTER_ROLES, "", IMPERSONATOR)

    shown = await operator.sync("--dry-run")
    assert "note how far the chain was read" in shown
    assert chain.cluster.store.get(CLUSTER_ROLES, "", IMPERSONATOR) == before
    assert "nobody can be asked" in await operator.sync(code=1)
    await operator.sync("--yes")
    assert "no difference" in await operator.sync("--yes")

    await revoke(chain, "small-stake")
    # Seen once the event index has the transaction; the seal itself decides.
    shown = await operator.sync("--yes")
    assert f"- user {mallory}" in shown
    assert "+ " not in shown
    assert await status_as(chain, ("Impersonate-User", mallory), ("Impersonate-Group", operators)) == 403
    assert await status_as(chain, ("Impersonate-User", alice), ("Impersonate-Group", operators)) == 200
    assert "no difference" in await operator.sync("--yes")


@pytest.mark.parametrize(
    "identity",
    [
        [("Impersonate-User", "system:admin")],
        [("Impersonate-User", "sui:0x" + "00" * 32)],
        [("Impersonate-User", "{owner}"), ("Impersonate-Group", "system:masters")],
        [("Impersonate-User", "{owner}"), ("Impersonate-Group", "daas:role:nobody")],
        [("Impersonate-User", "{owner}"), ("Impersonate-Extra-Scopes", "x")],
        [("Impersonate-User", "{owner}"), ("Impersonate-Uid", "1")],
        [("Impersonate-User", "system:serviceaccount:kube-system:default")],
        [],
    ],
    ids=lambda identity: ",".join(value for _, value in identity) or "itself",
)
async def test_nobody_else_is_ever_impersonated(
    chain: Stage, operator: Operator, identity: list[tuple[str, str]]
) -> None:
    await operator.sync("--yes")
    owner = user(chain, "operator")
    sent = [(name, value.replace("{owner}", owner)) for name, value in identity]
    assert await status_as(chain, *sent) == 403


async def test_what_was_added_by_hand_is_taken_back(chain: Stage, operator: Operator) -> None:
    await operator.sync("--yes")
    edited = chain.cluster.store.get(CLUSTER_ROLES, "", IMPERSONATOR)
    assert edited is not None
    api = ApiServer(lambda: load_configuration(chain.directory / "admin.kubeconfig"), connections=1)
    patch = b'[{"op":"add","path":"/rules/0/resourceNames/-","value":"system:admin"}]'
    target = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{IMPERSONATOR}"
    call = ApiCall("PATCH", target, [("Content-Type", "application/json-patch+json")], patch, 5.0, 1_000_000)
    assert (await asyncio.to_thread(api.send, call, lambda: True)).status == 200
    api.close()
    assert await status_as(chain, ("Impersonate-User", "system:admin")) == 403, "it has no rights, but counts"
    assert "- user system:admin" in await operator.sync("--yes")
    rules = chain.cluster.store.get(CLUSTER_ROLES, "", IMPERSONATOR)
    assert rules is not None
    assert rules["rules"] == edited["rules"]


async def test_the_manifests_are_printed_for_review(chain: Stage, operator: Operator) -> None:
    [role] = yaml.safe_load_all(await operator.sync("--output", "yaml"))
    assert role["metadata"]["name"] == IMPERSONATOR
    assert user(chain, "operator") in role["rules"][0]["resourceNames"]
    roles = Path(demo.__file__).with_name("roles.yaml")
    everything = list(yaml.safe_load_all(await operator.sync("--output", "yaml", "--install", str(roles))))
    kinds = {one["kind"] for one in everything}
    assert kinds >= {
        "Namespace",
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ClusterRole",
        "ClusterRoleBinding",
    }
    assert role["rules"] in [one.get("rules") for one in everything]


async def test_installing_is_sync_and_what_it_needs(chain: Stage, operator: Operator) -> None:
    roles = Path(demo.__file__).with_name("roles.yaml")
    chain.cluster.store.remove(BINDINGS, "", "daas-role-operator")
    said = await operator.sync("--yes", "--install", str(roles))
    assert "install what the listener needs in the namespace daas-system" in said
    assert chain.cluster.store.get(BINDINGS, "", "daas-role-operator") is not None


async def test_several_endpoints_are_a_quorum(chain: Stage, operator: Operator) -> None:
    assert "DAAS_QUORUM" in await operator.sync("--yes", endpoints=3, code=1)
    chain.sui.misbehave(chain.sui.grpc_ports[0], forge={"event": _hide})
    try:
        await operator.sync("--yes", "--quorum", "2", endpoints=3)
    finally:
        chain.sui.endpoints[chain.sui.grpc_ports[0]].reform()
    rules = chain.cluster.store.get(CLUSTER_ROLES, "", IMPERSONATOR)
    assert rules is not None
    assert user(chain, "operator") in rules["rules"][0]["resourceNames"]


def _hide(message: Any) -> None:
    """An event that decodes, about another cluster."""
    contents = message.contents
    if contents is not None and contents.value:
        contents.value = bytes(32) + contents.value[32:]
