"""What may run beside what: with several workers (``pytest -n``) each file stays with one of them.

Tests that share a running stack stay together too, so that it is started once.
"""

from __future__ import annotations

from pathlib import Path

import pytest

_ROOT = Path(__file__).parent


# Before the workers' own hook, which reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the group of each test for ``--dist loadgroup``."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    within = item.path.relative_to(_ROOT)
    match within.parts[0]:
        case "e2e":
            return "e2e"
        case "compat":
            return f"compat on {_api_server(item)}"
    return str(within)


def _api_server(item: pytest.Item) -> str:
    """Which one of the two API servers of `tests/compat` a test wants; each has a stack of its own."""
    # Only tests that have parameters carry a callspec.
    callspec = getattr(item, "callspec", None)
    wanted = list(callspec.params.values()) if callspec else []
    return "real" if "real" in wanted or "real_stage" in getattr(item, "fixturenames", ()) else "memory"
