"""How soon a kubectl that waits is told what has happened, in real time: `make compat`.

At most 3 s after the event, and what one command takes on its way through the chain.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.e2e.watching_stage import Ending, Scene

MOST_S = 3.0
TIMES = 5
MAPS, DEPLOYMENTS = "configmaps", "deployments"
HELD = '{"metadata":{"finalizers":["example.com/hold"]}}'


def soon(state: Path, directory: Path, kubectl: Path) -> list[str]:
    """`wait`, `wait --for=delete`, `delete` and `rollout status`; returns what was late, or went wrong."""
    scene = Scene(state, kubectl, home=directory)
    scene.happens("create", "configmap", "near", "--from-literal=a=b")
    chain_s = _chain_s(scene)
    print(f"one command's way through the chain: {chain_s:.2f} s", flush=True)
    problems = []
    for name, one in (("wait", _wait), ("wait --for=delete", _gone), ("delete", _delete), ("rollout", _roll)):
        seconds = [one(scene, f"{name.partition(' ')[0]}-{len(name)}-{number}") for number in range(TIMES)]
        print(f"{name}: {', '.join(f'{each:.2f}' for each in seconds)} s after the event", flush=True)
        if max(seconds) > MOST_S + chain_s:
            problems.append(f"{name} ended {max(seconds):.1f} s after the event")
    return problems


def _chain_s(scene: Scene) -> float:
    """What a command takes longer through the gateway than directly, as kubectl sees it."""
    read = ("get", "configmap", "near", "-o", "name")
    scene.run(*read)
    through = statistics.median(scene.run(*read).seconds for _ in range(TIMES))
    return through - statistics.median(scene.happens(*read).seconds for _ in range(TIMES))


def _wait(scene: Scene, name: str) -> float:
    scene.happens("create", "configmap", name, "--from-literal=a=b")
    waiting = Ending(scene, "wait", "--for=jsonpath={.data.a}=c", f"configmap/{name}", "--timeout=60s")
    scene.opened(1, "watch", MAPS, name)
    return _ended(waiting, "patch", "configmap", name, "-p", '{"data":{"a":"c"}}')


def _gone(scene: Scene, name: str) -> float:
    scene.happens("create", "configmap", name, "--from-literal=a=b")
    waiting = Ending(scene, "wait", "--for=delete", f"configmap/{name}", "--timeout=60s")
    scene.opened(1, "watch", MAPS, name)
    return _ended(waiting, "delete", "configmap", name)


def _delete(scene: Scene, name: str) -> float:
    scene.happens("create", "configmap", name, "--from-literal=a=b")
    scene.happens("patch", "configmap", name, "-p", HELD)
    waiting = Ending(scene, "delete", "configmap", name, "--timeout=60s")
    scene.opened(1, "watch", MAPS, name)
    return _ended(waiting, "patch", "configmap", name, "-p", '{"metadata":{"finalizers":null}}')


def _roll(scene: Scene, name: str) -> float:
    scene.happens("create", "deployment", name, "--image=nginx:1.26")
    scene.happens("rollout", "pause", f"deployment/{name}")
    scene.happens("set", "image", f"deployment/{name}", "nginx=nginx:1.27")
    waiting = Ending(scene, "rollout", "status", f"deployment/{name}", "--timeout=60s")
    scene.opened(1, "watch", DEPLOYMENTS, name)
    return _ended(waiting, "rollout", "resume", f"deployment/{name}")


def _ended(waiting: Ending, *event: str) -> float:
    result, seconds = waiting.after(*event)
    if result.code != 0:
        raise RuntimeError(f"kubectl {' '.join(result.arguments)}: {result.errors}")
    return seconds
