"""An informer of the `kubernetes` package, and two minutes of its life in real time: `make compat`."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from kubernetes import client
from kubernetes.informer import SharedInformer

from tests.compat.clients import PATIENCE_S, Place, place_on
from tests.compat.stages import Stage
from tests.e2e.parking_stage import SecondGateway

MINUTE_S = 60.0
BETWEEN_CHANGES_S = 1.0
FEW_WATCHES = 10
# Whoever hammers would be refused hundreds of times in the rest of a minute.
MOST_REFUSALS = 20

Seen = tuple[str, str, str]


class Follower:
    """An informer over ConfigMaps with one label; what it sees as (type, name, n), and what it asked for."""

    def __init__(self, place: Place, label: str, kubeconfig: Path) -> None:
        core = client.CoreV1Api(place.chain(kubeconfig))
        self.seen: SimpleQueue[Seen] = SimpleQueue()
        self.windows = 0
        self.lists = 0

        @functools.wraps(core.list_namespaced_config_map)
        def listed(*args: Any, **options: Any) -> Any:
            self.windows += bool(options.get("watch"))
            self.lists += not options.get("watch")
            return core.list_namespaced_config_map(*args, **options)

        self._informer = SharedInformer(listed, namespace=place.namespace, label_selector=f"set={label}")
        for kind in ("ADDED", "MODIFIED", "DELETED"):
            self._informer.add_event_handler(kind, functools.partial(self._saw, kind))
        self._informer.start()

    def next(self, patience_s: float = PATIENCE_S) -> Seen:
        """Waits for it. Raises `queue.Empty`."""
        return self.seen.get(timeout=patience_s)

    def stop(self, happens: Callable[[], None]) -> None:
        """An informer notices that it shall stop when its window ends: something must happen."""
        stopping = threading.Thread(target=self._informer.stop)
        stopping.start()
        happens()
        stopping.join(PATIENCE_S)
        assert not stopping.is_alive()

    def _saw(self, kind: str, found: Any) -> None:
        self.seen.put((kind, found.metadata.name, found.data["n"]))


def a_minute(state: Path, directory: Path, kubectl: Path) -> list[str]:
    """A change each second for a minute, with the limits as they are; returns what went wrong."""
    directory.mkdir(parents=True)
    gateway = SecondGateway(state, directory, kubectl)
    try:
        problems, answers = _minute(state, gateway, directory)
    finally:
        gateway.close()
    if ("watch", 429) in answers:
        problems.append("the limits do not allow one informer")
    return problems


def few_watches(state: Path, directory: Path, kubectl: Path) -> list[str]:
    """The same with a rate that is used up within seconds: it must slow down, and miss nothing."""
    directory.mkdir(parents=True)
    settings = {"DAAS_WATCHES_PER_MINUTE": str(FEW_WATCHES)}
    gateway = SecondGateway(state, directory, kubectl, settings=settings)
    try:
        problems, answers = _minute(state, gateway, directory)
    finally:
        gateway.close()
    refused = answers.count(("watch", 429))
    if not 0 < refused <= MOST_REFUSALS:
        problems.append(f"it was refused {refused} times")
    return problems


def _minute(state: Path, gateway: SecondGateway, directory: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """What an informer missed or saw twice, and how the gateway answered."""
    admin = state / "keys" / "kubernetes-admin.kubeconfig"
    place = place_on(Stage(admin, state / "kubeconfig", state))
    place.happens("ticking", labels={"set": "ticking"}, n="0")
    follower = Follower(place, "ticking", directory / "kubeconfig")
    expected: list[Seen] = [("ADDED", "ticking", "0")]
    seen = [follower.next()]
    ends_s = time.monotonic() + MINUTE_S
    while time.monotonic() < ends_s:
        time.sleep(BETWEEN_CHANGES_S)
        place.changes("ticking", n=str(len(expected)))
        expected.append(("MODIFIED", "ticking", str(len(expected))))
    seen += _rest(follower, len(expected) - 1)
    follower.stop(lambda: place.changes("ticking", n="last"))
    answers = gateway.answers("configmaps")
    print(
        f"{len(expected)} events, {len(seen)} seen, {follower.lists} list, "
        f"{answers.count(('watch', 200))} windows, {answers.count(('watch', 429))} refused",
        flush=True,
    )
    problems = [] if seen == expected else [f"of {len(expected)} events it saw {seen}"]
    return problems + ([] if follower.lists == 1 else [f"it listed {follower.lists} times"]), answers


def _rest(follower: Follower, count: int) -> list[Seen]:
    """As many as are expected, if they come, and any that are too many."""
    seen: list[Seen] = []
    try:
        while len(seen) < count:
            # A limit may keep it from asking for a minute.
            seen.append(follower.next(2 * MINUTE_S))
    except Empty:
        return seen
    while not follower.seen.empty():
        seen.append(follower.next())
    return seen
