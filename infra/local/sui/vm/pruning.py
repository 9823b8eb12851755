"""What a call cannot reach is not loaded: half of a call's time would go into verifying code that never runs.

Only bodies go. The reachable functions are the published ones byte for byte, which is asserted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ..bytecode.callgraph import FunctionId, definitions, keep_bodies, reachable
from .linking import ModuleId


def prune(modules: Mapping[ModuleId, bytes], root: FunctionId) -> dict[ModuleId, bytes]:
    """The modules, in order, without the bodies of functions that ``root`` cannot reach.

    A module that changes goes by another address here, which tells the copies of several calls apart.
    """
    kept = reachable(list(modules.values()), [root])
    pruned = {}
    for (address, name), code in modules.items():
        smaller = keep_bodies(code, kept)
        if smaller is code:
            pruned[address, name] = code
        else:
            _assert_same_functions(code, smaller, kept)
            pruned[address + hashlib.sha256(smaller).digest(), name] = smaller
    return pruned


def _assert_same_functions(published: bytes, smaller: bytes, kept: set[FunctionId]) -> None:
    for before, after in zip(definitions(published), definitions(smaller), strict=True):
        assert before.id == after.id
        assert before.encoded == after.encoded or before.id not in kept, "a function that may run differs"
