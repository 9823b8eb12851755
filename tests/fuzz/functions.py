"""The contract's public functions, read from its sources: a new one is fuzzed, or the run fails."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "move" / "sources"
_CONTEXT = "TxContext"


@dataclass(frozen=True, slots=True)
class Parameter:
    """``type`` is without reference; ``mutable`` for ``&mut``."""

    name: str
    type: str
    mutable: bool


@dataclass(frozen=True, slots=True)
class Function:
    """A public function, without its ``TxContext``."""

    module: str
    name: str
    parameters: tuple[Parameter, ...]
    returns: str
    """The type of what it returns, or nothing."""

    @property
    def path(self) -> str:
        return f"{self.module}::{self.name}"


def public_functions(sources: Path = SOURCES) -> dict[str, Function]:
    """Path (``module::name``) -> function, for all that a transaction can call."""
    found = {}
    for file in sorted(sources.glob("*.move")):
        text = re.sub(r"//[^\n]*", "", file.read_text())
        text = re.sub(r"#\[test_only\]\s*public fun", "fun", text)
        for name, parameters, returns in re.findall(
            r"^public fun (\w+)\(([^)]*)\)(?::\s*([^{]+?))?\s*\{", text, re.MULTILINE
        ):
            function = Function(file.stem, name, _parameters(parameters), returns)
            found[function.path] = function
    return found


def _parameters(text: str) -> tuple[Parameter, ...]:
    parameters = []
    for name, reference, kind in re.findall(r"(\w+)\s*:\s*(&mut |&)?([\w<>]+)", text):
        if kind != _CONTEXT:
            parameters.append(Parameter(name, kind, reference == "&mut "))
    return tuple(parameters)
