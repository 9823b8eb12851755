"""The review APIs: questions about identity and permissions, answered from tokens and RBAC, never stored."""

from __future__ import annotations

from datetime import datetime

from infra.local.kube.authentication import MASTERS, Authenticator, User
from infra.local.kube.errors import Cause, Json, bad_request, invalid
from infra.local.kube.naming import timestamp
from infra.local.kube.rbac import Authorizer
from infra.local.kube.registry import Resource
from infra.local.kube.request_info import RequestInfo


class Reviews:
    """Answers one review object with a copy that has its status filled in."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer

    def answer(self, resource: Resource, namespace: str, body: Json, user: User, now: datetime) -> Json:
        spec = body.get("spec") or {}
        match resource.kind:
            case "SelfSubjectAccessReview":
                status = self._access(resource, user, spec)
            case "SubjectAccessReview" | "LocalSubjectAccessReview":
                status = self._subject_access(resource, namespace, spec)
            case "SelfSubjectRulesReview":
                status = self._rules(user, spec.get("namespace") or "")
            case "SelfSubjectReview":
                status = {"userInfo": user.as_json()}
            case "TokenReview":
                status = self._token(spec.get("token") or "", now)
            case _:
                raise bad_request(f"{resource.kind} is not a review")
        metadata = {**(body.get("metadata") or {}), "creationTimestamp": timestamp(now)}
        head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        return {**head, **({"spec": spec} if spec else {}), "status": status}

    def _access(self, resource: Resource, user: User, spec: Json) -> Json:
        reason = self._authorizer.allows(user, _asked(resource, spec))
        return {"allowed": True, "reason": reason} if reason else {"allowed": False}

    def _subject_access(self, resource: Resource, namespace: str, spec: Json) -> Json:
        if not spec.get("user") and not spec.get("groups"):
            field = Cause("FieldValueRequired", "spec.user", "Required value: at least one of user or group")
            raise invalid(resource, "", [field])
        asked = _asked(resource, spec)
        if resource.namespaced and asked.namespace != namespace:
            raise bad_request(f"spec.resourceAttributes.namespace must be {namespace}")
        extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
        subject = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)
        reason = self._authorizer.allows(subject, asked)
        return {"allowed": True, "reason": reason} if reason else {"allowed": False}

    def _rules(self, user: User, namespace: str) -> Json:
        rules = [grant.rule for grant in self._authorizer.grants(user, namespace)]
        if MASTERS in user.groups:
            everything: Json = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            rules = [everything, {"verbs": ["*"], "nonResourceURLs": ["*"]}, *rules]
        return {
            "resourceRules": [rule for rule in rules if rule.get("resources")],
            "nonResourceRules": [rule for rule in rules if rule.get("nonResourceURLs")],
            "incomplete": False,
        }

    def _token(self, token: str, now: datetime) -> Json:
        user = self._authenticator.user_of(token, now) if token else None
        return {"authenticated": True, "user": user.as_json()} if user else {"authenticated": False}


def _asked(resource: Resource, spec: Json) -> RequestInfo:
    attributes, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (attributes is None) == (other is None):
        text = "Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise invalid(resource, "", [Cause("FieldValueInvalid", "spec.resourceAttributes", text)])
    if other is not None:
        return RequestInfo(verb=other.get("verb", ""), path=other.get("path", ""))
    assert attributes is not None
    return RequestInfo(
        verb=attributes.get("verb", ""),
        path="",
        is_resource=True,
        group=attributes.get("group", ""),
        version=attributes.get("version", ""),
        resource=attributes.get("resource", ""),
        subresource=attributes.get("subresource", ""),
        namespace=attributes.get("namespace", ""),
        name=attributes.get("name", ""),
    )
