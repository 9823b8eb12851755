"""The HTTP face of the cluster: one ASGI application over one `Cluster`."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC
from email.utils import format_datetime
from typing import TYPE_CHECKING

import yaml
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from infra.local.kube import discovery, slowness
from infra.local.kube.authentication import User, impersonation
from infra.local.kube.calls import Answer, Call
from infra.local.kube.errors import ApiError, Json, method_not_allowed, no_such_path, too_large
from infra.local.kube.naming import timestamp
from infra.local.kube.negotiation import DISCOVERY, YAML_TYPE, Form, negotiate
from infra.local.kube.pod_logs import PodLog
from infra.local.kube.registry import Resource
from infra.local.kube.request_info import RequestInfo, parse
from infra.local.kube.tables import partial_metadata, table
from infra.local.kube.watch import ListOptions, Watch

if TYPE_CHECKING:
    from infra.local.kube.cluster import Cluster

logger = logging.getLogger(__name__)

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_MAX_BODY = 3 * 1024 * 1024  # bytes, as the API server's own limit
_COMPRESS_FROM = 128 * 1024  # bytes; below, the API server does not compress either


def build_app(cluster: Cluster) -> Starlette:
    """The ASGI application; every answer that is not a success is a `metav1.Status`."""
    face = _Face(cluster)

    async def serve(request: Request) -> Response:
        return await face.serve(request)

    return Starlette(routes=[Route("/{path:path}", serve, methods=[*METHODS, "OPTIONS", "TRACE", "CONNECT"])])


class _Face:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def serve(self, request: Request) -> Response:
        cluster, query = self._cluster, dict(request.query_params)
        info = parse(request.method, request.url.path, query)
        user: User | None = None
        wanted: User | None = None
        try:
            if request.method not in METHODS:
                raise method_not_allowed()
            authorization = request.headers.get("authorization", "")
            user = cluster.authenticator.authenticate(authorization, cluster.clock())
            if (asked := impersonation(request.headers.items())) is not None:
                cluster.authorizer.check_impersonation(user, asked)
                wanted = asked.as_user()
            cluster.authorizer.check(wanted or user, info)
            response = await self._answered(request, info, query, wanted or user)
        except ApiError as error:
            response = _status(error)
        except ClientDisconnect:
            # It never came as a whole: nothing was asked, and nobody waits for the answer.
            return Response(status_code=400)
        except Exception:
            logger.exception("%s %s failed", request.method, info.path)
            response = _status(
                ApiError(500, "InternalError", "Internal error occurred: see the server's log")
            )
        cluster.audit.record(
            timestamp(cluster.clock()),
            info,
            response.status_code,
            user=user,
            impersonated=wanted,
            agent=request.headers.get("user-agent", ""),
        )
        response.headers["Audit-Id"] = cluster.next_audit_id()
        response.headers["Date"] = format_datetime(cluster.clock().astimezone(UTC), usegmt=True)
        return _compressed(request, response)

    async def _answered(
        self, request: Request, info: RequestInfo, query: Mapping[str, str], user: User
    ) -> Response:
        accept = request.headers.get("accept", "")
        if not info.is_resource:
            return self._non_resource(request, info, accept)
        if info.verb == "watch":
            return self._watch(info, query, accept)
        if (info.verb, info.full_resource) == ("get", "pods/log"):
            log = self._log(info, query)
            if log is not None:
                return StreamingResponse(log.text(), media_type="text/plain")
        call = Call(
            info=info,
            method=request.method,
            query=query,
            user=user,
            content_type=request.headers.get("content-type", ""),
            body=await _body(request),
            agent=request.headers.get("user-agent", ""),
        )
        # Before the write: an answer that nobody can take must not have changed anything.
        form = negotiate(accept)
        await asyncio.sleep(slowness.seconds_for(self._cluster.store, info))
        return self._formatted(self._cluster.handlers.handle(call), form, query)

    def _formatted(self, answer: Answer, form: Form, query: Mapping[str, str]) -> Response:
        resource, now = answer.resource, self._cluster.clock()
        include = query.get("includeObject", "")
        if resource is None:
            body = answer.obj or {}
        elif form.transform == "Table":
            objects = [answer.obj] if answer.items is None else answer.items
            revision = {"resourceVersion": (answer.obj or {}).get("metadata", {}).get("resourceVersion", "")}
            metadata = revision if answer.items is None else answer.list_metadata
            body = table(resource, [o for o in objects if o is not None], metadata, include, now)
        elif form.transform:
            body = _partial(answer)
        elif answer.items is not None:
            body = _list(resource, answer)
        else:
            body = answer.obj or {}
        response = _encoded(body, form, answer.code)
        for warning in answer.warnings:
            quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
            response.headers.append("Warning", f'299 - "{quoted}"')
        return response

    def _watch(self, info: RequestInfo, query: Mapping[str, str], accept: str) -> Response:
        resource = self._cluster.handlers.resource_of(info)
        if "watch" not in resource.verbs:
            raise method_not_allowed()
        form, options = negotiate(accept), ListOptions.from_query(resource, query, watch=True)
        now, include = self._cluster.clock, query.get("includeObject", "")
        headed = False

        def shape(obj: Json) -> Json:
            nonlocal headed
            if form.transform == "Table":
                version = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
                shaped = table(resource, [obj], version, include, now())
                if headed:
                    shaped["columnDefinitions"] = None  # kubectl keeps those of the first event
                headed = True
                return shaped
            return partial_metadata(obj) if form.transform else obj

        scope = info.namespace if resource.namespaced and info.namespace else None
        watch = Watch(self._cluster.store, resource, scope, options, shape)

        async def lines() -> AsyncIterator[bytes]:
            self._cluster.watches.add(watch)
            try:
                async for event in watch.events():
                    yield json.dumps(event, separators=(",", ":")).encode() + b"\n"
            finally:
                self._cluster.watches.discard(watch)

        return StreamingResponse(lines(), media_type="application/json")

    def _log(self, info: RequestInfo, query: Mapping[str, str]) -> PodLog | None:
        cluster = self._cluster
        pods = cluster.registry.builtin("", "pods")
        pod = cluster.operations.get(pods, info.namespace, info.name)
        return PodLog.of(cluster.store, pods, pod, query, cluster.clock)

    def _non_resource(self, request: Request, info: RequestInfo, accept: str) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise no_such_path() if request.method == "POST" else method_not_allowed()
        path, registry = info.path.strip("/"), self._cluster.registry
        if path in ("healthz", "livez", "readyz"):
            return Response("ok", media_type="text/plain")
        if path in ("api", "apis"):
            form = negotiate(accept, DISCOVERY)
            if form.transform:
                document = discovery.aggregated(registry, core=path == "api")
                return _tagged(request, _encoded(document, form))
        if path.startswith("openapi/v3/"):
            return self._openapi(request, path.removeprefix("openapi/v3/"))
        found = self._document(path)
        if found is None:
            raise no_such_path()
        response = _encoded(found, negotiate(accept, set()))
        return _tagged(request, response) if path == "openapi/v3" else response

    def _document(self, path: str) -> Json | None:
        registry = self._cluster.registry
        found: Json | None = None
        match path.split("/"):
            case ["version"]:
                found = discovery.VERSION
            case ["openapi", "v3"]:
                found = self._cluster.openapi.index()
            case ["api"]:
                found = discovery.core_versions()
            case ["apis"]:
                found = discovery.group_list(registry)
            case ["apis", group]:
                found = discovery.group(registry, group)
            case ["api", version]:
                found = discovery.resource_list(registry, "", version)
            case ["apis", group, version]:
                found = discovery.resource_list(registry, group, version)
        return found

    def _openapi(self, request: Request, prefix: str) -> Response:
        document = self._cluster.openapi.document(prefix)
        if document is None:
            raise no_such_path()
        # A hash in the address changes with the content, so that clients may keep it.
        caching = "public, immutable" if request.query_params.get("hash") else "no-cache, private"
        response = Response(document, media_type="application/json", headers={"Cache-Control": caching})
        return _tagged(request, response)


async def _body(request: Request) -> bytes:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > _MAX_BODY:
            raise too_large(_MAX_BODY)
    return bytes(received)


def _list(resource: Resource, answer: Answer) -> Json:
    # The items of a typed list leave out what the list says for all of them.
    items = answer.items or []
    if resource.crd_version is None:
        skipped = ("kind", "apiVersion")
        items = [{k: v for k, v in item.items() if k not in skipped} for item in items]
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
    return {**head, "metadata": answer.list_metadata, "items": items}


def _partial(answer: Answer) -> Json:
    if answer.items is None:
        return partial_metadata(answer.obj or {"metadata": {}})
    head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
    return {**head, "metadata": answer.list_metadata, "items": [partial_metadata(o) for o in answer.items]}


def _encoded(body: Json, form: Form, code: int = 200) -> Response:
    if form.media_type == YAML_TYPE:
        text = yaml.safe_dump(body, sort_keys=False)
    else:
        text = json.dumps(body, separators=(",", ":"))
    return Response(
        text, code, headers={"Content-Type": form.content_type, "Cache-Control": "no-cache, private"}
    )


def _tagged(request: Request, response: Response) -> Response:
    """With an ETag, as aggregated discovery and OpenAPI have it; 304 for who has this one."""
    tag = f'"{hashlib.sha256(response.body).hexdigest()[:32].upper()}"'
    headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": response.headers["Cache-Control"]}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def _status(error: ApiError) -> Response:
    response = _encoded(error.status(), Form(), error.code)
    if error.code == 405:
        response.headers["Allow"] = ", ".join(METHODS)
    return response


def _compressed(request: Request, response: Response) -> Response:
    if isinstance(response, StreamingResponse) or len(response.body) < _COMPRESS_FROM:
        return response
    if "gzip" in request.headers.get("accept-encoding", ""):
        response.body = gzip.compress(bytes(response.body), 4)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Content-Length"] = str(len(response.body))
        response.headers["Vary"] = "Accept-Encoding"
    return response
