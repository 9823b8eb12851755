"""The `kubernetes` package, through the gateway and the chain, on both API servers."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError
from kubernetes.watch import Watch

from infra.local.kubectl import find_kubectl
from tests.compat.clients import Place, fading, place_on
from tests.compat.informing import Follower
from tests.compat.stages import Stage
from tests.e2e.parking_stage import WAITS, SecondGateway, slow

# The first test of a server may wait for the compiler.
pytestmark = pytest.mark.timeout(1800)
# More than the gateway waits, less than it waits twice.
SLOW_S = 4.5
APPLIED: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}}


@pytest.fixture(scope="module", params=["memory", "real"])
def place(request: pytest.FixtureRequest) -> Place:
    return place_on(request.getfixturevalue(f"{request.param}_stage"))


def test_pages_hold_every_object_once(place: Place) -> None:
    for number in range(5):
        place.happens(f"page-{number}", labels={"set": "pages"})
    core = client.CoreV1Api(place.chain())
    options = {"namespace": place.namespace, "label_selector": "set=pages", "limit": 2}
    pages = [core.list_namespaced_config_map(**options)]
    while pages[-1].metadata._continue:
        pages.append(core.list_namespaced_config_map(**options, _continue=pages[-1].metadata._continue))
    assert [[item.metadata.name for item in page.items] for page in pages] == [
        ["page-0", "page-1"],
        ["page-2", "page-3"],
        ["page-4"],
    ]


def test_a_dynamic_client_writes_what_it_discovered(place: Place, tmp_path: Path) -> None:
    dynamic = DynamicClient(place.chain(), cache_file=str(tmp_path / "discovery"))
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    known = {"name": "dynamic", "namespace": place.namespace}
    maps.create(body={"metadata": {"name": "dynamic"}, "data": {"a": "1"}}, namespace=place.namespace)
    maps.patch(body={"data": {"b": "2"}}, content_type="application/merge-patch+json", **known)
    body = maps.get(**known).to_dict()
    assert body["data"] == {"a": "1", "b": "2"}
    maps.replace(body={**body, "data": {"c": "3"}}, namespace=place.namespace)
    with pytest.raises(ConflictError):
        maps.replace(body={**body, "data": {"d": "4"}}, namespace=place.namespace)
    assert maps.get(**known).to_dict()["data"] == {"c": "3"}
    maps.delete(**known)
    with pytest.raises(NotFoundError):
        maps.get(**known)


def test_server_side_apply_keeps_what_others_own(place: Place, tmp_path: Path) -> None:
    dynamic = DynamicClient(place.chain(), cache_file=str(tmp_path / "discovery"))
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    apply = functools.partial(maps.server_side_apply, namespace=place.namespace)
    apply(body={**APPLIED, "data": {"a": "1"}}, field_manager="one")
    apply(body={**APPLIED, "data": {"b": "2"}}, field_manager="two")
    with pytest.raises(ConflictError) as conflict:
        apply(body={**APPLIED, "data": {"a": "3"}}, field_manager="two")
    assert 'conflict with "one"' in json.loads(conflict.value.body)["message"]
    forced = apply(body={**APPLIED, "data": {"a": "3"}}, field_manager="two", force_conflicts=True)
    assert forced.to_dict()["data"] == {"a": "3"}


def test_a_watch_goes_on_from_where_a_list_ended(place: Place) -> None:
    core = client.CoreV1Api(place.chain())
    listed = core.list_namespaced_config_map(place.namespace, label_selector="set=watched")
    place.happens("watched", labels={"set": "watched"}, n="0")
    place.changes("watched", n="1")
    place.ends("watched")
    events = Watch().stream(
        core.list_namespaced_config_map,
        place.namespace,
        label_selector="set=watched",
        resource_version=listed.metadata.resource_version,
        timeout_seconds=20,
    )
    assert [(event["type"], event["object"].data) for event in events] == [
        ("ADDED", {"n": "0"}),
        ("MODIFIED", {"n": "1"}),
        ("DELETED", {"n": "1"}),
    ]


def test_a_watch_from_a_version_that_is_forgotten_is_told_so(memory_stage: Stage) -> None:
    """A real server forgets only after thousands of changes, or minutes."""
    place = place_on(memory_stage)
    core = client.CoreV1Api(place.chain())
    with pytest.raises(client.ApiException) as gone:
        list(
            Watch().stream(
                core.list_namespaced_config_map, place.namespace, resource_version="1", timeout_seconds=20
            )
        )
    assert gone.value.status == 410
    assert "too old resource version" in gone.value.reason


def test_an_informer_sees_each_change_once_over_many_windows(place: Place) -> None:
    label = {"set": "informed"}
    place.happens("first", labels=label, n="0")
    follower = Follower(place, "informed", place.stage.chain)
    assert follower.next() == ("ADDED", "first", "0")
    for number in map(str, range(1, 4)):
        place.changes("first", n=number)
        assert follower.next() == ("MODIFIED", "first", number)
        place.happens(f"other-{number}", labels=label, n=number)
        assert follower.next() == ("ADDED", f"other-{number}", number)
        place.ends(f"other-{number}")
        assert follower.next() == ("DELETED", f"other-{number}", number)
    for number in map(str, range(4, 24)):
        place.changes("first", n=number)
    assert [follower.next() for _ in range(20)] == [("MODIFIED", "first", str(n)) for n in range(4, 24)]
    follower.stop(lambda: place.changes("first", n="24"))
    assert follower.seen.empty()
    assert follower.lists == 1
    assert follower.windows >= 6


def test_a_token_that_ended_is_renewed(place: Place, tmp_path: Path) -> None:
    tokens = fading(place.stage, tmp_path, dead=1)
    core = client.CoreV1Api(place.chain(tokens.kubeconfig))
    assert tokens.runs == 1
    assert core.list_namespaced_config_map(place.namespace).metadata.resource_version
    assert tokens.runs == 2


def test_a_slow_read_is_asked_for_again_and_a_slow_write_is_not(memory_stage: Stage, tmp_path: Path) -> None:
    """The client sends no `Kubectl-Session`; urllib3 repeats a GET for `Retry-After`, three times."""
    place = place_on(memory_stage)
    gateway = SecondGateway(memory_stage.state, tmp_path, find_kubectl(), settings=WAITS)
    try:
        core = client.CoreV1Api(place.chain(tmp_path / "kubeconfig"))
        place.happens("slow", n="0")
        with slow(memory_stage.state, SLOW_S, place.namespace):
            assert core.read_namespaced_config_map("slow", place.namespace).data == {"n": "0"}
        with (
            slow(memory_stage.state, SLOW_S, place.namespace),
            pytest.raises(client.ApiException) as late,
        ):
            core.create_namespaced_config_map(place.namespace, {"metadata": {"generateName": "late-"}})
        assert gateway.answers("configmaps") == [("get", 503), ("get", 200), ("create", 504)]
    finally:
        gateway.close()
    status = json.loads(late.value.body)
    assert late.value.status == 504
    assert status["details"]["uid"] in late.value.body
