"""The words of hostile requests: what is odd about methods, paths, queries, headers, bodies and replies."""

from __future__ import annotations

import gzip

from tests.fuzz_gateway.tokens import TOKEN_HERE
from tests.instant.api_server import WireReply

CANARY = "canary-5f1d0c"
"""Stands in bodies, queries and unlisted headers; nobody writes those down."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
OTHER_METHODS = ("OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "PATCH ", "", "G\0T", "MÉTHODE", "A" * 300)
SERVED = (
    "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/pods/web",
    "/apis/example.com/v1/namespaces/default/widgets/w/status",
    "/api/v1/namespaces/default/services/https:web:443/proxy/a/b/",
    "/apis",
)
PATHS = (
    *(SERVED * 6),
    "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/pods/web",
    "/api/v1/namespaces/demo/configmaps/a%20b",
    "/api/v1/namespaces/default/pods/web/log",
    "/api/v1/namespaces/default/pods/web/exec",
    "/api/v1/namespaces/default/services/https:web:443/proxy/a/b/",
    "/api/v1/namespaces/daas-system/secrets",
    "/api/v1/namespaces/default",
    "/api/v1/namespaces/default/status",
    "/api/v1/watch/namespaces/default/pods",
    "/api/v1/secrets",
    "/api/v1/nodes/n1/proxy",
    "/api/v1/namespaces/default/serviceaccounts/x/token",
    "/api/v1/nodes/n1",
    "/api/v1/namespaces/default/services/https:web:443/proxy/a/b/c/d",
    "/api/v1/namespaces/default/services/https:web:443/proxy/a/b/c/d/e",
    "/api/v1/namespaces/default/services/https:web:443/proxy/a/b/c/d/e/f",
    "/apis/apps/v1",
    "/apis/apps/v1/namespaces/default/deployments/web/scale",
    "/apis/apps/v1/deployments",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/example.com/v1/widgets/w/status",
    "/api",
    "/apis",
    "/version",
    "/openapi/v3/apis/apps/v1",
    "/healthz",
    "/metrics",
    "/",
)
SEGMENTS = (
    *(
        "..",
        ".",
        "",
        "%2e%2e",
        "%2E%2e%2f",
        "%2f",
        "%5c",
        "%5C..",
        "%00",
        "%0a",
        "%0d%0aX-Remote-User:%20root",
    ),
    *(
        "%25",
        "%252e%252e",
        "%252fsecrets",
        "%ff",
        "%c0%ae",
        "%e2%80%ae",
        "%zz",
        "%",
        "é",
        "€",
        "\0",
        " ",
        "#x",
    ),
    *(
        "a;b",
        "a:b@c",
        "?",
        "*",
        "$(id)",
        "{s0}",
        "A" * 64,
        "A" * 254,
        "A" * 5_000,
        "proxy",
        "watch",
        "namespaces",
    ),
    *("kube-system", "daas-system", "api", "API", "https://evil.example", "@evil.example", TOKEN_HERE),
)
KEYS = (
    *(
        "limit",
        "watch",
        "timeoutSeconds",
        "fieldSelector",
        "labelSelector",
        "dryRun",
        "sendInitialEvents",
        "follow",
    ),
    *(
        "fieldManager",
        "resourceVersion",
        "pretty",
        "access_token",
        "namespace",
        "container",
        "command",
        "watch%3D",
    ),
)
VALUES = (
    *(
        "",
        "true",
        "false",
        "0",
        "1",
        "2",
        "-1",
        "9" * 400,
        "1e9",
        "All",
        "metadata.name=web",
        "metadata.name!=web",
    ),
    *(
        "metadata.namespace=daas-system",
        "metadata.name=web,metadata.name=x",
        "a=b,c in (d)",
        ",",
        "=",
        "%00",
        "%0d%0a",
    ),
    *("%ff", "%", ";", "a;b=c", "a%26b=c", "+", "%2B", "€", "\0", " ", "#", CANARY, TOKEN_HERE, "x" * 9_000),
)
NAMES = (
    *(
        "Impersonate-User",
        "impersonate-group",
        "Impersonate_User",
        "IMPERSONATE-UID",
        "Impersonate-Extra-scopes",
    ),
    *(
        "X-Remote-User",
        "x-remote-group",
        "X_Remote_User",
        "X-Remote-Extra-x",
        "X-Forwarded-User",
        "X-Client-Cert",
    ),
    *(
        "Authorization",
        "authorization",
        "Proxy-Authorization",
        "Cookie",
        "Host",
        "X-Forwarded-Host",
        "Forwarded",
    ),
    *(
        "X-Forwarded-For",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "Connection",
        "Keep-Alive",
    ),
    *(
        "Transfer-Encoding",
        "TE",
        "Trailer",
        "Content-Length",
        "Expect",
        "Upgrade",
        "Sec-WebSocket-Key",
        "Via",
    ),
    *(
        "X-Stream-Protocol-Version",
        "Accept",
        "Accept-Encoding",
        "Content-Type",
        "Content-Encoding",
        "User-Agent",
    ),
    *(
        "If-Match",
        "If-None-Match",
        "Kubectl-Session",
        "Kubectl-Command",
        "Audit-Id",
        "Range",
        "Origin",
        "Referer",
    ),
    *(
        "X-Amzn-Trace-Id",
        "X-Daas-Request-Id",
        "",
        " ",
        "X\r\nImpersonate-User",
        "X:Y",
        "Ünï",
        "A" * 9_000,
        "X\0",
    ),
    *(
        "Authorization ",
        " Impersonate-User",
        "Accept\t",
        "Server-Timing",
        "Date",
        "HTTP2-Settings",
        "Max-Forwards",
    ),
)
HEADER_VALUES = (
    *(
        "",
        "*/*",
        "application/json",
        "application/vnd.kubernetes.protobuf",
        "application/cbor",
        "chunked",
        "gzip",
    ),
    *(
        "a\r\nImpersonate-User: root",
        "a\nb",
        "\0",
        "\x7f",
        "é",
        "\u0100",
        "€",
        "x" * 9_000,
        "identity, chunked",
    ),
    *(
        "close, Authorization",
        "upgrade",
        "websocket",
        "100-continue",
        "system:masters",
        "evil.example",
        "0",
        "-1",
    ),
    *(
        CANARY,
        TOKEN_HERE,
        f"Bearer {TOKEN_HERE}",
        f"base64url.bearer.authorization.k8s.io.{TOKEN_HERE}",
        "Basic YTpi",
    ),
    *("bytes=0-", "application/json;as=Table;v=v1;g=meta.k8s.io", "///", "a" * 70_000, '"etag"', "W/*"),
)
# What comes along in front of a gateway, and with kubectl: each request has some of it.
DROPPED = (
    *("Cookie", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-User", "X-Real-IP", "Via"),
    *("X-Amzn-Trace-Id", "CloudFront-Viewer-Country", "X-Original-URL", "X-HTTP-Method-Override", "Origin"),
    *(
        "Proxy-Authorization",
        "X-Client-Cert",
        "Connection",
        "Transfer-Encoding",
        "Range",
        "X-Custom",
        "Audit-Id",
    ),
)
# Nobody who sends one of these is served.
REFUSED = (
    *(
        "Impersonate-User",
        "impersonate-group",
        "IMPERSONATE-UID",
        "Impersonate_Extra-scopes",
        "X-Remote-User",
    ),
    *("x_remote_group", "X-Remote-Extra-x", "authorization", "Upgrade", "sec-websocket-protocol"),
)
CARRIED = (
    ("Kubectl-Session", "5b6e"),
    ("Kubectl-Command", "kubectl get"),
    ("If-None-Match", '"a"'),
    ("If-None-Match", '"b"'),
    ("If-Match", "*"),
    ("Content-Type", "application/vnd.kubernetes.protobuf"),
)
WATCHES = (
    "watch=true&timeoutSeconds=1&resourceVersion=5&allowWatchBookmarks=true",
    "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=99999999999",
    "watch&watch=false&timeoutSeconds=-1",
)
CONTENT_TYPES = (
    *(
        "application/strategic-merge-patch+json",
        "application/merge-patch+json",
        "application/json-patch+json",
    ),
    *("application/apply-patch+yaml", "application/apply-patch+cbor", "application/cbor", "application/yaml"),
    *("multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/html", "text/plain"),
    *("application/json; charset=utf-16", "APPLICATION/JSON;;", "json", "*/*", "application/json, text/html"),
)
PLAIN_QUERIES = (
    "",
    "limit=500",
    "dryRun=All&fieldManager=kubectl",
    "labelSelector=a%3Db&labelSelector=c",
    "x=",
    *WATCHES,
)
BODIES = (
    *(b"", b"{}", b'{"kind":"Pod"}', b"{", b"null", b"\0", b"\xff\xfe", b"k8s\0\x80", b"\xd9\xd9\xf7\xa0"),
    *(
        b"\x1f\x8b\x08garbage",
        CANARY.encode(),
        b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"[" * 100_000,
        b"a" * 3_145_729,
    ),
    *(gzip.compress(b'{"kind":"Pod"}', mtime=0), gzip.compress(b"{" * 10_000_000, 1, mtime=0)),
    *(b"x" * 5_000_000, b'{"apiVersion":"v1","kind":"DeleteOptions"}', b"---\nkind: Pod\n"),
)
OK = WireReply()
REPLIES = (
    *(WireReply(code) for code in (201, 202, 204, 304, 400, 403, 404, 409, 422, 500, 503, 504, 599)),
    *(
        WireReply(code, (("Location", "https://evil.example/"),), b"moved")
        for code in (300, 301, 302, 303, 307, 308)
    ),
    *(WireReply(code) for code in (101, 199, 401, 600, 999)),
    WireReply(
        200, (("Set-Cookie", "a=b"), ("Refresh", "0; url=https://evil.example"), ("X-Custom", "x")), b"{}"
    ),
    WireReply(200, (("Content-Type", "text/plain"), ("Content-Type", "application/json")), b"{}"),
    WireReply(200, (("Content-Type", ""),), b"\x00\xff"),
    WireReply(200, (), b"no type"),
    WireReply(200, (("Warning", '299 - "one"'), ("Warning", '299 - "é"')), b"{}"),
    WireReply(429, (("Retry-After", "1"), ("Retry-After", "2")), b"{}"),
    WireReply(200, (("Content-Encoding", "gzip"),), b"not gzip"),
    WireReply(200, (("Content-Type", "application/octet-stream"),), b"\xff" * 200_000),
    WireReply(200, (("Server", "x"), ("Vary", "*"), ("ETag", '"e"'), ("Allow", "GET")), b"{}"),
)
