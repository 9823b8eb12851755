"""DynamoDB's expressions, as far as the gateway writes them: conditions, and updates by SET, REMOVE and ADD.

A word that is not known here raises ValueError: nothing is passed over.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

Value = dict[str, Any]
"""As DynamoDB writes one: {"S": "text"}, {"N": "1"}, {"B": b"bytes"}."""
Item = dict[str, Value]
Names = Mapping[str, str]

_WORD = re.compile(r"\s*([#:]?\w+|<>|<=|>=|[<>=+(),])")
_COMPARISONS = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ZERO: Value = {"N": "0"}
_SECTIONS = ("SET", "REMOVE", "ADD")


class Scope:
    """What an expression's words stand for, before anything is changed."""

    def __init__(self, item: Item, names: Names, values: Mapping[str, Value]) -> None:
        self._item = dict(item)
        self._names = names
        self._values = values

    def name(self, word: str) -> str:
        """The attribute that a word names."""
        return self._names[word] if word.startswith("#") else word

    def value(self, word: str) -> Value | None:
        """The value of a placeholder or an attribute; None for an attribute that is not there."""
        return self._values[word] if word.startswith(":") else self._item.get(self.name(word))

    def known(self, word: str) -> Value:
        """Such a value. Raises ValueError if there is none: AWS refuses to write from what is not there."""
        found = self.value(word)
        if found is None:
            raise ValueError(f"{word} is not there")
        return found


Condition = Callable[[Scope], bool]
Change = Callable[[Scope, Item], None]


def plain(value: Value) -> Any:
    """What can be compared with others of its type."""
    [(kind, content)] = value.items()
    return int(content) if kind == "N" else content


@lru_cache(maxsize=256)
def condition(text: str) -> Condition:
    """A condition: comparisons, IN and attribute_(not_)exists, joined by AND, OR and ()."""
    words = _Words(text)
    parsed = _either(words)
    words.expect_end()
    return parsed


@lru_cache(maxsize=256)
def update(text: str) -> Change:
    """An update of an item in place; every value is that from before it."""
    words = _Words(text)
    changes: list[Change] = []
    while words.next in _SECTIONS:
        changes.extend(_section(words, words.take()))
    words.expect_end()

    def apply(scope: Scope, item: Item) -> None:
        for change in changes:
            change(scope, item)

    return apply


class _Words:
    def __init__(self, text: str) -> None:
        self._text = text
        self._words = _WORD.findall(text)
        if "".join(self._words) != re.sub(r"\s", "", text):
            raise ValueError(f"no expression of the gateway's: {text}")

    @property
    def next(self) -> str:
        return self._words[0] if self._words else ""

    def take(self, expected: str | None = None) -> str:
        word = self.next
        if not word or expected not in (None, word):
            raise ValueError(f"{word or 'the end'} is not expected in: {self._text}")
        return str(self._words.pop(0))

    def skip(self, word: str) -> bool:
        found = self.next == word
        if found:
            self.take()
        return found

    def expect_end(self) -> None:
        if self.next:
            raise ValueError(f"{self.next} is not understood in: {self._text}")


def _either(words: _Words) -> Condition:
    parts = [_all(words)]
    while words.skip("OR"):
        parts.append(_all(words))
    return lambda scope: any(part(scope) for part in parts)


def _all(words: _Words) -> Condition:
    parts = [_one(words)]
    while words.skip("AND"):
        parts.append(_one(words))
    return lambda scope: all(part(scope) for part in parts)


def _one(words: _Words) -> Condition:
    if words.skip("("):
        inner = _either(words)
        words.take(")")
        return inner
    left = words.take()
    if left in ("attribute_exists", "attribute_not_exists"):
        [name] = _listed(words)
        wanted = left == "attribute_exists"
        return lambda scope: (scope.value(name) is not None) == wanted
    sign = words.take()
    if sign == "IN":
        options = _listed(words)
        return lambda scope: any(_compared(scope, left, "=", option) for option in options)
    right = words.take()
    if sign not in _COMPARISONS:
        raise ValueError(f"{sign} is no comparison")
    return lambda scope: _compared(scope, left, sign, right)


def _compared(scope: Scope, left: str, sign: str, right: str) -> bool:
    """An attribute that is not there is different from everything, and not to be ordered."""
    one, other = scope.value(left), scope.value(right)
    if one is None or other is None or one.keys() != other.keys():
        return sign == "<>"
    return bool(_COMPARISONS[sign](plain(one), plain(other)))


def _listed(words: _Words) -> list[str]:
    words.take("(")
    found = [words.take()]
    while words.skip(","):
        found.append(words.take())
    words.take(")")
    return found


def _section(words: _Words, kind: str) -> Iterator[Change]:
    yield _change(words, kind)
    while words.skip(","):
        yield _change(words, kind)


def _change(words: _Words, kind: str) -> Change:
    target = words.take()
    if kind == "REMOVE":
        return lambda scope, item: _remove(scope, item, target)
    if kind == "ADD":
        added = words.take()
        return lambda scope, item: _set(
            scope, item, target, _sum(scope.value(target) or _ZERO, scope.known(added))
        )
    words.take("=")
    source = words.take()
    if words.skip("+"):
        added = words.take()
        return lambda scope, item: _set(scope, item, target, _sum(scope.known(source), scope.known(added)))
    return lambda scope, item: _set(scope, item, target, scope.known(source))


def _remove(scope: Scope, item: Item, target: str) -> None:
    item.pop(scope.name(target), None)


def _set(scope: Scope, item: Item, target: str, value: Value) -> None:
    item[scope.name(target)] = value


def _sum(one: Value, other: Value) -> Value:
    return {"N": str(int(one["N"]) + int(other["N"]))}
