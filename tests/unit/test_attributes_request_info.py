"""Requests and what they are to Kubernetes: the documented URL forms, and the API server's RequestInfo."""

import pytest

from k3s_daas.attributes import RequestAttributes, parse_attributes
from k3s_daas.errors import MalformedRequestError
from k3s_daas.status import StatusError

# Sources: kubernetes.io/docs/reference/access-authn-authz/authorization/ ("Determine the request verb"),
# …/reference/using-api/api-concepts/ ("Resource URIs"), and the cases that RequestInfo documents.
# method, path?query -> verb, group, version, namespace, resource, subresource, name
RESOURCE_REQUESTS = [
    # Collections and objects, cluster-scoped and namespaced, core and named groups.
    ("GET /api/v1/nodes", "list", "", "v1", "", "nodes", "", ""),
    ("GET /api/v1/nodes/n1", "get", "", "v1", "", "nodes", "", "n1"),
    ("GET /api/v1/pods", "list", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/namespaces/my-ns/pods", "list", "", "v1", "my-ns", "pods", "", ""),
    ("GET /api/v1/namespaces/my-ns/pods/web", "get", "", "v1", "my-ns", "pods", "", "web"),
    ("GET /apis/apps/v1/namespaces/my-ns/deployments", "list", "apps", "v1", "my-ns", "deployments", "", ""),
    ("GET /apis/apps/v1/deployments", "list", "apps", "v1", "", "deployments", "", ""),
    ("GET /apis/example.com/v1alpha1/widgets/w", "get", "example.com", "v1alpha1", "", "widgets", "", "w"),
    (
        "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
        *("get", "rbac.authorization.k8s.io", "v1", "", "clusterroles", "", "system:node"),
    ),
    # Verbs of the other methods.
    ("HEAD /api/v1/namespaces/my-ns/pods/web", "get", "", "v1", "my-ns", "pods", "", "web"),
    ("HEAD /api/v1/pods", "list", "", "v1", "", "pods", "", ""),
    ("POST /api/v1/namespaces/my-ns/pods", "create", "", "v1", "my-ns", "pods", "", ""),
    ("POST /api/v1/namespaces/my-ns/pods/web", "create", "", "v1", "my-ns", "pods", "", "web"),
    ("PUT /api/v1/namespaces/my-ns/pods/web", "update", "", "v1", "my-ns", "pods", "", "web"),
    ("PATCH /api/v1/namespaces/my-ns/pods/web", "patch", "", "v1", "my-ns", "pods", "", "web"),
    ("DELETE /api/v1/namespaces/my-ns/pods/web", "delete", "", "v1", "my-ns", "pods", "", "web"),
    ("DELETE /api/v1/namespaces/my-ns/pods", "deletecollection", "", "v1", "my-ns", "pods", "", ""),
    ("DELETE /api/v1/nodes", "deletecollection", "", "v1", "", "nodes", "", ""),
    # namespaces as a resource, as a scope, and with its own subresources.
    ("GET /api/v1/namespaces", "list", "", "v1", "", "namespaces", "", ""),
    ("POST /api/v1/namespaces", "create", "", "v1", "", "namespaces", "", ""),
    ("DELETE /api/v1/namespaces", "deletecollection", "", "v1", "", "namespaces", "", ""),
    ("GET /api/v1/namespaces/my-ns", "get", "", "v1", "my-ns", "namespaces", "", "my-ns"),
    ("DELETE /api/v1/namespaces/my-ns", "delete", "", "v1", "my-ns", "namespaces", "", "my-ns"),
    ("PUT /api/v1/namespaces/my-ns/finalize", "update", "", "v1", "my-ns", "namespaces", "finalize", "my-ns"),
    ("PUT /api/v1/namespaces/my-ns/status", "update", "", "v1", "my-ns", "namespaces", "status", "my-ns"),
    ("GET /api/v1/namespaces/my-ns/namespaces", "list", "", "v1", "my-ns", "namespaces", "", ""),
    ("GET /api/v1/namespaces/status/pods", "list", "", "v1", "status", "pods", "", ""),
    ("GET /apis/example.com/v1/namespaces/a/statuses", "list", "example.com", "v1", "a", "statuses", "", ""),
    # Subresources, and what stands behind them.
    ("GET /api/v1/namespaces/my-ns/pods/web/log", "get", "", "v1", "my-ns", "pods", "log", "web"),
    ("POST /api/v1/namespaces/my-ns/pods/web/exec", "create", "", "v1", "my-ns", "pods", "exec", "web"),
    (
        "POST /api/v1/namespaces/my-ns/pods/web/eviction",
        "create",
        "",
        "v1",
        "my-ns",
        "pods",
        "eviction",
        "web",
    ),
    (
        "PATCH /apis/apps/v1/namespaces/my-ns/deployments/web/scale",
        *("patch", "apps", "v1", "my-ns", "deployments", "scale", "web"),
    ),
    (
        "GET /api/v1/namespaces/my-ns/services/https:web:443/proxy/a/b/",
        *("get", "", "v1", "my-ns", "services", "proxy", "https:web:443"),
    ),
    ("GET /api/v1/nodes/n1/proxy/", "get", "", "v1", "", "nodes", "proxy", "n1"),
    ("DELETE /api/v1/nodes/n1/proxy/x", "delete", "", "v1", "", "nodes", "proxy", "n1"),
    ("GET /api/v1/nodes/n1/status/more", "get", "", "v1", "", "nodes", "status", "n1"),
    # watch: by query, where every value but false and 0 is true; by the deprecated prefix.
    ("GET /api/v1/pods?watch=true", "watch", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?watch=1", "watch", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?watch=TRUE", "watch", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?watch=", "watch", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?watch", "watch", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?watch=no", "watch", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?%77atch=1", "watch", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?watch=false", "list", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?watch=False", "list", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?watch=0&limit=5", "list", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?Watch=1", "list", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/namespaces/my-ns/pods/web?watch=1", "get", "", "v1", "my-ns", "pods", "", "web"),
    ("DELETE /api/v1/pods?watch=1", "deletecollection", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/watch/pods", "watch", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/watch/namespaces/my-ns/pods", "watch", "", "v1", "my-ns", "pods", "", ""),
    ("GET /api/v1/watch/namespaces/my-ns/pods/web", "watch", "", "v1", "my-ns", "pods", "", "web"),
    ("GET /api/v1/watch/namespaces/my-ns", "watch", "", "v1", "my-ns", "namespaces", "", "my-ns"),
    ("GET /apis/apps/v1/watch/deployments?watch=false", "watch", "apps", "v1", "", "deployments", "", ""),
    # A field selector that leaves one object names it, for list and watch.
    ("GET /api/v1/pods?fieldSelector=metadata.name=web", "list", "", "v1", "", "pods", "", "web"),
    ("GET /api/v1/pods?fieldSelector=metadata.name%3D%3Dweb", "list", "", "v1", "", "pods", "", "web"),
    (
        "GET /api/v1/namespaces/n/pods?fieldSelector=metadata.name%3Dweb&watch=true",
        *("watch", "", "v1", "n", "pods", "", "web"),
    ),
    (
        "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn1%2Cmetadata.name%3Dweb",
        *("list", "", "v1", "", "pods", "", "web"),
    ),
    ("GET /api/v1/pods?fieldSelector=metadata.name!%3Dweb", "list", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn1", "list", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?fieldSelector=metadata.name%3Da%252Fb", "list", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?fieldSelector=metadata.name%3D..", "list", "", "v1", "", "pods", "", ""),
    ("GET /api/v1/pods?fieldSelector=", "list", "", "v1", "", "pods", "", ""),
    # "You cannot restrict create or deletecollection requests by their resource name" (RBAC documentation).
    (
        "DELETE /api/v1/pods?fieldSelector=metadata.name%3Dweb",
        "deletecollection",
        "",
        "v1",
        "",
        "pods",
        "",
        "",
    ),
    ("GET /api/v1/watch/pods?fieldSelector=metadata.name%3Dweb", "watch", "", "v1", "", "pods", "", ""),
]

# method, path -> verb
NON_RESOURCE_REQUESTS = [
    ("GET /", "get"),
    ("GET /api", "get"),
    ("GET /api/", "get"),
    ("GET /api/v1", "get"),
    ("GET /apis", "get"),
    ("GET /apis/apps", "get"),
    ("GET /apis/apps/v1", "get"),
    ("GET /apis/apps/v1/", "get"),
    ("GET /healthz", "get"),
    ("GET /livez/ping", "get"),
    ("GET /openapi/v3/apis/apps/v1", "get"),
    ("GET /not-api/v1/pods", "get"),
    ("GET /version", "get"),
    ("HEAD /version", "get"),
    ("POST /apis/apps/v1", "post"),
    ("DELETE /logs/x", "delete"),
]


def parse(request: str) -> RequestAttributes:
    method, target = request.split(" ")
    path, _, query = target.partition("?")
    return parse_attributes(method, path, query)


@pytest.mark.parametrize("case", RESOURCE_REQUESTS, ids=lambda case: case[0])
def test_resource_requests_are_read_as_the_api_server_reads_them(case: tuple[str, ...]) -> None:
    request, verb, group, version, namespace, resource, subresource, name = case
    path = request.split(" ")[1].partition("?")[0]
    expected = RequestAttributes(verb, group, version, resource, subresource, namespace, name, path)
    assert parse(request) == expected
    assert expected.is_resource_request


@pytest.mark.parametrize(("request_line", "verb"), NON_RESOURCE_REQUESTS)
def test_other_paths_are_non_resource_requests(request_line: str, verb: str) -> None:
    attributes = parse(request_line)
    assert attributes == RequestAttributes(verb, "", "", "", "", "", "", request_line.split(" ")[1])
    assert not attributes.is_resource_request
    assert attributes.is_read is (verb == "get")


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "LINK", "get", "", "GET\r\nX: y"])
def test_other_methods_are_not_served(method: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_attributes(method, "/api/v1/pods", "")
    assert (caught.value.code, caught.value.reason) == (405, "MethodNotAllowed")
    assert "\r" not in caught.value.message


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/pods",
        "/api/v1/namespaces/n",
        "/api/v1/namespaces/n/pods/web",
        "/api/v1/namespaces/n/pods/web/log",
        "/apis/apps/v1/deployments",
        "/api/v1/watch/pods",
    ],
)
def test_a_slash_at_the_end_of_a_resource_path_changes_nothing(path: str) -> None:
    with_slash = parse_attributes("GET", path + "/", "")
    assert with_slash == parse_attributes("GET", path, "")
    assert with_slash.path == path


