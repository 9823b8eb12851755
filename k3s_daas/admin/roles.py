"""From the roles on chain to those of a file: what differs, and the changes that remove the difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from k3s_daas.admin.amounts import format_amount
from k3s_daas.admin.changes import Change, Draft
from k3s_daas.contract import calls
from k3s_daas.rbac import Role, Rule


@dataclass(frozen=True, slots=True)
class RolePlan:
    """The changes, and the roles that stay although the file does not have them."""

    changes: tuple[Change, ...]
    kept: tuple[str, ...]


def plan_roles(present: Mapping[str, Role], wanted: Sequence[Role], *, prune: bool = False) -> RolePlan:
    """What makes the chain's roles those of the file; `prune` also removes the others."""
    changes = [change for role in wanted if (change := _change(present.get(role.name), role))]
    others = sorted(present.keys() - {role.name for role in wanted})
    if prune:
        return RolePlan((*changes, *(_removal(name) for name in others)), ())
    return RolePlan(tuple(changes), tuple(others))


def _change(before: Role | None, after: Role) -> Change | None:
    if before == after:
        return None
    title = f"create the role {after.name}" if before is None else f"change the role {after.name}"
    lines = [title, *(f"  {line}" for line in _differences(before, after))]
    texts = [text for rule in after.rules for _, texts in _lists(rule) for text in texts]
    return Change(
        summary="\n".join(lines),
        power="access",
        calls=lambda draft: _define(draft, after),
        commands=1 + len(after.rules),
        size=100 + 100 * len(after.rules) + sum(len(text.encode()) + 1 for text in texts),
    )


def _differences(before: Role | None, after: Role) -> Iterator[str]:
    if before is None:
        yield f"+ priority {after.priority}, stake {format_amount(after.stake)}, {_access(after)}"
    else:
        if before.priority != after.priority:
            yield f"~ priority {before.priority} -> {after.priority}"
        if before.stake != after.stake:
            yield f"~ stake {format_amount(before.stake)} -> {format_amount(after.stake)}"
        if before.open != after.open:
            yield f"~ {_access(before)} -> {_access(after)}"
    old = before.rules if before else ()
    yield from (f"- {describe_rule(rule)}" for rule in old if rule not in after.rules)
    yield from (f"+ {describe_rule(rule)}" for rule in after.rules if rule not in old)
    if before and set(old) == set(after.rules) and old != after.rules:
        yield "~ the rules in another order"


def describe_rule(rule: Rule) -> str:
    """A rule in one line."""
    return "; ".join(f"{name} {', '.join(t or repr(t) for t in texts)}" for name, texts in _lists(rule))


def _lists(rule: Rule) -> list[tuple[str, tuple[str, ...]]]:
    named = [
        ("verbs", rule.verbs),
        ("apiGroups", rule.api_groups),
        ("resources", rule.resources),
        ("namespaces", rule.namespaces),
        ("resourceNames", rule.resource_names),
        ("nonResourceURLs", rule.non_resource_urls),
    ]
    return [(name, texts) for name, texts in named if texts]


def _access(role: Role) -> str:
    return "open to everybody" if role.open else "by grant"


def _define(draft: Draft, role: Role) -> None:
    """Replaces the role as a whole: `define_role` empties the rules, so both are in one transaction."""
    where = (draft.builder, draft.package, draft.cluster, draft.cap("access"))
    calls.define_role(*where, name=role.name, priority=role.priority, stake=role.stake, is_open=role.open)
    for rule in role.rules:
        calls.add_rule(
            *where,
            role=role.name,
            verbs=rule.verbs,
            api_groups=rule.api_groups,
            resources=rule.resources,
            namespaces=rule.namespaces,
            resource_names=rule.resource_names,
            non_resource_urls=rule.non_resource_urls,
        )


def _removal(name: str) -> Change:
    def remove(draft: Draft) -> None:
        calls.remove_role(draft.builder, draft.package, draft.cluster, draft.cap("access"), name)

    return Change(f"remove the role {name}: its seals can do nothing any more", "access", remove)
