"""The resource API: what requests do, and the Status of those that fail."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.local.kube.app import build_app
from infra.local.kube.authentication import User
from infra.local.kube.cluster import Cluster
from infra.local.kube.errors import Json
from infra.local.kube.inprocess import InProcessClient, Reply

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/demo.io/v1/namespaces/default/widgets"
MERGE = [("Content-Type", "application/merge-patch+json")]
STRATEGIC = [("Content-Type", "application/strategic-merge-patch+json")]
APPLY = [("Content-Type", "application/apply-patch+yaml")]


@pytest.fixture
def cluster() -> Cluster:
    users = {"root": User("root", ("system:masters",))}
    return Cluster(users, clock=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@pytest.fixture
def api(cluster: Cluster) -> InProcessClient:
    return InProcessClient(cluster, "root")


def config(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **labels: str) -> Json:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    }


def widget_crd(**version: Any) -> Json:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                },
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    first = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}
    return {
        "metadata": {"name": "widgets.demo.io"},
        "spec": {
            "group": "demo.io",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [first],
        },
    }


def refusal(reply: Reply) -> tuple[int, str]:
    status = reply.json()
    assert status["kind"] == "Status"
    assert status["status"] == "Failure"
    assert status["code"] == reply.status
    return reply.status, status["reason"]


def test_what_is_created_can_be_read(api: InProcessClient) -> None:
    created = api.request("POST", MAPS, config("a", k="v"))
    assert created.status == 201
    metadata = created.json()["metadata"]
    assert metadata["creationTimestamp"] == "2026-01-02T03:04:05Z"
    assert metadata["uid"]
    assert int(metadata["resourceVersion"]) > 0
    assert api.request("GET", f"{MAPS}/a").json() == created.json()
    listed = api.request("GET", MAPS).json()
    assert listed["kind"] == "ConfigMapList"
    assert [item["metadata"]["name"] for item in listed["items"]] == ["a"]
    assert int(listed["metadata"]["resourceVersion"]) >= int(metadata["resourceVersion"])


def test_refusals_have_kubernetes_codes_and_words(api: InProcessClient) -> None:
    missing = api.request("GET", f"{MAPS}/nope")
    assert refusal(missing) == (404, "NotFound")
    assert missing.json()["message"] == 'configmaps "nope" not found'
    assert missing.json()["details"] == {"name": "nope", "kind": "configmaps"}
    api.request("POST", MAPS, config("a"))
    again = api.request("POST", MAPS, config("a"))
    assert refusal(again) == (409, "AlreadyExists")
    assert again.json()["message"] == 'configmaps "a" already exists'
    elsewhere = api.request("POST", "/api/v1/namespaces/absent/configmaps", config("a"))
    assert refusal(elsewhere) == (404, "NotFound")
    assert elsewhere.json()["message"] == 'namespaces "absent" not found'
    assert refusal(api.request("GET", "/api/v1/namespaces/default/nothings")) == (404, "NotFound")
    assert refusal(api.request("GET", "/no/such/path")) == (404, "NotFound")
    assert refusal(api.request("PUT", MAPS, config("a"))) == (405, "MethodNotAllowed")
    assert refusal(api.request("OPTIONS", MAPS)) == (405, "MethodNotAllowed")
    accept = [("Accept", "application/vnd.kubernetes.protobuf")]
    assert refusal(api.request("GET", MAPS, headers=accept)) == (406, "NotAcceptable")
    text = [("Content-Type", "text/plain")]
    assert refusal(api.request("POST", MAPS, b"x", headers=text)) == (415, "UnsupportedMediaType")
    assert refusal(api.request("POST", MAPS, b"{")) == (400, "BadRequest")
    assert refusal(api.request("POST", MAPS, b"[]")) == (400, "BadRequest")
    assert refusal(api.request("POST", MAPS)) == (400, "BadRequest")
    assert refusal(api.request("POST", MAPS, b"x" * (3 * 1024 * 1024 + 1)))[0] == 413


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (MAPS, config("Bad_Name"), "metadata.name"),
        (MAPS, {"metadata": {}}, "metadata.name"),
        (
            PODS,
            {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}},
            "spec.containers[0].image",
        ),
        (PODS, {"metadata": {"name": "p"}, "spec": {}}, "spec.containers"),
        (
            DEPLOYMENTS,
            {
                "metadata": {"name": "d"},
                "spec": {
                    "selector": {"matchLabels": {"a": "b"}},
                    "template": {"spec": {"containers": [{"name": "c", "image": "x"}]}},
                },
            },
            "spec.template.metadata.labels",
        ),
    ],
)
def test_invalid_objects_name_the_field(api: InProcessClient, path: str, body: Json, field: str) -> None:
    refused = api.request("POST", path, body)
    assert refusal(refused) == (422, "Invalid")
    assert field in {cause["field"] for cause in refused.json()["details"]["causes"]}


def test_nothing_deletes_across_namespaces(api: InProcessClient) -> None:
    api.request("POST", MAPS, config("kept"))
    assert api.request("DELETE", "/api/v1/configmaps").status == 405
    assert api.request("GET", f"{MAPS}/kept").status == 200
    assert api.request("DELETE", MAPS).status == 200
    assert api.request("GET", f"{MAPS}/kept").status == 404


def test_values_of_the_wrong_type_do_not_decode(api: InProcessClient) -> None:
    refused = api.request("POST", DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": {"replicas": "three"}})
    assert refusal(refused) == (400, "BadRequest")
    assert (
        "cannot unmarshal string into Go struct field Deployment.spec.replicas" in refused.json()["message"]
    )


@pytest.mark.parametrize("validation", ["Strict", "Warn", "Ignore"])
def test_unknown_fields_are_refused_warned_of_or_dropped(api: InProcessClient, validation: str) -> None:
    body = config("a") | {"datta": {"k": "v"}}
    reply = api.request("POST", MAPS, body, query={"fieldValidation": validation})
    if validation == "Strict":
        assert refusal(reply) == (400, "BadRequest")
        assert 'strict decoding error: unknown field "datta"' in reply.json()["message"]
        return
    assert reply.status == 201
    assert "datta" not in reply.json()
    warning = '299 - "unknown field \\"datta\\""'
    assert reply.headers.get("warning") == (warning if validation == "Warn" else None)


def test_an_outdated_replacement_is_a_conflict(api: InProcessClient) -> None:
    first = api.request("POST", MAPS, config("a", k="1")).json()
    assert api.request("PUT", f"{MAPS}/a", first | {"data": {"k": "2"}}).status == 200
    stale = api.request("PUT", f"{MAPS}/a", first | {"data": {"k": "3"}})
    assert refusal(stale) == (409, "Conflict")
    assert "the object has been modified" in stale.json()["message"]
    assert api.request("GET", f"{MAPS}/a").json()["data"] == {"k": "2"}


def test_a_dry_run_changes_nothing(api: InProcessClient) -> None:
    query = {"dryRun": "All"}
    assert api.request("POST", MAPS, config("a"), query=query).status == 201
    assert api.request("GET", f"{MAPS}/a").status == 404
    api.request("POST", MAPS, config("a", k="1"))
    patched = api.request("PATCH", f"{MAPS}/a", {"data": {"k": "2"}}, query=query, headers=MERGE)
    assert patched.json()["data"] == {"k": "2"}
    assert api.request("DELETE", f"{MAPS}/a", query=query).status == 200
    assert api.request("GET", f"{MAPS}/a").json()["data"] == {"k": "1"}
    assert refusal(api.request("POST", MAPS, config("b"), query={"dryRun": "Some"})) == (400, "BadRequest")


def test_generation_counts_changes_of_the_spec_only(api: InProcessClient, cluster: Cluster) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    api.request("POST", DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec})

    def generation() -> int:
        found: int = api.request("GET", f"{DEPLOYMENTS}/d").json()["metadata"]["generation"]
        return found

    assert generation() == 1
    api.request("PATCH", f"{DEPLOYMENTS}/d", {"metadata": {"labels": {"x": "y"}}}, headers=MERGE)
    api.request("PATCH", f"{DEPLOYMENTS}/d/status", {"status": {"replicas": 7}}, headers=MERGE)
    assert generation() == 1
    api.request("PATCH", f"{DEPLOYMENTS}/d", {"spec": {"replicas": 2}}, headers=STRATEGIC)
    assert generation() == 2


def test_status_and_spec_are_written_through_their_own_doors(api: InProcessClient) -> None:
    api.request("POST", PODS, pod("p") | {"status": {"phase": "Failed"}})
    assert api.request("GET", f"{PODS}/p").json()["status"]["phase"] == "Running", "from the kubelet"
    api.request("PATCH", f"{PODS}/p", {"status": {"message": "no"}}, headers=MERGE)
    assert "message" not in api.request("GET", f"{PODS}/p").json()["status"]
    api.request("PATCH", f"{PODS}/p/status", {"status": {"message": "yes"}}, headers=STRATEGIC)
    assert api.request("GET", f"{PODS}/p").json()["status"]["message"] == "yes"


def test_immutable_fields(api: InProcessClient) -> None:
    api.request("POST", PODS, pod("p"))
    patch = {"spec": {"containers": [{"name": "c", "tty": True}]}}
    refused = api.request("PATCH", f"{PODS}/p", patch, headers=STRATEGIC)
    assert refusal(refused) == (422, "Invalid")
    assert "pod updates may not change fields" in refused.json()["message"]
    image = {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}
    assert api.request("PATCH", f"{PODS}/p", image, headers=STRATEGIC).status == 200


def test_paging_shows_the_state_of_its_first_page(api: InProcessClient) -> None:
    for name in ("a", "b", "c", "d"):
        api.request("POST", MAPS, config(name))
    first = api.request("GET", MAPS, query={"limit": "2"}).json()
    assert [i["metadata"]["name"] for i in first["items"]] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 2
    api.request("DELETE", f"{MAPS}/c")
    api.request("POST", MAPS, config("bb"))
    token = first["metadata"]["continue"]
    rest = api.request("GET", MAPS, query={"limit": "2", "continue": token}).json()
    assert [i["metadata"]["name"] for i in rest["items"]] == ["c", "d"]
    assert "continue" not in rest["metadata"]
    assert refusal(api.request("GET", MAPS, query={"continue": "junk"})) == (400, "BadRequest")


def test_list_options_are_checked(api: InProcessClient) -> None:
    for query, expected in (
        ({"resourceVersionMatch": "Exact"}, 422),
        ({"resourceVersion": "x"}, 400),
        ({"sendInitialEvents": "true"}, 422),
        ({"sendInitialEvents": "true", "watch": "1"}, 422),
        ({"limit": "-1"}, 400),
        ({"resourceVersion": "999999", "resourceVersionMatch": "NotOlderThan"}, 504),
    ):
        assert api.request("GET", MAPS, query=query).status == expected, query


def test_tables_and_partial_metadata(api: InProcessClient) -> None:
    api.request("POST", PODS, pod("p", app="x"))
    table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    found = api.request("GET", PODS, headers=[("Accept", table)]).json()
    heads = [column["name"] for column in found["columnDefinitions"] if column["priority"] == 0]
    assert heads == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert found["rows"][0]["cells"][:5] == ["p", "1/1", "Running", "0", "0s"]
    assert found["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    whole = api.request("GET", PODS, query={"includeObject": "Object"}, headers=[("Accept", table)]).json()
    assert whole["rows"][0]["object"]["spec"]["nodeName"] == "local"
    partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    found = api.request("GET", PODS, headers=[("Accept", partial)]).json()
    assert found["kind"] == "PartialObjectMetadataList"
    assert set(found["items"][0]) == {"kind", "apiVersion", "metadata"}


def test_a_table_of_every_type_can_be_printed(api: InProcessClient, cluster: Cluster) -> None:
    table = [("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")]
    for resource in cluster.registry.all():
        if "list" in resource.verbs:
            reply = api.request("GET", f"/{resource.path_prefix}/{resource.plural}", headers=table)
            assert reply.status == 200, resource
            found = reply.json()
            assert all(len(row["cells"]) == len(found["columnDefinitions"]) for row in found["rows"]), (
                resource
            )


def test_server_side_apply_creates_updates_and_conflicts(api: InProcessClient) -> None:
    def apply(manager: str, value: str, **query: str) -> Reply:
        body = json.dumps(config("a", k=value)).encode()
        return api.request(
            "PATCH", f"{MAPS}/a", body, query={"fieldManager": manager, **query}, headers=APPLY
        )

    assert apply("one", "1").status == 201
    assert apply("one", "1").status == 200
    refused = apply("two", "2")
    assert refusal(refused) == (409, "Conflict")
    assert refused.json()["details"]["causes"][0]["field"] == ".data.k"
    assert apply("two", "2", force="true").json()["data"] == {"k": "2"}
    unnamed = api.request("PATCH", f"{MAPS}/a", b"kind: ConfigMap", headers=APPLY)
    assert refusal(unnamed) == (400, "BadRequest")


def test_custom_resources_get_what_built_in_ones_have(api: InProcessClient) -> None:
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    scale = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    crd = widget_crd(additionalPrinterColumns=columns, subresources={"status": {}, "scale": scale})
    assert refusal(api.request("GET", WIDGETS)) == (404, "NotFound")
    assert api.request("POST", CRDS, crd).status == 201
    conditions = api.request("GET", f"{CRDS}/widgets.demo.io").json()["status"]["conditions"]
    assert {"Established", "NamesAccepted"} == {c["type"] for c in conditions if c["status"] == "True"}
    created = api.request("POST", WIDGETS, {"metadata": {"name": "w"}, "spec": {"size": 3, "junk": 1}})
    assert created.status == 201
    assert created.json()["spec"] == {"size": 3, "colour": "red"}, "defaulted and pruned"
    table = api.request("GET", WIDGETS, headers=[("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")])
    assert table.json()["rows"][0]["cells"] == ["w", 3]
    scaled = api.request("PATCH", f"{WIDGETS}/w/scale", {"spec": {"replicas": 5}}, headers=MERGE)
    assert scaled.json()["spec"] == {"replicas": 5}
    api.request("PATCH", f"{WIDGETS}/w/status", {"status": {"size": 4}}, headers=MERGE)
    found = api.request("GET", f"{WIDGETS}/w").json()
    assert (found["spec"]["size"], found["status"]) == (5, {"size": 4})
    assert refusal(api.request("PATCH", f"{WIDGETS}/w", {}, headers=STRATEGIC)) == (
        415,
        "UnsupportedMediaType",
    )
    for spec, field in (
        ({}, "spec.size"),
        ({"size": 0}, "spec.size"),
        ({"size": 1, "colour": "x"}, "spec.colour"),
    ):
        refused = api.request("POST", WIDGETS, {"metadata": {"name": "bad"}, "spec": spec})
        assert refusal(refused) == (422, "Invalid")
        assert refused.json()["details"]["causes"][0]["field"] == field
    assert api.request("DELETE", f"{CRDS}/widgets.demo.io").status == 200
    assert refusal(api.request("GET", WIDGETS)) == (404, "NotFound")
    assert refusal(api.request("GET", f"{CRDS}/widgets.demo.io")) == (404, "NotFound")


def test_two_versions_show_the_same_object(api: InProcessClient) -> None:
    crd = widget_crd()
    older = {**crd["spec"]["versions"][0], "name": "v1beta1", "storage": False}
    crd["spec"]["versions"].append(older)
    api.request("POST", CRDS, crd)
    api.request("POST", WIDGETS, {"metadata": {"name": "w"}, "spec": {"size": 3}})
    beta = api.request("GET", f"{WIDGETS.replace('v1/', 'v1beta1/')}/w").json()
    assert beta["apiVersion"] == "demo.io/v1beta1"
    assert beta["spec"]["size"] == 3


def test_events_are_served_by_both_groups(api: InProcessClient) -> None:
    api.request("POST", PODS, pod("p"))
    core = api.request("GET", "/api/v1/namespaces/default/events").json()["items"]
    newer = api.request("GET", "/apis/events.k8s.io/v1/namespaces/default/events").json()["items"]
    assert {e["message"] for e in core} == {e["note"] for e in newer}
    assert any(e["regarding"]["name"] == "p" for e in newer)


@pytest.mark.parametrize("path", ["/apis", "/openapi/v3", "/openapi/v3/apis/apps/v1"])
def test_who_has_a_big_document_of_discovery_gets_a_304(api: InProcessClient, path: str) -> None:
    aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    accept = ("accept", f"{aggregated},application/json")
    tag = api.request("GET", path, headers=[accept]).headers["etag"]
    known = api.request("GET", path, headers=[accept, ("if-none-match", tag)])
    assert (known.status, known.body, known.headers["etag"]) == (304, b"", tag)
    assert "content-type" not in known.headers
    assert api.request("GET", path, headers=[accept, ("if-none-match", '"other"')]).status == 200


def test_discovery_in_both_forms(api: InProcessClient) -> None:
    api.request("POST", CRDS, widget_crd())
    accept = [
        ("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")
    ]
    found = api.request("GET", "/apis", headers=accept)
    assert found.headers["content-type"] == (
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    )
    groups = {item["metadata"]["name"]: item["versions"] for item in found.json()["items"]}
    assert groups["demo.io"][0]["resources"][0]["shortNames"] == ["wd"]
    older = api.request("GET", "/apis").json()
    assert {group["name"] for group in older["groups"]} == set(groups)
    assert api.request("GET", "/api").json()["versions"] == ["v1"]
    rows = api.request("GET", "/apis/apps/v1").json()["resources"]
    assert {"deployments", "deployments/status", "deployments/scale"} <= {row["name"] for row in rows}
    assert api.request("GET", "/openapi/v2").status == 404
    assert api.request("GET", "/version").json()["major"] == "1"
    assert api.request("GET", "/readyz").body == b"ok"


@pytest.mark.parametrize("subresource", ["log", "exec", "attach", "portforward"])
def test_what_needs_a_container_is_refused_by_name(api: InProcessClient, subresource: str) -> None:
    api.request("POST", PODS, pod("p"))
    refused = api.request("GET", f"{PODS}/p/{subresource}")
    assert refusal(refused) == (501, "NotImplemented")
    assert "runs no containers" in refused.json()["message"]


def test_big_answers_are_compressed_if_the_client_says_so(api: InProcessClient) -> None:
    for number in range(3):
        api.request("POST", MAPS, config(f"big{number}", k="x" * 60_000))
    plain = api.request("GET", MAPS)
    packed = api.request("GET", MAPS, headers=[("Accept-Encoding", "gzip")])
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) // 10


def test_a_bug_is_answered_without_its_traceback(
    cluster: Cluster, api: InProcessClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("inner detail")

    monkeypatch.setattr(cluster.handlers, "handle", broken)
    reply = api.request("GET", MAPS)
    assert refusal(reply) == (500, "InternalError")
    assert b"inner detail" not in reply.body
    assert "inner detail" in caplog.text


def test_the_audit_log_goes_to_a_file_and_holds_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    cluster = Cluster({"root-token": User("root", ("system:masters",))}, audit_path=path)
    api = InProcessClient(cluster, "root-token")
    secret = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}
    api.request("POST", "/api/v1/namespaces/default/secrets", secret)
    InProcessClient(cluster, "stolen").request("GET", MAPS)
    cluster.close()
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(e["verb"], e["code"], e.get("user", {}).get("username")) for e in entries] == [
        ("create", 201, "root"),
        ("list", 401, None),
    ]
    assert entries[0]["objectRef"]["resource"] == "secrets"
    assert not {"hunter2", "root-token", "stolen"} & set(path.read_text().replace('"', " ").split())


async def test_a_request_whose_sender_died_was_never_made(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    half = {"type": "http.request", "body": b'{"metadata":', "more_body": True}
    messages: list[Json] = [half, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Json:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        **{"type": "http", "method": "POST", "path": MAPS, "raw_path": MAPS.encode(), "query_string": b""},
        **{"headers": [(b"authorization", b"Bearer root")], "server": ("test", 80), "scheme": "https"},
    }
    await build_app(cluster)(scope, receive, send)
    assert messages == []
    assert list(cluster.store.objects(("", "configmaps"), "default")) == []
    assert list(cluster.audit.entries) == []
    assert caplog.records == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", f"{MAPS}/a", {"metadata": [1]}),
        ("POST", MAPS, {"metadata": {"name": "b", "labels": ["x"]}}),
        ("POST", MAPS, {"metadata": {"name": "b", "finalizers": [None]}}),
        ("POST", PODS, pod("b") | {"spec": {"containers": [None]}}),
        ("DELETE", f"{MAPS}/a", {"preconditions": "x"}),
        ("DELETE", f"{MAPS}/a", {"gracePeriodSeconds": []}),
        ("PUT", f"{DEPLOYMENTS}/a/scale", {"spec": []}),
        ("POST", "/api/v1/namespaces/default/events", {"metadata": {"name": "e"}, "lastTimestamp": "noon"}),
    ],
)
def test_malformed_bodies_are_bad_requests(api: InProcessClient, method: str, path: str, body: Json) -> None:
    api.request("POST", MAPS, config("a"))
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    api.request("POST", DEPLOYMENTS, {"metadata": {"name": "a"}, "spec": spec})
    assert refusal(api.request(method, path, body)) == (400, "BadRequest")


def test_a_definition_whose_schema_is_no_schema_is_invalid(api: InProcessClient) -> None:
    schemas: list[Json] = [
        {"properties": {}},
        {"type": "object", "properties": {"spec": {"type": "object", "items": 1}}},
    ]
    for broken in schemas:
        crd = widget_crd(schema={"openAPIV3Schema": broken})
        assert refusal(api.request("POST", CRDS, crd)) == (422, "Invalid")
