"""The local Sui serves any contract: nothing in it may know ours."""

from __future__ import annotations

import re
from pathlib import Path

import infra.local.sui

ROOT = Path(infra.local.sui.__file__).parent
OURS = re.compile(r"k3s|k8s|kube|kubectl|daas|SealToken|listener|gateway", re.IGNORECASE)


def test_nothing_in_the_local_sui_names_our_contract() -> None:
    sources = [
        path
        for suffix in ("*.py", "*.move", "*.mjs")
        for path in ROOT.rglob(suffix)
        if "node_modules" not in path.parts
    ]
    assert len(sources) > 40
    found = {str(path.relative_to(ROOT)) for path in sources if OURS.search(path.read_text("utf-8"))}
    assert found == set()
