"""Where the gateway finds its roots of trust: a file, the environment, or SSM's Parameter Store.

A Lambda function has no file of its own beside its code, so there the roots come as JSON in a variable or as
a parameter that only the operator may write. The text is the same in all three places (`k3s_daas.roots`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from k3s_daas.errors import ConfigurationError
from k3s_daas.roots import TrustRoots

FILE = "DAAS_TRUST_ROOTS_FILE"
INLINE = "DAAS_TRUST_ROOTS"
PARAMETER = "DAAS_TRUST_ROOTS_PARAMETER"


@dataclass(frozen=True)
class RootsFile:
    """A JSON file."""

    path: Path


@dataclass(frozen=True)
class InlineRoots:
    """The JSON text itself."""

    text: str


@dataclass(frozen=True)
class RootsParameter:
    """The name of a parameter in SSM's Parameter Store (type String or SecureString)."""

    name: str


RootsSource = RootsFile | InlineRoots | RootsParameter


def roots_source(environment: Mapping[str, str]) -> RootsSource:
    """The one place that the environment names. Raises ConfigurationError for none and for several.

    Several are refused, not ranked: a forgotten variable must not decide whom the gateway trusts.
    """
    given = {
        name: value for name in (FILE, INLINE, PARAMETER) if (value := environment.get(name, "").strip())
    }
    if len(given) != 1:
        found = " and ".join(given) if given else "none of them"
        raise ConfigurationError(
            f"Exactly one of {FILE}, {INLINE} and {PARAMETER} must be set, and {found} is: "
            "the gateway needs the roots of trust to serve any request."
        )
    ((name, value),) = given.items()
    if name == FILE:
        return RootsFile(Path(value))
    return InlineRoots(value) if name == INLINE else RootsParameter(value)


def load_roots(source: RootsSource, read_parameter: Callable[[str], str]) -> TrustRoots:
    """The roots, read and validated. Raises ConfigurationError and whatever `read_parameter` raises."""
    match source:
        case RootsFile(path):
            return TrustRoots.load(path)
        case InlineRoots(text):
            return TrustRoots.parse(text, INLINE)
        case RootsParameter(name):
            return TrustRoots.parse(read_parameter(name), f"{PARAMETER} {name}")
