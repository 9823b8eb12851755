"""One authorized request → one answer, by verb. What HTTP looks like is `app`'s business."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from infra.local.kube import deletion, subresources
from infra.local.kube.authentication import Authenticator
from infra.local.kube.calls import Answer, Call
from infra.local.kube.decoding import WriteOptions, decoded
from infra.local.kube.errors import (
    Json,
    bad_request,
    forbidden,
    method_not_allowed,
    no_such_path,
    unsupported_media_type,
)
from infra.local.kube.naming import Clock
from infra.local.kube.negotiation import decode_body
from infra.local.kube.operations import Operations
from infra.local.kube.patches import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    json_patch,
    merge_patch,
    strategic_merge_patch,
)
from infra.local.kube.rbac import GROUP as RBAC_GROUP
from infra.local.kube.rbac import Authorizer, check_escalation
from infra.local.kube.registry import DELETE_OPTIONS, Registry, Resource
from infra.local.kube.request_info import RequestInfo
from infra.local.kube.reviews import Reviews
from infra.local.kube.schema import resource_schema
from infra.local.kube.validation import check_types
from infra.local.kube.watch import ListOptions, list_objects

# Deleting these would leave a cluster that no one can use.
_KEPT_NAMESPACES = ("default", "kube-system", "kube-public")


class Handlers:
    """The verbs of the resource API, except watch."""

    def __init__(
        self,
        operations: Operations,
        registry: Registry,
        authenticator: Authenticator,
        authorizer: Authorizer,
        clock: Clock,
    ) -> None:
        self._operations = operations
        self._registry = registry
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._reviews = Reviews(authenticator, authorizer)
        self._clock = clock

    def resource_of(self, info: RequestInfo) -> Resource:
        """404 for a type that is not served, or not in that scope."""
        found = self._registry.find(info.group, info.version, info.resource)
        if found is None:
            raise no_such_path()
        if not found.namespaced and info.namespace and found.plural != "namespaces":
            raise no_such_path()
        return found

    def handle(self, call: Call) -> Answer:
        resource = self.resource_of(call.info)
        if not resource.stored:
            return self._review(resource, call)
        if call.info.subresource:
            return self._subresource(resource, call)
        # A list's name comes from its field selector, not from its path.
        named = bool(call.info.name) and call.info.verb not in ("list", "deletecollection")
        handlers: dict[tuple[str, bool], Callable[[Resource, Call], Answer]] = {
            ("GET", True): self._get,
            ("GET", False): self._list,
            ("HEAD", True): self._get,
            ("HEAD", False): self._list,
            ("POST", False): self._create,
            ("PUT", True): self._update,
            ("PATCH", True): self._patch,
            ("DELETE", True): self._delete,
            ("DELETE", False): self._delete_collection,
        }
        handler = handlers.get((call.method, named))
        if handler is None:
            raise method_not_allowed()
        return handler(resource, call)

    # --- reading

    def _get(self, resource: Resource, call: Call) -> Answer:
        obj = self._operations.get(resource, call.object_namespace(resource), call.info.name)
        return Answer(obj=obj, resource=resource)

    def _list(self, resource: Resource, call: Call) -> Answer:
        options = ListOptions.from_query(resource, call.query, watch=False)
        scope = call.namespace_scope(resource)
        items, metadata = list_objects(self._operations.store, resource, scope, options)
        return Answer(items=items, list_metadata=metadata, resource=resource)

    # --- writing

    def _options(self, resource: Resource, call: Call) -> WriteOptions:
        dry_run, validation = call.query.get("dryRun", ""), call.query.get("fieldValidation") or "Warn"
        if dry_run not in ("", "All"):
            raise bad_request(f'dryRun: Unsupported value: "{dry_run}": supported values: "All"')
        if validation not in ("Ignore", "Warn", "Strict"):
            raise bad_request(f'fieldValidation: Unsupported value: "{validation}"')
        manager = call.query.get("fieldManager") or call.agent.partition("/")[0] or "unknown"
        force = call.query.get("force") in ("1", "true", "True")
        options = WriteOptions(manager, bool(dry_run), validation, force, call.info.subresource)
        if resource.group == RBAC_GROUP:
            options.admit = partial(check_escalation, self._authorizer, call.user, resource.plural)
        return options

    def _body(self, call: Call) -> Any:
        body = decode_body(call.content_type, call.body)
        if body is None:
            raise bad_request("the request has no body")
        return body

    def _create(self, resource: Resource, call: Call) -> Answer:
        if "create" not in resource.verbs:
            raise method_not_allowed()
        options, body = self._options(resource, call), self._body(call)
        namespace = call.object_namespace(resource)
        if resource.namespaced and not namespace:
            raise method_not_allowed()
        created = self._operations.create(resource, namespace, body, options)
        return Answer(201, created, resource=resource, warnings=options.warnings)

    def _update(self, resource: Resource, call: Call) -> Answer:
        options, body = self._options(resource, call), self._body(call)
        namespace = call.object_namespace(resource)
        metadata = body.get("metadata") if isinstance(body, dict) else None
        if not isinstance(metadata, dict) or not metadata.get("name"):
            raise bad_request("name must be provided")
        updated = self._operations.update(resource, namespace, call.info.name, lambda _: body, options)
        return Answer(obj=updated, resource=resource, warnings=options.warnings)

    def _patch(self, resource: Resource, call: Call) -> Answer:
        options, name = self._options(resource, call), call.info.name
        namespace = call.object_namespace(resource)
        if call.media_type == APPLY_PATCH:
            if not call.query.get("fieldManager"):
                raise bad_request("fieldManager is required for apply patch")
            config = self._body(call)
            applied, created = self._operations.apply(resource, namespace, name, config, options)
            return Answer(201 if created else 200, applied, resource=resource, warnings=options.warnings)
        if options.force:
            raise bad_request("force may only be used with server-side apply")
        change = self._patcher(resource, call)
        updated = self._operations.update(resource, namespace, name, change, options)
        return Answer(obj=updated, resource=resource, warnings=options.warnings)

    def _patcher(self, resource: Resource, call: Call) -> Callable[[Json], Any]:
        """The function that a patch body describes. 415 for a patch type that the resource does not take."""
        media = call.media_type
        accepted = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
        if resource.crd_version is None:
            accepted.insert(2, STRATEGIC_MERGE_PATCH)
        if media not in accepted:
            raise unsupported_media_type(", ".join(accepted))
        patch = self._body(call)
        if media == JSON_PATCH:
            return lambda obj: json_patch(obj, patch)
        if not isinstance(patch, dict):
            raise bad_request("the patch must be an object")
        if media == MERGE_PATCH:
            return lambda obj: merge_patch(obj, patch)
        schema = resource_schema(resource)
        return lambda obj: strategic_merge_patch(obj, patch, schema)

    def _delete_options(self, call: Call) -> deletion.DeleteOptions:
        body = decode_body(call.content_type, call.body)
        if body is not None and not isinstance(body, dict):
            raise bad_request("the body is not a DeleteOptions")
        check_types(DELETE_OPTIONS, body or {}, resource_schema(DELETE_OPTIONS))
        return deletion.DeleteOptions.from_request(body, dict(call.query))

    def _delete(self, resource: Resource, call: Call) -> Answer:
        name, namespace = call.info.name, call.object_namespace(resource)
        if (resource.group, resource.plural) == ("", "namespaces") and name in _KEPT_NAMESPACES:
            raise forbidden(f'namespaces "{name}" is forbidden: this namespace may not be deleted')
        options = self._delete_options(call)
        last, gone = deletion.delete(self._operations, resource, namespace, name, options)
        if not gone or resource.kind == "Pod":
            return Answer(obj=last, resource=resource)
        details: Json = {"name": name}
        if resource.group:
            details["group"] = resource.group
        details |= {"kind": resource.plural, "uid": last["metadata"]["uid"]}
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }
        return Answer(obj=status)

    def _delete_collection(self, resource: Resource, call: Call) -> Answer:
        if "deletecollection" not in resource.verbs:
            raise method_not_allowed()
        # An API server has no route that deletes across namespaces.
        if resource.namespaced and not call.object_namespace(resource):
            raise method_not_allowed()
        options = self._delete_options(call)
        chosen = ListOptions.from_query(resource, call.query, watch=False)
        scope = call.namespace_scope(resource)
        found, metadata = list_objects(self._operations.store, resource, scope, chosen)
        for obj in found:
            place = obj["metadata"]
            deletion.delete(self._operations, resource, place.get("namespace", ""), place["name"], options)
        return Answer(items=found, list_metadata=metadata, resource=resource)

    # --- everything else

    def _review(self, resource: Resource, call: Call) -> Answer:
        if call.method != "POST" or call.info.name:
            raise method_not_allowed()
        if resource.kind == "Binding":
            return self._bind(call, self._body(call))
        body = decoded(resource, self._body(call), self._options(resource, call))
        namespace = call.object_namespace(resource)
        answer = self._reviews.answer(resource, namespace, body, call.user, self._clock())
        return Answer(201, answer)

    def _bind(self, call: Call, body: Json) -> Answer:
        pods = self._registry.builtin("", "pods")
        name = (body.get("metadata") or {}).get("name") or ""
        return Answer(201, subresources.bind(self._operations, pods, call.info.namespace, name, body))

    def _subresource(self, resource: Resource, call: Call) -> Answer:
        sub, name, namespace = call.info.subresource, call.info.name, call.object_namespace(resource)
        subresources.check_subresource(resource, sub, call.method)
        if sub in subresources.NEEDS_A_CONTAINER:
            self._operations.get(resource, namespace, name)
            raise subresources.no_container(sub)
        if sub == "scale":
            return self._scale(resource, call)
        if call.method == "POST":
            return Answer(201, self._act(resource, call))
        if call.method in ("GET", "HEAD"):
            return self._get(resource, call)
        if call.method == "PATCH":
            return self._patch(resource, call)
        return self._update(resource, call)

    def _act(self, resource: Resource, call: Call) -> Json:
        """The subresources that are verbs: eviction, binding and token."""
        name, namespace, body = call.info.name, call.object_namespace(resource), self._body(call)
        if not isinstance(body, dict):
            raise bad_request("the body must be an object")
        if call.info.subresource == "eviction":
            return subresources.evict(self._operations, resource, namespace, name, body)
        if call.info.subresource == "binding":
            return subresources.bind(self._operations, resource, namespace, name, body)
        account = self._operations.get(resource, namespace, name)
        return subresources.request_token(self._operations, self._authenticator, account, body)

    def _scale(self, resource: Resource, call: Call) -> Answer:
        namespace, name = call.object_namespace(resource), call.info.name
        if call.method in ("GET", "HEAD"):
            return Answer(
                obj=subresources.scale_of(resource, self._operations.get(resource, namespace, name))
            )
        options = self._options(resource, call)
        if call.method == "PATCH":
            media, patch = call.media_type, self._body(call)
            if media not in (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH):
                raise unsupported_media_type(f"{JSON_PATCH}, {MERGE_PATCH}, {STRATEGIC_MERGE_PATCH}")
            change = (
                (lambda o: json_patch(o, patch)) if media == JSON_PATCH else (lambda o: merge_patch(o, patch))
            )
        else:
            body = self._body(call)
            change = lambda _: copy.deepcopy(body)  # noqa: E731
        return Answer(
            obj=subresources.write_scale(self._operations, resource, (namespace, name), change, options)
        )
