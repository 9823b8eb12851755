"""Read masks: which fields of a message a reader asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Tree = dict[str, "Tree"]
"""Field name -> the mask inside it; an empty mask means everything."""
WILDCARD = "*"
Message = Any
"""A betterproto2 message; the library is not typed."""


class MaskError(ValueError):
    """A read mask names a field that the message does not have."""


def parse_mask(message_class: type[Message], paths: Iterable[str]) -> Tree:
    """The tree of a field mask's paths; ``*`` and no path at all give the empty tree: everything.

    Raises:
        MaskError: a path does not exist in the message.
    """
    tree: Tree = {}
    for path in paths:
        if path == WILDCARD:
            return {}
        _insert(tree, message_class, path)
    return tree


def _insert(tree: Tree, message_class: type[Message], path: str) -> None:
    current: type[Message] | None = message_class
    complete = False
    for name in path.split("."):
        fields = getattr(current, "__dataclass_fields__", None)
        if fields is None or name not in fields:
            if name == WILDCARD and fields is not None:
                break
            raise MaskError(f"read_mask path {path!r}: {name!r} is no field of {message_class.__name__}")
        complete = name in tree and not tree[name]
        if complete:
            return
        tree = tree.setdefault(name, {})
        current = current._betterproto.cls_by_field.get(name)  # type: ignore[union-attr]  # a message has it
    tree.clear()


def wants(tree: Tree, *path: str) -> bool:
    """Whether anything at ``path`` was asked for."""
    for name in path:
        if not tree:
            return True
        if name not in tree:
            return False
        tree = tree[name]
    return True


def subtree(tree: Tree, name: str) -> Tree:
    """The mask inside a field that was asked for."""
    return tree.get(name, {})


def apply_mask(message: Message, tree: Tree) -> Message:
    """Clear, in place, every field that was not asked for."""
    if not tree:
        return message
    for name in message.__dataclass_fields__:
        value = getattr(message, name)
        if name not in tree:
            if value is not None:
                setattr(message, name, _cleared(value))
            continue
        if not tree[name] or value is None:
            continue
        for inner in value if isinstance(value, list) else [value]:
            if hasattr(inner, "__dataclass_fields__"):
                apply_mask(inner, tree[name])
    return message


def _cleared(value: Any) -> Any:
    if isinstance(value, list):
        return []
    return {} if isinstance(value, dict) else None
