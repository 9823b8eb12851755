"""The three kinds of patch, with the merge keys of real types."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.kube.errors import ApiError, Json
from infra.local.kube.patches import json_patch, merge_patch, strategic_merge_patch
from infra.local.kube.schema import model_schema

DEPLOYMENT = model_schema("V1Deployment")


def pod_spec(**fields: Any) -> Json:
    return {"spec": {"template": {"spec": fields}}}


def patched_spec(live: Json, patch: Json) -> Json:
    result: Json = strategic_merge_patch(live, patch, DEPLOYMENT)["spec"]["template"]["spec"]
    return result


def test_containers_merge_by_name() -> None:
    live = pod_spec(containers=[{"name": "a", "image": "a:1", "tty": True}, {"name": "b", "image": "b:1"}])
    patch = pod_spec(containers=[{"name": "a", "image": "a:2"}, {"name": "c", "image": "c:1"}])
    assert patched_spec(live, patch)["containers"] == [
        {"name": "a", "image": "a:2", "tty": True},
        {"name": "b", "image": "b:1"},
        {"name": "c", "image": "c:1"},
    ]
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "a:1", (
        "the live object is not touched"
    )


def test_directives_delete_replace_and_order() -> None:
    live = pod_spec(containers=[{"name": n, "image": n} for n in ("a", "b", "c")], nodeSelector={"x": "1"})
    deleted = pod_spec(containers=[{"name": "b", "$patch": "delete"}])
    assert [c["name"] for c in patched_spec(live, deleted)["containers"]] == ["a", "c"]
    replaced = pod_spec(nodeSelector={"$patch": "replace", "y": "2"})
    assert patched_spec(live, replaced)["nodeSelector"] == {"y": "2"}
    ordered: Json = {"$setElementOrder/containers": [{"name": n} for n in ("c", "a", "b")]}
    assert [c["name"] for c in patched_spec(live, pod_spec(**ordered))["containers"]] == ["c", "a", "b"]


def test_order_keeps_items_that_it_does_not_name() -> None:
    live = pod_spec(containers=[{"name": n, "image": n} for n in ("a", "sidecar", "b")])
    ordered: Json = {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}
    assert [c["name"] for c in patched_spec(live, pod_spec(**ordered))["containers"]] == ["b", "a", "sidecar"]


def test_retain_keys_drops_what_a_change_of_kind_leaves_behind() -> None:
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge_patch(live, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_primitive_lists_merge_or_are_replaced_as_the_type_says() -> None:
    schema = model_schema("V1Pod")
    live: Json = {
        "metadata": {"finalizers": ["a", "b"]},
        "spec": {"containers": [{"name": "c", "args": ["1"]}]},
    }
    added = strategic_merge_patch(live, {"metadata": {"finalizers": ["c"]}}, schema)
    assert added["metadata"]["finalizers"] == ["a", "b", "c"]
    removed = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert strategic_merge_patch(live, removed, schema)["metadata"]["finalizers"] == ["b"]
    replaced: Json = {"spec": {"containers": [{"name": "c", "args": ["2"]}]}}
    assert strategic_merge_patch(live, replaced, schema)["spec"]["containers"][0]["args"] == ["2"]


def test_null_removes_in_both_merge_patches() -> None:
    live: Json = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    patch: Json = {"metadata": {"labels": {"a": None}}}
    assert merge_patch(live, patch) == {"metadata": {"labels": {"b": "2"}}}
    assert strategic_merge_patch(live, patch, DEPLOYMENT) == {"metadata": {"labels": {"b": "2"}}}
    assert merge_patch({"l": [1, 2]}, {"l": [3]}) == {"l": [3]}


def test_an_item_without_its_merge_key_is_refused() -> None:
    with pytest.raises(ApiError, match="does not contain declared merge key: name") as refused:
        strategic_merge_patch(pod_spec(containers=[]), pod_spec(containers=[{"image": "x"}]), DEPLOYMENT)
    assert refused.value.code == 400


def test_json_patch() -> None:
    live: Json = {"metadata": {"labels": {"a": "1"}}}
    operations = [
        {"op": "test", "path": "/metadata/labels/a", "value": "1"},
        {"op": "add", "path": "/metadata/labels/b", "value": "2"},
        {"op": "remove", "path": "/metadata/labels/a"},
    ]
    assert json_patch(live, operations) == {"metadata": {"labels": {"b": "2"}}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/metadata/labels/a", "value": "other"},
        {"op": "remove", "path": "/nowhere/at/all"},
        {"op": "unknown", "path": "/metadata"},
    ],
)
def test_a_json_patch_that_fails_is_unprocessable(operation: Json) -> None:
    with pytest.raises(ApiError) as refused:
        json_patch({"metadata": {"labels": {"a": "1"}}}, [operation])
    assert refused.value.code == 422
