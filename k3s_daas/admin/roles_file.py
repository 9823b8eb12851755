"""The roles of a cluster as a file for review: RBAC rules, with namespaces, priority and stake.

::

    roles:
      - name: developer            # 1 to 63 of a-z, 0-9 and -
        priority: 5                # 0 to 9; answers of higher ones are kept longer
        stake: 1 SUI               # what writing asks for: SUI, MIST, or 0
        open: false                # true: everybody may stake for it, without a grant
        clusterRole: edit          # optional, not on chain: what its group is bound to in Kubernetes
        rules:
          - verbs: [get, list, watch]
            apiGroups: ["", apps]
            resources: ["*"]       # `pods`, `pods/log`, `*/scale`, `*`
            namespaces: [shop]     # optional: none means all of them and cluster scope
            resourceNames: [web]   # optional: none means every object
          - verbs: [get]
            nonResourceURLs: [/api, /api/*]

What the contract would refuse is refused here, with the place. Nothing may be added to it, and nothing but
what is marked optional may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from k3s_daas.admin.amounts import parse_amount
from k3s_daas.admin.documents import Node, parse_yaml, read_yaml
from k3s_daas.rbac import Role, Rule

# The bounds of the Move modules `cluster` and `role`.
MAX_ROLES = 32
MAX_RULES = 32
MAX_ENTRIES = 32
MAX_PRIORITY = 9
MAX_OBJECT_NAME = 253

NAME = re.compile(r"[a-z0-9-]{1,63}", re.ASCII)
# Printable ASCII without space, `*` and `/`.
_SEGMENT = r"[!-)+-.0-~]"
_VERB = re.compile(rf"\*|{_SEGMENT}{{1,32}}")
_GROUP = re.compile(rf"\*|{_SEGMENT}{{0,253}}")
_RESOURCE = re.compile(rf"\*|{_SEGMENT}{{1,63}}|(\*|{_SEGMENT}{{1,63}})/{_SEGMENT}{{1,63}}")
_NAMESPACE = re.compile(rf"\*|{NAME.pattern}")
_OBJECT_NAME = re.compile(r"[^\x00-\x1f\x7f/]+")
_URL = re.compile(r"(?=.{1,253}\Z)(\*|/[!-)+-~]*\*?)")


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """A role as the file has it; `cluster_role` is its ClusterRole in Kubernetes, if the file says one."""

    role: Role
    cluster_role: str | None


def load_roles(path: Path) -> tuple[RoleSpec, ...]:
    """The roles in a file. Raises `ConfigurationError`, which names the place and what is wrong there."""
    return _roles(read_yaml(path))


def parse_roles(text: str, name: str = "roles.yaml") -> tuple[RoleSpec, ...]:
    """The same for text."""
    return _roles(parse_yaml(text, name))


def _roles(document: Node) -> tuple[RoleSpec, ...]:
    node = document.fields(("roles",))["roles"]
    entries = node.items()
    if len(entries) > MAX_ROLES:
        node.refuse(f"holds {len(entries)} roles: a cluster has at most {MAX_ROLES}")
    specs = tuple(_role(entry) for entry in entries)
    seen: set[str] = set()
    for entry, spec in zip(entries, specs, strict=True):
        if spec.role.name in seen:
            entry.refuse(f"is a second role of the name {spec.role.name}")
        seen.add(spec.role.name)
    return specs


def _role(node: Node) -> RoleSpec:
    fields = node.fields(("name", "priority", "stake", "open", "rules"), ("clusterRole",))
    name = fields["name"].text()
    if not NAME.fullmatch(name):
        fields["name"].refuse(f"is {name!r}: a name is 1 to 63 of a-z, 0-9 and -")
    rules = fields["rules"].items()
    if len(rules) > MAX_RULES:
        fields["rules"].refuse(f"holds {len(rules)} rules: a role has at most {MAX_RULES}")
    role = Role(
        name=name,
        priority=fields["priority"].integer(0, MAX_PRIORITY),
        stake=fields["stake"].parsed(parse_amount),
        open=fields["open"].boolean(),
        rules=tuple(_rule(rule) for rule in rules),
    )
    return RoleSpec(role, fields["clusterRole"].text() if "clusterRole" in fields else None)


def _rule(node: Node) -> Rule:
    if isinstance(node.value, dict) and "nonResourceURLs" in node.value:
        fields = node.fields(("verbs", "nonResourceURLs"))
        return Rule(
            verbs=_entries(fields["verbs"], _VERB.fullmatch, "a verb"),
            non_resource_urls=_entries(
                fields["nonResourceURLs"], _URL.fullmatch, "a path, with a * at its end at most"
            ),
        )
    fields = node.fields(("verbs", "apiGroups", "resources"), ("namespaces", "resourceNames"))
    return Rule(
        verbs=_entries(fields["verbs"], _VERB.fullmatch, "a verb"),
        api_groups=_entries(fields["apiGroups"], _GROUP.fullmatch, "an API group"),
        resources=_entries(
            fields["resources"], _RESOURCE.fullmatch, "a resource, resource/subresource or */subresource"
        ),
        namespaces=_optional(fields, "namespaces", _NAMESPACE.fullmatch, "a namespace"),
        resource_names=_optional(fields, "resourceNames", _is_object_name, "an object's name"),
    )


def _optional(
    fields: dict[str, Node], name: str, check: Callable[[str], object], what: str
) -> tuple[str, ...]:
    return _entries(fields[name], check, what, least=0) if name in fields else ()


def _entries(node: Node, check: Callable[[str], object], what: str, *, least: int = 1) -> tuple[str, ...]:
    items = node.items()
    if not least <= len(items) <= MAX_ENTRIES:
        node.refuse(f"holds {len(items)} entries: there must be {least} to {MAX_ENTRIES}")
    for item in items:
        if not check(item.text()):
            item.refuse(f"is {item.text()!r}, which is not {what}")
    return node.texts()


def _is_object_name(text: str) -> bool:
    return _OBJECT_NAME.fullmatch(text) is not None and len(text.encode()) <= MAX_OBJECT_NAME
