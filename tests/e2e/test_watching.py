"""Watches and followed logs, with a real kubectl through the whole chain of parts.

What happens meanwhile is done directly at the API server, so that nothing but the watch is waited for.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from infra.local.demo.commands import Kubectl, Result
from infra.local.kubectl import bundled_kubectl, find_kubectl
from tests.e2e.parking_stage import executed

LOG = "local.k3s-daas/log"

pytestmark = pytest.mark.timeout(180)


class Scene:
    """A holder's kubectl, and an administrator's who does not go through the gateway."""

    def __init__(self, stack: Any) -> None:
        program, home = bundled_kubectl() or find_kubectl(), stack.state / "home"
        self._state = stack.state
        self._holder = Kubectl(program, stack.state / "kubeconfig", home)
        admin = stack.state / "keys" / "kubernetes-admin.kubeconfig"
        self._admin = Kubectl(program, admin, stack.state / "admin-home")
        self._pool = ThreadPoolExecutor(8)

    def run(self, *arguments: str) -> Result:
        return self._holder.run(*arguments)

    def start(self, *arguments: str) -> Future[Result]:
        return self._pool.submit(self._holder.run, *arguments)

    def happens(self, *arguments: str) -> None:
        done = self._admin.run(*arguments)
        assert done.code == 0, done.errors

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


@pytest.fixture
def scene(shared_stack: Any) -> Scene:
    return Scene(shared_stack)


def test_a_persons_watch_shows_the_change_and_says_why_it_ended(scene: Scene) -> None:
    scene.happens("create", "configmap", "watched", "--from-literal=a=b")
    watching = scene.start("get", "configmaps", "-w", "--show-labels", "--watch-only")
    scene.opened(1, "watch", "configmaps")
    scene.happens("label", "configmap", "watched", "seen=yes")
    result = watching.result(30)
    assert result.code == 0
    assert "seen=yes" in result.output
    assert "Warning: the watch ended after" in result.errors
    assert "run the command again" in result.errors


def test_waiting_deleting_and_rolling_out_end_after_the_event(scene: Scene) -> None:
    for name in ("ready", "gone", "held"):
        scene.happens("create", "configmap", name, "--from-literal=a=b")
    scene.happens("patch", "configmap", "held", "-p", '{"metadata":{"finalizers":["example.com/hold"]}}')
    waiting = scene.start("wait", "--for=jsonpath={.data.a}=c", "configmap/ready", "--timeout=60s")
    missing = scene.start("wait", "--for=delete", "configmap/gone", "--timeout=60s")
    deleting = scene.start("delete", "configmap", "held", "--timeout=60s")
    scene.opened(1, "watch", "configmaps", "ready")
    assert not any(each.done() for each in (waiting, missing, deleting))
    scene.happens("patch", "configmap", "ready", "-p", '{"data":{"a":"c"}}')
    scene.happens("delete", "configmap", "gone")
    scene.happens("patch", "configmap", "held", "-p", '{"metadata":{"finalizers":null}}')
    for each, words in ((waiting, "condition met"), (missing, "condition met"), (deleting, "deleted")):
        result = each.result(60)
        assert result.code == 0, result.errors
        assert words in result.output


def test_logs_come_as_asked_and_a_followed_one_until_its_container_ends(scene: Scene) -> None:
    scene.happens("run", "talker", "--image=x", "--labels=app=talker", f"--annotations={LOG}=one\ntwo")
    assert scene.run("logs", "talker").output == "one\ntwo\n"
    assert scene.run("logs", "talker", "--tail=1").output == "two\n"
    assert scene.run("logs", "-l", "app=talker", "--since=1h").output == "one\ntwo\n"
    following = scene.start("logs", "-f", "talker")
    scene.opened(1, "get", "pods", "talker")
    scene.happens("annotate", "pod", "talker", "--overwrite", f"{LOG}=one\ntwo\nthree")
    scene.happens("delete", "pod", "talker", "--now")
    result = following.result(60)
    assert (result.code, result.output) == (0, "one\ntwo\nthree\n")


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        (("exec", "quiet", "--", "date"), "run a Job"),
        (("attach", "quiet"), "kubectl logs"),
        (("port-forward", "quiet", "18080:80"), "Service"),
        (("cp", "quiet:/etc/hosts", "hosts"), "run a Job"),
    ],
)
def test_what_needs_a_stream_ends_at_once_and_says_what_to_do(
    scene: Scene, command: tuple[str, ...], instead: str
) -> None:
    if scene.run("get", "pod", "quiet").code != 0:
        scene.happens("run", "quiet", "--image=x")
    result = scene.run(*command)
    assert result.code != 0
    assert instead in result.errors


def test_open_watches_delay_no_read(scene: Scene) -> None:
    """A seal's full share of them is open, all silent."""
    watches = [scene.start("get", "secrets", "-w", "--watch-only", "-o", "name") for _ in range(6)]
    scene.opened(6, "watch", "secrets")
    assert not any(watch.done() for watch in watches)
    read = scene.run("get", "configmaps", "-o", "name")
    assert read.code == 0
    assert not any(watch.done() for watch in watches), "the read waited until a watch had ended"
    scene.happens("create", "secret", "generic", "last-word", "--from-literal=a=b")
    assert ["secret/last-word" in watch.result(60).output for watch in watches] == [True] * 6
