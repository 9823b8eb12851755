"""The `Leases` port keeps its promises, at the in-memory API server as in the memory that unit tests use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from infra.local.certificates import LocalAuthority
from infra.local.kube.authentication import User
from infra.local.kube.cluster import Cluster
from infra.local.kube.server import ThreadedServer
from infra.local.stack.cluster import prepare_cluster
from infra.local.stack.kubeconfigs import token_kubeconfig
from k3s_daas.admin.listener_rbac import SERVICE_ACCOUNT
from listener_service.api_call import ApiCall
from listener_service.api_server import ApiServer
from listener_service.api_way import load_configuration
from listener_service.clock import ClusterClock
from listener_service.kube_objects import (
    KubeObjects,
    KubeRefusedError,
    KubeUnavailableError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
)
from listener_service.leases import KubeLeases, Lease, Leases
from tests.unit.memory_leases import MemoryLeases

NAMESPACE = "daas-system"
LEASES = ("coordination.k8s.io", "leases")


@dataclass
class Place:
    """A cluster, and kubeconfigs of the listener's service account and of a tenant in it."""

    cluster: Cluster
    kubeconfig: Path
    tenant: Path

    def api_server(self) -> ApiServer:
        return ApiServer(lambda: load_configuration(self.kubeconfig), connections=4)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("leases")
    authority = LocalAuthority(directory / "authority")
    certificate = authority.issue("kubernetes")
    cluster = Cluster({"admin": User("admin", ("system:masters",)), "tenant": User("tenant")})
    with ThreadedServer(cluster, certificate.certificate, certificate.key) as server:
        admin = directory / "admin"
        entry = {"server": server.url, "certificate-authority": str(authority.certificate_file)}
        admin.write_text(token_kubeconfig(entry, "admin", "admin"))
        tenant = directory / "tenant"
        tenant.write_text(token_kubeconfig(entry, "tenant", "tenant"))
        yield Place(cluster, prepare_cluster(admin, NAMESPACE, [], directory / "listener"), tenant)


@pytest.fixture
def clock() -> ClusterClock:
    return ClusterClock()


