"""Controllers: what the cluster does by itself once objects say what is wanted."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.kube.authentication import User
from infra.local.kube.cluster import Cluster
from infra.local.kube.errors import Json
from infra.local.kube.inprocess import InProcessClient

NAMESPACE = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"
MERGE = [("Content-Type", "application/merge-patch+json")]


class Api(InProcessClient):
    """A client that expects success and returns JSON."""

    def get(self, path: str) -> Json:
        reply = self.request("GET", path)
        assert reply.status == 200, reply.body
        found: Json = reply.json()
        return found

    def exists(self, path: str) -> bool:
        return self.request("GET", path).status == 200

    def post(self, path: str, body: Json) -> None:
        reply = self.request("POST", path, body)
        assert reply.status == 201, reply.body

    def patch(self, path: str, body: Json) -> None:
        reply = self.request("PATCH", path, body, headers=MERGE)
        assert reply.status == 200, reply.body

    def delete(self, path: str, **options: Any) -> None:
        reply = self.request("DELETE", path, options or None)
        assert reply.status == 200, reply.body

    def names(self, path: str) -> list[str]:
        return [item["metadata"]["name"] for item in self.get(path)["items"]]


@pytest.fixture
def api() -> Api:
    return Api(Cluster({"root": User("root", ("system:masters",))}), "root")


def template(image: str = "nginx:1", **labels: str) -> Json:
    containers = [{"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]
    return {"metadata": {"labels": labels or {"app": "web"}}, "spec": {"containers": containers}}


def workload(name: str = "web", **spec: Any) -> Json:
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec},
    }


def test_a_deployment_becomes_ready_pods(api: Api) -> None:
    api.post(f"{APPS}/deployments", workload(replicas=3))
    status = api.get(f"{APPS}/deployments/web")["status"]
    assert status["observedGeneration"] == 1
    assert status["updatedReplicas"] == status["readyReplicas"] == status["availableReplicas"] == 3
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Available": "True",
        "Progressing": "True",
    }
    pods = api.get(f"{NAMESPACE}/pods")["items"]
    assert len(pods) == 3
    assert {pod["status"]["phase"] for pod in pods} == {"Running"}
    assert {pod["spec"]["nodeName"] for pod in pods} == {"local"}
    assert len({pod["status"]["podIP"] for pod in pods}) > 1


def test_scaling_keeps_the_replica_set(api: Api) -> None:
    api.post(f"{APPS}/deployments", workload(replicas=1))
    before = api.names(f"{APPS}/replicasets")
    api.patch(f"{APPS}/deployments/web/scale", {"spec": {"replicas": 4}})
    assert len(api.names(f"{NAMESPACE}/pods")) == 4
    api.patch(f"{APPS}/deployments/web/scale", {"spec": {"replicas": 0}})
    assert api.names(f"{NAMESPACE}/pods") == []
    assert api.names(f"{APPS}/replicasets") == before
    assert api.get(f"{APPS}/deployments/web")["status"].get("replicas", 0) == 0


def test_a_new_template_rolls_over_and_an_old_one_rolls_back(api: Api) -> None:
    api.post(f"{APPS}/deployments", workload(replicas=2))
    api.patch(f"{APPS}/deployments/web", {"spec": {"template": template("nginx:2")}})

    def revisions() -> dict[str, int]:
        """image → replicas, in order of revision"""
        sets = api.get(f"{APPS}/replicasets")["items"]
        sets.sort(key=lambda s: int(s["metadata"]["annotations"]["deployment.kubernetes.io/revision"]))
        return {s["spec"]["template"]["spec"]["containers"][0]["image"]: s["spec"]["replicas"] for s in sets}

    assert list(revisions().items()) == [("nginx:1", 0), ("nginx:2", 2)]
    images = {p["spec"]["containers"][0]["image"] for p in api.get(f"{NAMESPACE}/pods")["items"]}
    assert images == {"nginx:2"}
    api.patch(f"{APPS}/deployments/web", {"spec": {"template": template("nginx:1")}})
    assert list(revisions().items()) == [("nginx:2", 0), ("nginx:1", 2)]
    annotations = api.get(f"{APPS}/deployments/web")["metadata"]["annotations"]
    assert annotations["deployment.kubernetes.io/revision"] == "3"


def test_a_paused_deployment_does_not_roll(api: Api) -> None:
    api.post(f"{APPS}/deployments", workload(replicas=1))
    api.patch(f"{APPS}/deployments/web", {"spec": {"paused": True, "template": template("nginx:2")}})
    assert len(api.names(f"{APPS}/replicasets")) == 1
    api.patch(f"{APPS}/deployments/web", {"spec": {"paused": False}})
    assert len(api.names(f"{APPS}/replicasets")) == 2


def test_a_deleted_pod_is_replaced(api: Api) -> None:
    api.post(f"{APPS}/deployments", workload(replicas=1))
    (before,) = api.names(f"{NAMESPACE}/pods")
    api.delete(f"{NAMESPACE}/pods/{before}")
    (after,) = api.names(f"{NAMESPACE}/pods")
    assert after != before


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_what_is_owned_goes_with_its_owner(api: Api, policy: str) -> None:
    api.post(f"{APPS}/deployments", workload(replicas=2))
    api.delete(f"{APPS}/deployments/web", propagationPolicy=policy)
    assert not api.exists(f"{APPS}/deployments/web")
    assert api.names(f"{APPS}/replicasets") == []
    assert api.names(f"{NAMESPACE}/pods") == []


def test_orphans_stay_without_their_owner(api: Api) -> None:
    api.post(f"{APPS}/deployments", workload(replicas=1))
    api.delete(f"{APPS}/deployments/web", propagationPolicy="Orphan")
    assert not api.exists(f"{APPS}/deployments/web")
    (left,) = api.get(f"{APPS}/replicasets")["items"]
    assert "ownerReferences" not in left["metadata"]
    assert len(api.names(f"{NAMESPACE}/pods")) == 1


def test_finalizers_hold_a_deleted_object(api: Api) -> None:
    body = {"metadata": {"name": "held", "finalizers": ["demo.io/hold"]}}
    api.post(f"{NAMESPACE}/configmaps", body)
    api.delete(f"{NAMESPACE}/configmaps/held")
    assert "deletionTimestamp" in api.get(f"{NAMESPACE}/configmaps/held")["metadata"]
    api.patch(f"{NAMESPACE}/configmaps/held", {"metadata": {"finalizers": None}})
    assert not api.exists(f"{NAMESPACE}/configmaps/held")


def test_delete_preconditions(api: Api) -> None:
    api.post(f"{NAMESPACE}/configmaps", {"metadata": {"name": "c"}})
    other = {"preconditions": {"uid": "another"}}
    assert api.request("DELETE", f"{NAMESPACE}/configmaps/c", other).status == 409
    assert api.exists(f"{NAMESPACE}/configmaps/c")


def test_a_namespace_has_an_account_and_goes_with_its_contents(api: Api) -> None:
    api.post("/api/v1/namespaces", {"metadata": {"name": "n"}})
    assert api.names("/api/v1/namespaces/n/serviceaccounts") == ["default"]
    api.post("/apis/apps/v1/namespaces/n/deployments", workload(replicas=2))
    held = {"metadata": {"name": "held", "finalizers": ["demo.io/hold"]}}
    api.post("/api/v1/namespaces/n/configmaps", held)
    api.delete("/api/v1/namespaces/n")
    assert api.get("/api/v1/namespaces/n")["status"]["phase"] == "Terminating"
    refused = api.request("POST", "/api/v1/namespaces/n/configmaps", {"metadata": {"name": "late"}})
    assert refused.status == 403
    assert "because it is being terminated" in refused.json()["message"]
    api.patch("/api/v1/namespaces/n/configmaps/held", {"metadata": {"finalizers": None}})
    assert not api.exists("/api/v1/namespaces/n")
    assert api.get("/apis/apps/v1/deployments")["items"] == []
    assert api.request("DELETE", "/api/v1/namespaces/default").status == 403


def test_stateful_sets_number_their_pods(api: Api) -> None:
    api.post(f"{APPS}/statefulsets", workload("db", replicas=2, serviceName="db"))
    assert api.names(f"{NAMESPACE}/pods") == ["db-0", "db-1"]
    before = {p["metadata"]["uid"] for p in api.get(f"{NAMESPACE}/pods")["items"]}
    api.patch(f"{APPS}/statefulsets/db", {"spec": {"template": template("nginx:2")}})
    pods = api.get(f"{NAMESPACE}/pods")["items"]
    assert {p["spec"]["containers"][0]["image"] for p in pods} == {"nginx:2"}
    assert not before & {p["metadata"]["uid"] for p in pods}
    status = api.get(f"{APPS}/statefulsets/db")["status"]
    assert status["updateRevision"] == status["currentRevision"]
    assert status["updatedReplicas"] == 2
    assert len(api.names(f"{APPS}/controllerrevisions")) == 2


def test_daemon_sets_run_where_the_node_matches(api: Api) -> None:
    api.post(f"{APPS}/daemonsets", workload("agent"))
    status = api.get(f"{APPS}/daemonsets/agent")["status"]
    assert status["desiredNumberScheduled"] == status["numberReady"] == 1
    elsewhere = workload("gpu")
    elsewhere["spec"]["template"]["spec"]["nodeSelector"] = {"gpu": "yes"}
    api.post(f"{APPS}/daemonsets", elsewhere)
    assert api.get(f"{APPS}/daemonsets/gpu")["status"]["desiredNumberScheduled"] == 0


def test_jobs_complete(api: Api) -> None:
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}
    spec = {"completions": 3, "parallelism": 2, "template": pod}
    api.post("/apis/batch/v1/namespaces/default/jobs", {"metadata": {"name": "j"}, "spec": spec})
    status = api.get("/apis/batch/v1/namespaces/default/jobs/j")["status"]
    assert status["succeeded"] == 3
    assert {c["type"] for c in status["conditions"]} >= {"Complete"}
    assert len(api.names(f"{NAMESPACE}/pods")) == 3


def test_a_cordoned_node_leaves_pods_pending_until_it_is_uncordoned(api: Api) -> None:
    api.patch("/api/v1/nodes/local", {"spec": {"unschedulable": True}})
    api.post(f"{APPS}/deployments", workload(replicas=1))
    (pod,) = api.get(f"{NAMESPACE}/pods")["items"]
    assert pod["status"]["phase"] == "Pending"
    assert "unschedulable" in pod["status"]["conditions"][0]["message"]
    assert api.get(f"{APPS}/deployments/web")["status"]["unavailableReplicas"] == 1
    api.patch("/api/v1/nodes/local", {"spec": {"unschedulable": None}})
    assert api.get(f"{APPS}/deployments/web")["status"]["availableReplicas"] == 1


def test_services_know_their_pods(api: Api) -> None:
    port = {"port": 80, "targetPort": "http"}
    api.post(
        f"{NAMESPACE}/services",
        {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [port]}},
    )
    api.post(f"{APPS}/deployments", workload(replicas=2))
    (subset,) = api.get(f"{NAMESPACE}/endpoints/web")["subsets"]
    assert len(subset["addresses"]) == 2
    assert subset["ports"][0]["port"] == 8080
    (piece,) = api.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices")["items"]
    assert len(piece["endpoints"]) == 2
    api.delete(f"{NAMESPACE}/services/web")
    assert not api.exists(f"{NAMESPACE}/endpoints/web")


def test_a_disruption_budget_stops_evictions(api: Api) -> None:
    api.post(f"{APPS}/deployments", workload(replicas=1))
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    api.post(
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets", {"metadata": {"name": "b"}, "spec": spec}
    )
    (pod,) = api.names(f"{NAMESPACE}/pods")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    refused = api.request("POST", f"{NAMESPACE}/pods/{pod}/eviction", eviction)
    assert (refused.status, refused.json()["reason"]) == (429, "TooManyRequests")
    api.patch(f"{APPS}/deployments/web", {"spec": {"replicas": 2}})
    assert api.request("POST", f"{NAMESPACE}/pods/{pod}/eviction", eviction).status == 201


def test_events_say_what_happened_and_count_repetitions(api: Api) -> None:
    api.post(f"{APPS}/deployments", workload(replicas=1))
    events = api.get(f"{NAMESPACE}/events")["items"]
    assert {"ScalingReplicaSet", "Scheduled", "Started"} <= {event["reason"] for event in events}


def test_a_workload_that_cannot_be_carried_out_says_so_in_an_event(api: Api) -> None:
    too_long_for_its_replica_set = "w" * 250
    api.post(f"{APPS}/deployments", workload(too_long_for_its_replica_set, replicas=1))
    events = api.get(f"{NAMESPACE}/events")["items"]
    assert any(event["reason"] == "FailedCreate" for event in events)
