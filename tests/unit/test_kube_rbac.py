"""RBAC, impersonation and request attributes."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.kube.authentication import User, impersonation, load_tokens
from infra.local.kube.cluster import Cluster
from infra.local.kube.errors import ApiError, Json
from infra.local.kube.inprocess import InProcessClient, Reply
from infra.local.kube.rbac import rule_allows
from infra.local.kube.request_info import parse

TOKENS = {
    "root": User("root", ("system:masters", "system:authenticated")),
    "vera": User("vera", ("viewers", "system:authenticated")),
    "proxy": User("proxy", ("system:authenticated",)),
}
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(TOKENS)


@pytest.fixture
def root(cluster: Cluster) -> InProcessClient:
    return InProcessClient(cluster, "root")


def bind(root: InProcessClient, role: str, subject: Json, namespace: str = "") -> None:
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    body: Json = {
        "kind": kind,
        "metadata": {"name": f"{role}-{subject['name']}".replace(":", "-")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }
    path = f"{RBAC}/namespaces/{namespace}/rolebindings" if namespace else f"{RBAC}/clusterrolebindings"
    assert root.request("POST", path, body).status == 201


def grant(root: InProcessClient, name: str, *rules: Json) -> None:
    body = {"metadata": {"name": name}, "rules": list(rules)}
    assert root.request("POST", f"{RBAC}/clusterroles", body).status == 201


def message(reply: Reply) -> str:
    assert reply.json()["kind"] == "Status"
    text: str = reply.json()["message"]
    return text


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/namespaces", {}, ("list", "", "namespaces", "", "", "")),
        ("GET", "/api/v1/namespaces/a", {}, ("get", "", "namespaces", "", "a", "a")),
        ("PUT", "/api/v1/namespaces/a/finalize", {}, ("update", "", "namespaces", "finalize", "a", "a")),
        ("GET", "/api/v1/namespaces/a/pods", {"watch": "true"}, ("watch", "", "pods", "", "a", "")),
        ("GET", "/api/v1/namespaces/a/pods", {"watch": ""}, ("watch", "", "pods", "", "a", "")),
        ("GET", "/api/v1/namespaces/a/pods", {"watch": "False"}, ("list", "", "pods", "", "a", "")),
        ("GET", "/api/v1/pods", {"fieldSelector": "metadata.name=x"}, ("list", "", "pods", "", "", "x")),
        ("DELETE", "/api/v1/namespaces/a/pods", {}, ("deletecollection", "", "pods", "", "a", "")),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            {},
            ("patch", "apps", "deployments", "scale", "a", "d"),
        ),
        ("HEAD", "/api/v1/nodes/n", {}, ("get", "", "nodes", "", "", "n")),
    ],
)
def test_request_attributes(method: str, path: str, query: dict[str, str], expected: tuple[str, ...]) -> None:
    info = parse(method, path, query)
    found = (info.verb, info.group, info.resource, info.subresource, info.namespace, info.name)
    assert found == expected


def test_paths_outside_the_resource_api() -> None:
    info = parse("GET", "/openapi/v3", {})
    assert (info.is_resource, info.verb) == (False, "get")


@pytest.mark.parametrize(
    ("rule", "path", "allowed"),
    [
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, "/api/v1/namespaces/a/pods/p", True),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            "/api/v1/namespaces/a/pods/p/log",
            False,
        ),
        ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, "/api/v1/namespaces/a/pods/p/log", True),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["*/log"]},
            "/api/v1/namespaces/a/pods/p/log",
            True,
        ),
        (
            {"verbs": ["get"], "apiGroups": ["apps"], "resources": ["pods"]},
            "/api/v1/namespaces/a/pods/p",
            False,
        ),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["q"]},
            "/api/v1/namespaces/a/pods/p",
            False,
        ),
        ({"verbs": ["get"], "nonResourceURLs": ["/openapi/*"]}, "/openapi/v3", True),
        ({"verbs": ["get"], "nonResourceURLs": ["/openapi"]}, "/openapi/v3", False),
    ],
)
def test_rules(rule: Json, path: str, allowed: bool) -> None:
    assert rule_allows(rule, parse("GET", path, {})) is allowed


def test_no_token_and_a_wrong_one_are_unauthorized(cluster: Cluster) -> None:
    for token in ("", "wrong", "root2"):
        reply = InProcessClient(cluster, token).request("GET", "/api/v1/namespaces")
        assert (reply.status, reply.json()["reason"]) == (401, "Unauthorized")


def test_a_stranger_may_discover_and_nothing_else(cluster: Cluster) -> None:
    vera = InProcessClient(cluster, "vera")
    assert vera.request("GET", "/apis").status == 200
    assert vera.request("GET", "/openapi/v3").status == 200
    refused = vera.request("GET", "/api/v1/namespaces/default/pods")
    assert refused.status == 403
    assert message(refused) == (
        'pods is forbidden: User "vera" cannot list resource "pods" in API group "" '
        'in the namespace "default"'
    )
    refused = vera.request("DELETE", "/apis/apps/v1/namespaces/x/deployments/d")
    assert message(refused) == (
        'deployments.apps "d" is forbidden: User "vera" cannot delete resource "deployments" in API group '
        '"apps" in the namespace "x"'
    )
    assert refused.json()["details"] == {"name": "d", "group": "apps", "kind": "deployments"}
    refused = vera.request("GET", "/api/v1/nodes")
    assert message(refused).endswith('cannot list resource "nodes" in API group "" at the cluster scope')
    assert message(vera.request("GET", "/metrics")) == 'forbidden: User "vera" cannot get path "/metrics"'


def test_a_role_binding_counts_in_its_namespace_only(cluster: Cluster, root: InProcessClient) -> None:
    bind(root, "view", {"kind": "Group", "name": "viewers", "apiGroup": "x"}, "default")
    vera = InProcessClient(cluster, "vera")
    assert vera.request("GET", "/api/v1/namespaces/default/pods").status == 200
    assert vera.request("GET", "/api/v1/namespaces/kube-system/pods").status == 403
    assert vera.request("GET", "/api/v1/pods").status == 403
    assert vera.request("GET", "/api/v1/namespaces/default/secrets").status == 403, "view shows no secrets"
    assert vera.request("POST", "/api/v1/namespaces/default/configmaps", {}).status == 403


def test_default_roles_aggregate(root: InProcessClient) -> None:
    def rules(name: str) -> list[Json]:
        found: list[Json] = root.request("GET", f"{RBAC}/clusterroles/{name}").json()["rules"]
        return found

    assert all(rule in rules("edit") for rule in rules("view"))
    assert all(rule in rules("admin") for rule in rules("edit"))
    part = {
        "metadata": {"name": "widgets", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["demo.io"], "resources": ["widgets"], "verbs": ["get"]}],
    }
    root.request("POST", f"{RBAC}/clusterroles", part)
    assert part["rules"][0] in rules("admin")  # type: ignore[index]  # the literal's value type is object


def impersonate(cluster: Cluster, path: str, *headers: tuple[str, str]) -> Reply:
    return InProcessClient(cluster, "proxy").request("GET", path, headers=list(headers))


def test_impersonation_needs_the_verb_on_user_groups_and_extras(
    cluster: Cluster, root: InProcessClient
) -> None:
    user, group = ("Impersonate-User", "sui:0x1"), ("Impersonate-Group", "daas:role:view")
    extra = ("Impersonate-Extra-Daas.Io%2fseal", "0xabc")
    path = "/api/v1/namespaces/default/pods"
    refused = impersonate(cluster, path, user, group)
    assert message(refused) == (
        'users "sui:0x1" is forbidden: User "proxy" cannot impersonate resource "users" in API group "" '
        "at the cluster scope"
    )
    users: Json = {
        "verbs": ["impersonate"],
        "apiGroups": [""],
        "resources": ["users"],
        "resourceNames": ["sui:0x1"],
    }
    grant(root, "users", users)
    bind(root, "users", {"kind": "User", "name": "proxy"})
    assert 'impersonate resource "groups"' in message(impersonate(cluster, path, user, group))
    groups: Json = {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"]}
    grant(root, "groups", {**groups, "resourceNames": ["daas:role:view"]})
    bind(root, "groups", {"kind": "User", "name": "proxy"})
    refused = impersonate(cluster, path, user, group, extra)
    assert 'impersonate resource "userextras/daas.io/seal" in API group "authentication.k8s.io"' in message(
        refused
    )
    extras: Json = {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"]}
    grant(root, "extras", {**extras, "resources": ["userextras/daas.io/seal"]})
    bind(root, "extras", {"kind": "User", "name": "proxy"})
    # Now he may be somebody else, who may nothing yet.
    assert 'User "sui:0x1" cannot list resource "pods"' in message(
        impersonate(cluster, path, user, group, extra)
    )
    bind(root, "view", {"kind": "Group", "name": "daas:role:view"})
    assert impersonate(cluster, path, user, group, extra).status == 200
    masters = ("Impersonate-Group", "system:masters")
    assert impersonate(cluster, path, user, group, masters).status == 403
    entry = cluster.audit.find(lambda e: e["code"] == 200 and "impersonatedUser" in e)[0]
    assert entry["user"]["username"] == "proxy"
    assert entry["impersonatedUser"] == {
        "username": "sui:0x1",
        "groups": ["daas:role:view", "system:authenticated"],
        "extra": {"daas.io/seal": ["0xabc"]},
    }
    assert entry["objectRef"] == {"apiVersion": "v1", "resource": "pods", "namespace": "default"}


def test_groups_without_a_user_make_no_sense() -> None:
    with pytest.raises(ApiError) as refused:
        impersonation([("Impersonate-Group", "g")])
    assert refused.value.code == 400
    assert impersonation([("Accept", "x")]) is None


def test_impersonating_a_service_account_asks_for_that_account(
    cluster: Cluster, root: InProcessClient
) -> None:
    account = "system:serviceaccount:default:default"
    rule: Json = {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]}
    grant(root, "accounts", rule)
    bind(root, "accounts", {"kind": "User", "name": "proxy"}, "default")
    refused = impersonate(cluster, "/api/v1/nodes", ("Impersonate-User", account))
    assert f'User "{account}" cannot list resource "nodes"' in message(refused)


def test_nobody_grants_what_he_does_not_have(cluster: Cluster, root: InProcessClient) -> None:
    bind(root, "admin", {"kind": "User", "name": "vera"}, "default")
    vera = InProcessClient(cluster, "vera")
    roles = f"{RBAC}/namespaces/default/roles"
    held = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
    assert vera.request("POST", roles, {"metadata": {"name": "ok"}, "rules": [held]}).status == 201
    more = {"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]}
    refused = vera.request("POST", roles, {"metadata": {"name": "more"}, "rules": [more]})
    assert "attempting to grant RBAC permissions not currently held" in message(refused)
    binding = {
        "metadata": {"name": "up"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "vera"}],
    }
    assert vera.request("POST", f"{RBAC}/namespaces/default/rolebindings", binding).status == 403
    patch = [{"op": "add", "path": "/rules/-", "value": more}]
    headers = [("Content-Type", "application/json-patch+json")]
    assert vera.request("PATCH", f"{roles}/ok", patch, headers=headers).status == 403


def test_reviews_answer_from_the_same_rules(cluster: Cluster, root: InProcessClient) -> None:
    bind(root, "view", {"kind": "User", "name": "vera"}, "default")
    vera = InProcessClient(cluster, "vera")
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

    def allowed(verb: str, namespace: str) -> bool:
        attributes = {"verb": verb, "resource": "pods", "namespace": namespace}
        reply = vera.request("POST", path, {"spec": {"resourceAttributes": attributes}})
        assert reply.status == 201
        return bool(reply.json()["status"]["allowed"])

    assert allowed("list", "default")
    assert not allowed("delete", "default")
    assert not allowed("list", "kube-system")
    whoami = vera.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert whoami.json()["status"]["userInfo"]["username"] == "vera"
    rules = vera.request(
        "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}
    ).json()["status"]
    assert any("pods" in rule["resources"] for rule in rules["resourceRules"])


def test_a_service_accounts_token_works_until_the_account_goes(
    cluster: Cluster, root: InProcessClient
) -> None:
    base = "/api/v1/namespaces/default/serviceaccounts"
    root.request("POST", base, {"metadata": {"name": "robot"}})
    reply = root.request("POST", f"{base}/robot/token", {"spec": {"expirationSeconds": 600}})
    robot = InProcessClient(cluster, reply.json()["status"]["token"])
    refused = robot.request("GET", "/api/v1/namespaces")
    assert 'User "system:serviceaccount:default:robot" cannot list' in message(refused)
    root.request("DELETE", f"{base}/robot")
    assert robot.request("GET", "/api/v1/namespaces").status == 401


def test_token_files(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text('# who\nt1,admin,"system:masters,ops"\nt2,vera\n')
    users = load_tokens(path)
    assert users["t1"].groups == ("system:masters", "ops", "system:authenticated")
    assert users["t2"].groups == ("system:authenticated",)
    path.write_text("very-secret\n")
    with pytest.raises(ValueError, match="line 1") as refused:
        load_tokens(path)
    assert "very-secret" not in str(refused.value)
