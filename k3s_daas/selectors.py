"""Field selectors, as far as an authorizer reads them: which one value does a field have to have?

Grammar of k8s.io/apimachinery ``fields.ParseSelector``: terms joined by ``,``, each ``field=value``,
``field==value`` or ``field!=value``; in a value ``\\``, ``,`` and ``=`` are escaped by a backslash.
"""

from __future__ import annotations

from collections.abc import Iterator


class SelectorError(ValueError):
    """Not a field selector, or one that wants two values of the same field at once."""


def exact_match(selector: str, field: str) -> str:
    """The value that ``selector`` demands of ``field``, or the empty string if it demands none."""
    values = {value for name, operator, value in _terms(selector) if name == field and operator != "!="}
    if len(values) > 1:
        raise SelectorError(f"it demands several values of {field}")
    return values.pop() if values else ""


def _terms(selector: str) -> Iterator[tuple[str, str, str]]:
    for term in filter(None, _split_unescaped(selector)):
        name, operator, escaped = _split_term(term)
        yield name, operator, _unescape(escaped)


def _split_unescaped(selector: str) -> list[str]:
    terms, start, position = [], 0, 0
    while position < len(selector):
        if selector[position] == "\\":
            position += 1
        elif selector[position] == ",":
            terms.append(selector[start:position])
            start = position + 1
        position += 1
    return [*terms, selector[start:]]


def _split_term(term: str) -> tuple[str, str, str]:
    position = 0
    while position < len(term):
        if term[position] == "\\":
            position += 2
            continue
        for operator in ("!=", "==", "="):
            if term.startswith(operator, position):
                return term[:position], operator, term[position + len(operator) :]
        position += 1
    raise SelectorError("a term has none of =, == and !=")


def _unescape(value: str) -> str:
    characters = iter(value)
    result: list[str] = []
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if escaped not in ("\\", ",", "="):
                raise SelectorError("a backslash escapes something else than a backslash, a comma or =")
            result.append(escaped)
        elif character in ",=":
            raise SelectorError("a value has an unescaped comma or =")
        else:
            result.append(character)
    return "".join(result)
