"""Label and field selectors, in the grammar that the API server accepts in a query string."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from infra.local.kube.errors import Json, bad_request

Predicate = Callable[[Json], bool]

_SET_TERM = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^()]*)\)$")
_EQUALITY_TERM = re.compile(r"^([^\s!=]+)\s*(==|=|!=)\s*(\S*)$")
_EXISTS_TERM = re.compile(r"^(!?)\s*([^\s!=()]+)$")

# Which fields a selector may name, beside metadata.name and metadata.namespace.
SELECTABLE: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "pods"): (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    ("", "events"): (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    ("", "namespaces"): ("status.phase",),
    ("", "nodes"): ("spec.unschedulable",),
    ("", "secrets"): ("type",),
    ("", "services"): ("spec.clusterIP", "spec.type"),
    ("", "replicationcontrollers"): ("status.replicas",),
    ("apps", "replicasets"): ("status.replicas",),
    ("batch", "jobs"): ("status.successful",),
}


def label_selector(text: str) -> Predicate:
    """Compiles `a=b,c!=d,e in (f,g),h,!i`. Raises 400 for anything else."""
    terms = [_label_term(term) for term in _split_terms(text)]

    def matches(obj: Json) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(term(labels) for term in terms)

    return matches


def match_label_selector(selector: Json | None, labels: Mapping[str, str]) -> bool:
    """Evaluates a LabelSelector (matchLabels, matchExpressions). None selects nothing, {} everything."""
    if selector is None:
        return False
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(e, labels) for e in selector.get("matchExpressions") or [])


def field_selector(text: str, key: tuple[str, str]) -> Predicate:
    """Compiles `metadata.name=x,status.phase!=Running`. Raises 400 for a field that is not selectable."""
    allowed = ("metadata.name", "metadata.namespace", *SELECTABLE.get(key, ()))
    terms: list[tuple[str, bool, str]] = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        found = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", part)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        field = found[1].strip()
        if field not in allowed:
            raise bad_request(f'field label not supported: "{field}"')
        terms.append((field, found[2] != "!=", found[3]))

    def matches(obj: Json) -> bool:
        return all((_field_text(obj, field) == value) == equal for field, equal, value in terms)

    return matches


def _split_terms(text: str) -> list[str]:
    terms, depth, current = [], 0, ""
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            terms.append(current.strip())
            current = ""
        else:
            current += char
    terms.append(current.strip())
    if depth != 0:
        raise bad_request(f"unable to parse requirement: unbalanced parentheses in {text!r}")
    return [term for term in terms if term]


def _label_term(term: str) -> Callable[[Mapping[str, str]], bool]:
    if found := _SET_TERM.match(term):
        key, operator, listed = found[1], found[2], {v.strip() for v in found[3].split(",")}
        return lambda labels: (labels.get(key) in listed) == (operator == "in")
    if found := _EQUALITY_TERM.match(term):
        key, operator, value = found[1], found[2], found[3]
        return lambda labels: (labels.get(key) == value) == (operator != "!=")
    if found := _EXISTS_TERM.match(term):
        negated, key = bool(found[1]), found[2]
        return lambda labels: (key in labels) != negated
    raise bad_request(f"unable to parse requirement: {term!r}")


def _expression(expression: Json, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression.get("operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return False


def _field_text(obj: Json, path: str) -> str:
    if path == "source":  # of an event: the reporting component, under its older name
        return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or "")
    value: object = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
