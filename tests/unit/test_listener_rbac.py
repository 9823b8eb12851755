"""The listener's RBAC: it names exactly whom it may impersonate, and nobody of the system."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes.client import ApiClient

from k3s_daas.admin.kube_cluster import KubeCluster, KubeClusterError
from k3s_daas.admin.listener_rbac import listener_manifests
from tests.unit.scripted_api_server import ScriptedReply, scripted_api_server

OWNER = "sui:0x" + "ab" * 32


def rules_of(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    [role] = [manifest for manifest in manifests if manifest["kind"] == "ClusterRole"]
    found: list[dict[str, Any]] = role["rules"]
    return found


def test_users_groups_and_extra_keys_are_enumerated() -> None:
    rules = rules_of(listener_manifests("daas-system", [OWNER], ["viewer", "operator"]))
    assert all(rule["verbs"] == ["impersonate"] for rule in rules)
    by_resource = {tuple(rule["resources"]): rule.get("resourceNames") for rule in rules}
    assert by_resource == {
        ("users",): ["daas:discovery", OWNER],
        ("groups",): ["daas:role:operator", "daas:role:viewer"],
        ("userextras/daas.io/seal", "userextras/daas.io/request-id"): None,
    }


def test_nobody_to_impersonate_does_not_mean_everybody() -> None:
    rules = rules_of(listener_manifests("daas-system", [], []))
    assert {rule["resources"][0]: rule.get("resourceNames") for rule in rules} == {
        "users": ["daas:discovery"],
        "userextras/daas.io/seal": None,
    }


@pytest.mark.parametrize("owner", ["system:admin", "*", "", "sui:0x12", OWNER + "\n", OWNER.upper()])
def test_only_owners_of_seals_can_be_listed(owner: str) -> None:
    with pytest.raises(ValueError, match="owner"):
        listener_manifests("daas-system", [owner], [])


@pytest.mark.parametrize("role", ["system:masters", "*", "", "a" * 64, "Admin"])
def test_only_roles_can_be_listed(role: str) -> None:
    with pytest.raises(ValueError, match="role"):
        listener_manifests("daas-system", [OWNER], [role])


def test_in_its_namespace_the_listener_has_leases_and_one_secret() -> None:
    manifests = listener_manifests("daas-system", [OWNER], ["viewer"])
    [role] = [manifest for manifest in manifests if manifest["kind"] == "Role"]
    [binding] = [manifest for manifest in manifests if manifest["kind"] == "RoleBinding"]
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "daas-system"
    assert {rule["resources"][0]: (rule["verbs"], rule.get("resourceNames")) for rule in role["rules"]} == {
        "leases": (["create", "get", "list", "update", "deletecollection"], None),
        "secrets": (["get", "update"], ["daas-listener-keys"]),
    }
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["kind"] for subject in binding["subjects"]] == ["ServiceAccount"]


def test_each_role_is_bound_to_its_cluster_role() -> None:
    manifests = listener_manifests("daas-system", [OWNER], {"viewer": "view", "operator": "cluster-admin"})
    bound = {
        manifest["subjects"][0]["name"]: manifest["roleRef"]["name"]
        for manifest in manifests
        if manifest["kind"] == "ClusterRoleBinding"
    }
    assert bound == {
        "daas-listener": "daas-listener-impersonator",
        "daas:discovery": "system:discovery",
        "daas:role:viewer": "view",
        "daas:role:operator": "cluster-admin",
    }


def test_manifests_are_applied_in_order_by_server_side_apply() -> None:
    with scripted_api_server() as api:
        client = ApiClient(api.configuration)
        KubeCluster(client).apply(listener_manifests("daas-system", [OWNER], ["viewer"]))
        client.rest_client.close()
    assert [seen.target.partition("?")[0] for seen in api.seen] == [
        "/api/v1/namespaces/daas-system",
        "/api/v1/namespaces/daas-system/serviceaccounts/daas-listener",
        "/api/v1/namespaces/daas-system/secrets/daas-listener-keys",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/daas-system/roles/daas-listener-own-objects",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/daas-system/rolebindings/daas-listener-own-objects",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/daas-listener-impersonator",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/daas-listener-impersonator",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/daas-discovery",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/daas-role-viewer",
    ]
    assert {(seen.method, seen.header("Content-Type")) for seen in api.seen} == {
        ("PATCH", "application/apply-patch+yaml")
    }
    assert json.loads(api.seen[0].body)["kind"] == "Namespace"


def test_a_refusal_by_the_cluster_is_raised() -> None:
    with scripted_api_server() as api:
        api.reply = lambda _: ScriptedReply(403, body=b'{"kind":"Status"}')
        client = ApiClient(api.configuration)
        with pytest.raises(KubeClusterError, match="refuses Namespace daas-system: 403"):
            KubeCluster(client).apply(listener_manifests("daas-system", [OWNER], []))
        client.rest_client.close()
    assert len(api.seen) == 1
