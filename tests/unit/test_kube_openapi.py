"""Generated schemas and documents: right enough for kubectl, small enough for a blockchain."""

from __future__ import annotations

import gzip
import json

import pytest

from infra.local.kube.openapi import OpenApi
from infra.local.kube.registry import Registry
from infra.local.kube.schema import model_schema, named_schema, property_of, references

BUDGET = 48 * 1024  # half of what fits one reply, compressed


@pytest.fixture(scope="module")
def openapi() -> OpenApi:
    return OpenApi(Registry())


def test_every_document_fits_one_reply_compressed(openapi: OpenApi) -> None:
    sizes = {p: len(gzip.compress(openapi.document(p) or b"")) for p in openapi.index()["paths"]}
    assert "api/v1" in sizes
    assert "apis/apps/v1" in sizes
    assert max(sizes.values()) < BUDGET, sizes


def test_every_reference_in_a_document_leads_somewhere(openapi: OpenApi) -> None:
    for prefix in openapi.index()["paths"]:
        document = json.loads(openapi.document(prefix) or b"")
        assert references(document) <= document["components"]["schemas"].keys(), prefix


def test_kubectl_finds_kind_and_field_validation_by_path(openapi: OpenApi) -> None:
    document = json.loads(openapi.document("apis/apps/v1") or b"")
    path = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    assert path["patch"]["x-kubernetes-group-version-kind"]["kind"] == "Deployment"
    assert "fieldValidation" in {p["name"] for p in path["patch"]["parameters"]}
    kinds = document["components"]["schemas"]["v1.Deployment"]["x-kubernetes-group-version-kind"]
    assert kinds == [{"group": "apps", "version": "v1", "kind": "Deployment"}]


def test_the_hash_in_the_index_follows_the_content() -> None:
    registry = Registry()
    openapi = OpenApi(registry)
    before = openapi.index()["paths"]
    version = {"name": "v1", "served": True, "storage": True}
    names = {"plural": "widgets", "kind": "Widget"}

    def crd(field: str) -> dict[str, object]:
        spec = {"properties": {"spec": {"properties": {field: {"type": "integer"}}, "type": "object"}}}
        schema = {"openAPIV3Schema": {"type": "object", **spec}}
        versions = [{**version, "schema": schema}]
        return {"spec": {"group": "demo.io", "scope": "Namespaced", "names": names, "versions": versions}}

    registry.define(crd("size"))
    first = openapi.index()["paths"]
    registry.define(crd("width"))
    second = openapi.index()["paths"]
    assert first.keys() - before.keys() == {"apis/demo.io/v1"}
    assert first["apis/demo.io/v1"] != second["apis/demo.io/v1"]
    assert first["api/v1"] == before["api/v1"] == second["api/v1"]


@pytest.mark.parametrize(
    ("model", "field", "keys", "patch"),
    [
        ("V1PodSpec", "containers", ["name"], "name"),
        ("V1PodSpec", "volumes", ["name"], "name"),
        ("V1Container", "ports", ["containerPort", "protocol"], "containerPort"),
        ("V1Container", "env", ["name"], "name"),
        ("V1ServiceSpec", "ports", ["port", "protocol"], "port"),
        ("V1ObjectMeta", "ownerReferences", ["uid"], "uid"),
        ("V1DeploymentStatus", "conditions", ["type"], "type"),
    ],
)
def test_lists_merge_by_their_keys(model: str, field: str, keys: list[str], patch: str) -> None:
    schema = property_of(model_schema(model), field)
    assert schema["x-kubernetes-list-map-keys"] == keys
    assert schema["x-kubernetes-patch-merge-key"] == patch


def test_types_that_the_models_flatten() -> None:
    assert property_of(model_schema("V1ServicePort"), "targetPort")["x-kubernetes-int-or-string"]
    limits = property_of(model_schema("V1ResourceRequirements"), "limits")
    assert property_of(limits, "cpu")["format"] == "quantity"
    assert named_schema("core.v1.Event")["properties"]["involvedObject"]
    assert "exec" in model_schema("V1LifecycleHandler")["properties"]
