"""A holder's kubectl that waits for something, and an administrator's that makes it happen."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from infra.local.demo.commands import Kubectl, Result
from tests.e2e.parking_stage import executed


class Scene:
    """On the stack in `state`. The administrator's kubectl does not go through the gateway."""

    def __init__(self, state: Path, kubectl: Path, *, home: Path | None = None) -> None:
        self._state = state
        self._holder = Kubectl(kubectl, state / "kubeconfig", home or state / "home")
        admin = state / "keys" / "kubernetes-admin.kubeconfig"
        self._admin = Kubectl(kubectl, admin, state / "admin-home")
        self._pool = ThreadPoolExecutor(8)

    def run(self, *arguments: str) -> Result:
        """The holder's kubectl, waited for."""
        return self._holder.run(*arguments)

    def start(self, *arguments: str) -> Future[Result]:
        """The same, in the background."""
        return self._pool.submit(self._holder.run, *arguments)

    def happens(self, *arguments: str) -> Result:
        """The administrator's kubectl."""
        done = self._admin.run(*arguments)
        assert done.code == 0, done.errors
        return done

    def opened(self, count: int, verb: str, resource: str, name: str = "") -> None:
        """Waits until the listener was told of so many watches or logs that are not answered yet."""
        until_s = time.monotonic() + 30
        while self._open(verb, resource, name) < count:
            assert time.monotonic() < until_s, "it is not on chain"
            time.sleep(0.2)
        time.sleep(0.5)

    def _open(self, verb: str, resource: str, name: str) -> int:
        asked = [record.requested.attributes for record in executed(self._state) if record.processed is None]
        return [(found.verb, found.resource, found.name) for found in asked].count((verb, resource, name))


class Ending:
    """One command of the holder's that ends when something happens, and how long after that it did."""

    def __init__(self, scene: Scene, *arguments: str) -> None:
        self._scene = scene
        self._command = scene.start(*arguments)
        self._ended_s: list[float] = []
        self._command.add_done_callback(lambda _: self._ended_s.append(time.monotonic()))

    @property
    def waits(self) -> bool:
        """Whether it has not ended."""
        return not self._command.done()

    def after(self, *event: str) -> tuple[Result, float]:
        """What it printed, and the seconds from the administrator's command to its end."""
        self._scene.happens(*event)
        happened_s = time.monotonic()
        result = self._command.result(90)
        while not self._ended_s:
            time.sleep(0.001)
        return result, self._ended_s[0] - happened_s
