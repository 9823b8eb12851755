"""An ordinary operator, for `kopf run`: it opens shops, and says what it did, one line each."""

from __future__ import annotations

from typing import Any

import kopf

GROUP, VERSION, PLURAL = "clients.example.com", "v1", "shops"


@kopf.on.create(GROUP, VERSION, PLURAL)
def opened(name: str, spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
    patch.status["open"] = spec["hours"]
    print(f"opened {name}", flush=True)


@kopf.on.update(GROUP, VERSION, PLURAL)
def moved(name: str, spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
    patch.status["open"] = spec["hours"]
    print(f"moved {name}", flush=True)


@kopf.on.delete(GROUP, VERSION, PLURAL)
def closed(name: str, **_: Any) -> None:
    print(f"closed {name}", flush=True)