@pytest.fixture(params=["memory", "api server"])
async def leases(request: pytest.FixtureRequest, place: Place, clock: ClusterClock) -> AsyncIterator[Leases]:
    if request.param == "memory":
        yield MemoryLeases(lambda: time.time_ns() // 1_000_000)
        return
    found = KubeLeases(KubeObjects(place.api_server(), clock, threads=4, timeout_s=5), NAMESPACE)
    yield found
    for lease in place.cluster.store.objects(LEASES, NAMESPACE):
        place.cluster.store.remove(LEASES, NAMESPACE, lease["metadata"]["name"])
    found.close()


FULL = Lease(
    "full",
    holder="somebody",
    duration_s=15,
    acquired_ms=1_800_000_000_123,
    renewed_ms=1_800_000_001_456,
    transitions=3,
    labels={"a": "1"},
    annotations={"b/c": '{"x":"ü"}'},
)


async def test_what_is_created_is_read_back(leases: Leases) -> None:
    before_ms = time.time_ns() // 1_000_000
    made = await leases.create(FULL)
    assert made == await leases.get("full")
    assert replace(made, version="", created_ms=0) == FULL
    assert made.created_ms % 1000 == 0
    assert before_ms - 1000 < made.created_ms <= time.time_ns() // 1_000_000


async def test_of_many_that_create_one_name_one_succeeds(leases: Leases) -> None:
    results = await asyncio.gather(
        *(leases.create(Lease("one", holder=str(number))) for number in range(8)), return_exceptions=True
    )
    [made] = [result for result in results if isinstance(result, Lease)]
    assert sum(isinstance(result, ObjectExistsError) for result in results) == 7
    stored = await leases.get("one")
    assert stored is not None
    assert stored.holder == made.holder


async def test_a_lease_is_replaced_only_in_the_version_that_was_read(leases: Leases) -> None:
    made = await leases.create(FULL)
    changed = await leases.replace(replace(made, holder="", annotations={}))
    assert changed.version != made.version
    assert (changed.holder, changed.annotations, changed.labels) == ("", {}, {"a": "1"})
    with pytest.raises(ObjectChangedError):
        await leases.replace(replace(made, holder="late"))


async def test_replacing_what_was_deleted_makes_it_anew_or_fails(leases: Leases) -> None:
    made = await leases.create(FULL)
    await leases.remove({"a": "1"})
    assert await leases.get("full") is None
    try:
        await leases.replace(made)
    except ObjectMissingError:
        assert await leases.get("full") is None
    else:
        assert await leases.get("full") is not None
        with pytest.raises(ObjectChangedError):
            await leases.replace(made)


async def test_of_many_that_replace_one_version_one_succeeds(leases: Leases) -> None:
    made = await leases.create(FULL)
    results = await asyncio.gather(
        *(leases.replace(replace(made, holder=str(number))) for number in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, Lease) for result in results) == 1
    assert sum(isinstance(result, ObjectChangedError) for result in results) == 7


async def test_leases_are_found_and_removed_by_all_their_labels(leases: Leases) -> None:
    for number in range(6):
        await leases.create(Lease(f"n-{number}", labels={"of": "x", "minute": str(number % 2)}))
    await leases.create(Lease("other", labels={"of": "y", "minute": "1"}))
    assert len(await leases.find({"of": "x"})) == 6
    await leases.remove({"of": "x", "minute": "1"})
    await leases.remove({"of": "x", "minute": "1"})
    assert sorted(lease.name for lease in await leases.find({"of": "x"})) == ["n-0", "n-2", "n-4"]
    assert await leases.get("other") is not None


async def test_a_list_of_many_pages_is_complete(
    place: Place, clock: ClusterClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("listener_service.leases._PAGE", 4)
    objects = KubeObjects(place.api_server(), clock, threads=4, timeout_s=5)
    leases = KubeLeases(objects, NAMESPACE)
    await asyncio.gather(*(leases.create(Lease(f"p-{n}", labels={"page": "1"})) for n in range(13)))
    assert len(await leases.find({"page": "1"})) == 13
    await leases.remove({"page": "1"})
    assert await leases.find({"page": "1"}) == []
    leases.close()


async def test_each_reply_tells_the_time(place: Place, clock: ClusterClock) -> None:
    leases = KubeLeases(KubeObjects(place.api_server(), clock, threads=1, timeout_s=5), NAMESPACE)
    await leases.get("absent")
    now_ms = time.time_ns() // 1_000_000
    assert clock.earliest_ms() - 50 <= now_ms <= clock.now_ms() + 50
    assert clock.now_ms() - clock.earliest_ms() < 2_000
    leases.close()


async def test_an_api_server_that_is_away_is_unavailable(clock: ClusterClock, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    # Nobody listens on the discard port.
    kubeconfig.write_text(token_kubeconfig({"server": "http://127.0.0.1:9"}, "listener", "token"))
    api_server = ApiServer(lambda: load_configuration(kubeconfig), connections=1)
    leases = KubeLeases(KubeObjects(api_server, clock, threads=1, timeout_s=1), NAMESPACE)
    for call in (leases.get("x"), leases.create(FULL), leases.find({"a": "b"})):
        with pytest.raises(KubeUnavailableError):
            await call
    leases.close()


FORBIDDEN = [
    ("GET", "/api/v1/namespaces"),
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets"),
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/another"),
    ("GET", "/api/v1/namespaces/default/secrets/daas-listener-keys"),
    ("DELETE", f"/api/v1/namespaces/{NAMESPACE}/secrets/daas-listener-keys"),
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps"),
    ("GET", "/apis/coordination.k8s.io/v1/leases"),
    ("GET", "/apis/coordination.k8s.io/v1/namespaces/default/leases"),
    ("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"),
    ("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/full"),
    ("GET", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles"),
]


@pytest.mark.parametrize(("method", "target"), FORBIDDEN)
async def test_the_service_account_can_do_nothing_else(method: str, target: str, place: Place) -> None:
    """Without impersonating anybody: its Leases, and its Secret by name."""
    api_server = place.api_server()
    reply = api_server.send(ApiCall(method, target, (), b"", 5, 1_000_000), lambda: True)
    assert reply.status == 403
    assert SERVICE_ACCOUNT in reply.body.decode()
    api_server.close()


async def test_a_tenant_reaches_no_claim(place: Place, clock: ClusterClock) -> None:
    api_server = ApiServer(lambda: load_configuration(place.tenant), connections=1)
    theirs = KubeLeases(KubeObjects(api_server, clock, threads=1, timeout_s=5), NAMESPACE)
    for call in (theirs.create(Lease("daas-claim-x")), theirs.get("daas-claim-x"), theirs.remove({"a": "b"})):
        with pytest.raises(KubeRefusedError) as caught:
            await call
        assert caught.value.status == 403
        assert "tenant" in str(caught.value)
    theirs.close()
