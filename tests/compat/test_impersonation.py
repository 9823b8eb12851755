"""What a real API server lets the listener's service account do: impersonate whom it names, nothing else."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from kubernetes import config

from infra.local.stack.chain import LISTENER_NAMESPACE
from k3s_daas.admin.listener_rbac import IMPERSONATOR, SERVICE_ACCOUNT
from tests.compat.stages import Stage

pytestmark = pytest.mark.timeout(1800)

ACCOUNT = f"system:serviceaccount:{LISTENER_NAMESPACE}:{SERVICE_ACCOUNT}"
OPERATORS = "daas:role:operator"
PODS = "/api/v1/namespaces/default/pods"
OF_EVERYBODY = {"selfsubjectaccessreviews", "selfsubjectrulesreviews"}
"""What Kubernetes itself grants to all who are authenticated (ClusterRole system:basic-user)."""


class Client:
    """Plain requests with the token of a kubeconfig: headers are ours to choose."""

    def __init__(self, kubeconfig: Path) -> None:
        told = config.new_client_from_config(config_file=str(kubeconfig)).configuration
        tls = ssl.create_default_context(cafile=told.ssl_ca_cert)
        self._server = told.host
        self._token = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
        self._pool = urllib3.PoolManager(ssl_context=tls, retries=False, timeout=20)

    def ask(
        self, method: str, path: str, who: Mapping[str, str] | None = None, body: Any = None
    ) -> tuple[int, dict[str, Any]]:
        answer = self._pool.request(
            method,
            self._server + path,
            headers={"Authorization": f"Bearer {self._token}", **(who or {})},
            json=body,
        )
        return answer.status, json.loads(answer.data)


@pytest.fixture(scope="module")
def listener(real_stage: Stage) -> Client:
    return Client(real_stage.state / "listener.kubeconfig")


@pytest.fixture(scope="module")
def owner(real_stage: Stage) -> str:
    """The user name of one who holds a seal."""
    _, role = Client(real_stage.direct).ask(
        "GET", f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{IMPERSONATOR}"
    )
    names: list[str] = [name for rule in role["rules"] for name in rule.get("resourceNames", ())]
    return next(name for name in names if name.startswith("sui:0x"))


def test_it_acts_for_a_holder_and_the_audit_log_names_both(
    real_stage: Stage, listener: Client, owner: str
) -> None:
    who = {
        "Impersonate-User": owner,
        "Impersonate-Group": OPERATORS,
        "Impersonate-Extra-daas.io%2Frequest-id": "of-this-test",
    }
    code, _ = listener.ask("GET", f"{PODS}?limit=1", who)
    assert code == 200
    assert real_stage.audit_log is not None
    events = [json.loads(line) for line in real_stage.audit_log.read_text().splitlines()]
    extra = {"daas.io/request-id": ["of-this-test"]}
    [event] = [event for event in events if event.get("impersonatedUser", {}).get("extra") == extra]
    assert event["user"]["username"] == ACCOUNT
    assert event["impersonatedUser"]["username"] == owner
    assert OPERATORS in event["impersonatedUser"]["groups"]


def test_kubernetes_is_the_second_gate(listener: Client, owner: str) -> None:
    viewer = {"Impersonate-User": owner, "Impersonate-Group": "daas:role:viewer"}
    assert listener.ask("GET", PODS, viewer)[0] == 200
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    code, refusal = listener.ask("POST", PODS, viewer, pod)
    assert (code, refusal["reason"]) == (403, "Forbidden")


@pytest.mark.parametrize(
    "user",
    [
        "admin",
        "system:admin",
        "system:anonymous",
        "system:kube-controller-manager",
        "system:node:any",
        "system:serviceaccount:kube-system:default",
        "system:serviceaccount:kube-system:namespace-controller",
        "sui:0x" + "00" * 32,
        "sui:*",
    ],
)
def test_it_cannot_be_anybody_else(listener: Client, user: str) -> None:
    code, refusal = listener.ask("GET", PODS, {"Impersonate-User": user})
    assert code == 403
    assert "cannot impersonate" in refusal["message"]


@pytest.mark.parametrize(
    "group",
    [
        "system:masters",
        "system:nodes",
        "system:authenticated",
        "system:serviceaccounts",
        "system:serviceaccounts:kube-system",
        "daas:role:other",
    ],
)
def test_a_holder_cannot_be_put_into_another_group(listener: Client, owner: str, group: str) -> None:
    code, refusal = listener.ask("GET", PODS, {"Impersonate-User": owner, "Impersonate-Group": group})
    assert code == 403
    assert "cannot impersonate resource" in refusal["message"]


def test_it_cannot_claim_other_facts_about_a_holder(listener: Client, owner: str) -> None:
    who = {"Impersonate-User": owner, "Impersonate-Extra-scopes": "all"}
    assert listener.ask("GET", PODS, who)[0] == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PODS),
        ("POST", PODS),
        ("GET", "/api/v1/secrets"),
        ("GET", f"/api/v1/namespaces/{LISTENER_NAMESPACE}/secrets"),
        ("POST", f"/api/v1/namespaces/{LISTENER_NAMESPACE}/serviceaccounts/{SERVICE_ACCOUNT}/token"),
        ("GET", "/api/v1/nodes/any/proxy/pods"),
        ("DELETE", "/api/v1/namespaces/default"),
        ("PATCH", f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{IMPERSONATOR}"),
        ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
        ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests"),
    ],
)
def test_as_itself_it_may_do_nothing(listener: Client, method: str, path: str) -> None:
    code, refusal = listener.ask(method, path, body=None if method in ("GET", "DELETE") else {})
    assert (code, refusal["reason"]) == (403, "Forbidden")
    assert ACCOUNT in refusal["message"]


@pytest.mark.parametrize("namespace", ["default", "kube-system", LISTENER_NAMESPACE])
def test_the_server_itself_lists_no_other_right_than_to_its_own_objects(
    listener: Client, namespace: str
) -> None:
    code, review = listener.ask(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        },
    )
    assert code == 201
    assert not review["status"]["incomplete"]
    others = {
        resource
        for rule in review["status"]["resourceRules"]
        for resource in rule["resources"]
        if rule["verbs"] != ["impersonate"] and not set(rule["resources"]) <= OF_EVERYBODY
    }
    assert others == ({"leases", "secrets"} if namespace == LISTENER_NAMESPACE else set())
    assert {verb for rule in review["status"]["nonResourceRules"] for verb in rule["verbs"]} == {"get"}