@pytest.mark.parametrize("path", ["/api/v1", "/apis/apps/v1", "/healthz", "/api/v1/nodes/n1/proxy"])
def test_elsewhere_it_is_another_path(path: str) -> None:
    assert parse_attributes("GET", path + "/", "").path == path + "/"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_the_watch_prefix_only_reads(method: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_attributes(method, "/api/v1/watch/pods/web", "")
    assert caught.value.code == 405


@pytest.mark.parametrize(
    ("request_line", "hint"),
    [
        ("GET /api/v1/watch", "after /watch"),
        ("GET /api/v1/proxy/namespaces/n/pods/p", "proxy subresource"),
        ("GET /API/v1/pods", "lower case"),
        ("GET /Apis/apps/v1/deployments", "lower case"),
        ("GET /api/v1/pods?watch=1&watch=0", "more than once"),
        ("GET /api/v1/pods?fieldSelector=a=b&fieldSelector=metadata.name=x", "more than once"),
        ("GET /api/v1/pods?fieldSelector=metadata.name=a,metadata.name=b", "several values"),
        ("GET /api/v1/pods?fieldSelector=metadata.name", "none of"),
        ("GET /api/v1/pods?fieldSelector=metadata.name=a=b", "unescaped"),
        ("GET /api/v1/pods?fieldSelector=metadata.name=a%5Cb", "backslash escapes"),
        ("GET /api/v1/pods?fieldSelector=metadata.name=a%5C%5Cb", "backslash"),
        ("GET /api/v1/pods?fieldSelector=metadata.name=a%00b", "control"),
        ("GET /api/v1/pods/" + "a" * 254, "longer than 253"),
        ("GET /api/v1/namespaces/" + "n" * 64 + "/pods", "longer than 63"),
        ("GET /api/v1/namespaces/n%20s/pods", "plain word"),
        ("GET /api/v1/*", "plain word"),
    ],
)
def test_requests_with_a_second_reading_are_refused(request_line: str, hint: str) -> None:
    with pytest.raises(MalformedRequestError, match=hint):
        parse(request_line)


@pytest.mark.parametrize(
    ("request_line", "read"),
    [
        ("GET /api/v1/pods", True),
        ("GET /api/v1/pods?watch=1", True),
        ("GET /api/v1/namespaces/n/pods/web/log", True),
        ("GET /api/v1/namespaces/n/services/web/proxy/", False),
        ("GET /api/v1/namespaces/n/pods/web/exec?command=date", False),
        ("GET /api/v1/namespaces/n/pods/web/attach", False),
        ("GET /api/v1/namespaces/n/pods/web/portforward", False),
        ("POST /api/v1/namespaces/n/pods", False),
        ("DELETE /api/v1/pods", False),
        ("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", True),
        ("POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews", True),
        ("POST /apis/authorization.k8s.io/v1/subjectaccessreviews", True),
        ("POST /apis/authorization.k8s.io/v1/namespaces/n/localsubjectaccessreviews", True),
        ("POST /apis/authentication.k8s.io/v1/selfsubjectreviews", True),
        ("POST /apis/authentication.k8s.io/v1/tokenreviews", True),
        ("POST /apis/authentication.k8s.io/v1/selfsubjectreviews/x/status", False),
        ("POST /apis/example.com/v1/tokenreviews", False),
        ("PUT /apis/authentication.k8s.io/v1/tokenreviews/x", False),
    ],
)
def test_reads_are_what_cannot_change_anything(request_line: str, read: bool) -> None:
    assert parse(request_line).is_read is read


def test_exec_attach_and_port_forward_need_an_upgrade() -> None:
    for subresource in ("exec", "attach", "portforward"):
        assert parse(f"GET /api/v1/namespaces/n/pods/web/{subresource}").needs_upgrade
    assert not parse("GET /api/v1/namespaces/n/pods/web/log").needs_upgrade
    assert not parse("GET /apis/example.com/v1/namespaces/n/things/x/exec").needs_upgrade
