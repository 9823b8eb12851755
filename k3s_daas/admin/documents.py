"""YAML documents read strictly: every complaint names the place, nothing unknown is skipped.

A place is written as ``roles.yaml: roles[1].rules[0].verbs``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from k3s_daas.errors import ConfigurationError

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """Plain values only, and no key twice in one mapping: YAML itself would keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the field {key.value} comes twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Node:
    """The document in a file. Raises `ConfigurationError` if it is unreadable or not one YAML document."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not text in UTF-8") from None
    return parse_yaml(text, path.name)


def parse_yaml(text: str, name: str) -> Node:
    """The same for text; `name` begins every place."""
    try:
        # A loader of our own on top of the safe one.
        value = yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{name}{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigurationError(f"{name} is not YAML: {error}") from None
    return Node(value, f"{name}:")


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a document and its place. Methods raise `ConfigurationError`, which names the place."""

    value: object
    place: str

    def refuse(self, complaint: str) -> NoReturn:
        raise ConfigurationError(f"{self.place} {complaint}")

    def fields(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Node]:
        """A mapping with all of `required`, perhaps some of `optional`, and nothing else."""
        if not isinstance(self.value, dict):
            self.refuse("must be a mapping")
        for unknown in (key for key in self.value if key not in required + optional):
            self.refuse(f"has the unknown field {unknown!r}: known are {', '.join(required + optional)}")
        for missing in (key for key in required if key not in self.value):
            self.refuse(f"has no field {missing!r}")
        return {key: Node(value, self._below(str(key))) for key, value in self.value.items()}

    def items(self) -> list[Node]:
        """A list."""
        if not isinstance(self.value, list):
            self.refuse("must be a list")
        return [Node(value, f"{self.place}[{index}]") for index, value in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            self.refuse(f"must be text, not {self.value!r}: quote it")
        return self.value

    def texts(self) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(item.text() for item in self.items())

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            self.refuse("must be true or false")
        return self.value

    def integer(self, low: int, high: int) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.refuse("must be a whole number")
        if not low <= self.value <= high:
            self.refuse(f"must lie between {low} and {high}")
        return self.value

    def parsed(self, parse: Callable[[str], T]) -> T:
        """Text or a number, in the notation of `parse`, which raises `ValueError` with a sentence."""
        if isinstance(self.value, bool) or not isinstance(self.value, str | int | float):
            self.refuse("must be text")
        try:
            return parse(str(self.value))
        except ValueError as error:
            raise ConfigurationError(f"{self.place} {error}") from None

    def _below(self, name: str) -> str:
        return f"{self.place} {name}" if self.place.endswith(":") else f"{self.place}.{name}"
