"""Watches and followed logs, with a real kubectl through the whole chain of parts.

What happens meanwhile is done directly at the API server, so that nothing but the watch is waited for.
"""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.kubectl import bundled_kubectl, find_kubectl
from tests.e2e.watching_stage import Ending, Scene

LOG = "local.k3s-daas/log"
# A window that is not closed by its event is open for 20 s; `make compat` measures exactly.
SOON_S = 12.0

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def scene(shared_stack: Any) -> Scene:
    return Scene(shared_stack.state, bundled_kubectl() or find_kubectl())


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


def test_who_waits_is_told_soon_after_the_event(scene: Scene) -> None:
    for name in ("ready", "gone", "held"):
        scene.happens("create", "configmap", name, "--from-literal=a=b")
    scene.happens("patch", "configmap", "held", "-p", '{"metadata":{"finalizers":["example.com/hold"]}}')
    scene.happens("create", "deployment", "rolled", "--image=nginx:1.26")
    scene.happens("rollout", "pause", "deployment/rolled")
    scene.happens("set", "image", "deployment/rolled", "nginx=nginx:1.27")
    waiting = Ending(scene, "wait", "--for=jsonpath={.data.a}=c", "configmap/ready", "--timeout=60s")
    missing = Ending(scene, "wait", "--for=delete", "configmap/gone", "--timeout=60s")
    deleting = Ending(scene, "delete", "configmap", "held", "--timeout=60s")
    rolling = Ending(scene, "rollout", "status", "deployment/rolled", "--timeout=60s")
    for name in ("ready", "gone", "held"):
        scene.opened(1, "watch", "configmaps", name)
    scene.opened(1, "watch", "deployments", "rolled")
    assert all(each.waits for each in (waiting, missing, deleting, rolling))
    for each, event, words in (
        (waiting, ("patch", "configmap", "ready", "-p", '{"data":{"a":"c"}}'), "condition met"),
        (missing, ("delete", "configmap", "gone"), "condition met"),
        (deleting, ("patch", "configmap", "held", "-p", '{"metadata":{"finalizers":null}}'), "deleted"),
        (rolling, ("rollout", "resume", "deployment/rolled"), "successfully rolled out"),
    ):
        result, seconds = each.after(*event)
        assert result.code == 0, result.errors
        assert words in result.output
        assert seconds < SOON_S


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
