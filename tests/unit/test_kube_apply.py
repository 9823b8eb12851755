"""Field ownership and server-side apply."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.kube.apply import Manager, record_update, server_side_apply
from infra.local.kube.errors import ApiError, Json
from infra.local.kube.fieldsets import fields_of, from_fields_v1, readable, to_fields_v1
from infra.local.kube.schema import model_schema

NOW = "2026-01-02T03:04:05Z"
MAPS, DEPLOYMENTS = model_schema("V1ConfigMap"), model_schema("V1Deployment")
ALICE, BOB = Manager("alice", "v1"), Manager("bob", "v1")


def config(**data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


def applied(live: Json | None, wanted: Json, manager: Manager, *, force: bool = False) -> Json:
    return server_side_apply(live, wanted, MAPS, manager, NOW, force=force)


def owners(obj: Json) -> dict[str, set[str]]:
    """manager → the data keys that it owns."""
    entries = obj["metadata"].get("managedFields", [])
    return {e["manager"]: {k[2:] for k in e["fieldsV1"].get("f:data", {})} for e in entries}


def test_fields_v1_and_back() -> None:
    spec: Json = {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "x"}},
        "template": {
            "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}], "args": ["1"]}]}
        },
    }
    paths = fields_of({"metadata": {"name": "d", "labels": {"a": "b"}}, "spec": spec}, DEPLOYMENTS)
    tree = to_fields_v1(paths)
    assert from_fields_v1(tree) == paths
    assert tree["f:metadata"] == {"f:labels": {"f:a": {}}}, "the name is nobody's"
    assert tree["f:spec"]["f:selector"] == {}, "label selectors are atomic"
    container = tree["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert set(container) == {".", "f:name", "f:args", "f:ports"}
    assert set(container["f:ports"]) == {'k:{"containerPort":80,"protocol":"TCP"}'}


def test_paths_read_like_jsonpath() -> None:
    path = ("f:spec", "f:containers", 'k:{"name":"c"}', "f:image")
    assert readable(path) == '.spec.containers[name="c"].image'


def test_two_managers_share_what_they_agree_on() -> None:
    live = applied(None, config(a="1"), ALICE)
    live = applied(live, config(a="1", b="2"), BOB)
    assert live["data"] == {"a": "1", "b": "2"}
    assert owners(live) == {"alice": {"a"}, "bob": {"a", "b"}}


def test_a_disagreement_is_a_conflict_that_names_manager_and_field() -> None:
    live = applied(None, config(a="1"), ALICE)
    with pytest.raises(ApiError, match=r'conflict with "alice": \.data\.a') as refused:
        applied(live, config(a="2"), BOB)
    assert refused.value.code == 409
    assert refused.value.details == {
        "causes": [
            {"reason": "FieldManagerConflict", "message": 'conflict with "alice"', "field": ".data.a"},
        ]
    }


def test_force_takes_the_field_over() -> None:
    live = applied(applied(None, config(a="1", z="9"), ALICE), config(a="2"), BOB, force=True)
    assert live["data"] == {"a": "2", "z": "9"}
    assert owners(live) == {"alice": {"z"}, "bob": {"a"}}


def test_what_is_no_longer_applied_goes_unless_somebody_else_owns_it() -> None:
    live = applied(None, config(a="1", shared="s"), ALICE)
    live = applied(live, config(shared="s"), BOB)
    live = applied(live, config(), ALICE)
    assert live["data"] == {"shared": "s"}


def test_an_update_takes_changed_fields_and_only_those() -> None:
    live = applied(None, config(a="1", b="2"), ALICE)
    new = record_update(live, {**live, "data": {"a": "1", "b": "3"}}, MAPS, BOB, NOW)
    assert owners(new) == {"alice": {"a"}, "bob": {"b"}}
    with pytest.raises(ApiError, match=r'conflict with "bob" using v1: \.data\.b'):
        applied(new, config(a="1", b="2"), ALICE)


def test_items_of_a_keyed_list_are_merged_and_removed_one_by_one() -> None:
    def deployment(*containers: Any) -> Json:
        return {"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": list(containers)}}}}

    def apply(live: Json | None, wanted: Json, manager: Manager) -> Json:
        return server_side_apply(live, wanted, DEPLOYMENTS, manager, NOW, force=False)

    live = apply(None, deployment({"name": "a", "image": "a:1"}, {"name": "old", "image": "o"}), ALICE)
    live = apply(live, deployment({"name": "b", "image": "b:1"}), BOB)
    live = apply(live, deployment({"name": "a", "image": "a:2"}), ALICE)
    containers = live["spec"]["template"]["spec"]["containers"]
    assert containers == [{"name": "a", "image": "a:2"}, {"name": "b", "image": "b:1"}]


def test_applying_the_same_again_changes_nothing() -> None:
    live = applied(None, config(a="1"), ALICE)
    again = server_side_apply(live, config(a="1"), MAPS, ALICE, "2030-01-01T00:00:00Z", force=False)
    assert again == live


def test_a_write_that_cannot_touch_the_status_never_owns_it() -> None:
    manager = Manager("kubectl", "apps/v1", ignores_status=True)
    obj: Json = {"metadata": {"name": "d"}, "spec": {"replicas": 1}, "status": {"replicas": 0}}
    entry = record_update(None, obj, DEPLOYMENTS, manager, NOW)["metadata"]["managedFields"][0]
    assert set(entry["fieldsV1"]) == {"f:spec"}
