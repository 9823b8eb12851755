"""The battery's own tools: what two runs may differ in, and mistakes in the data."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.local.kubectl import bundled_kubectl, find_kubectl_version, kubectl_version
from tests.compat.normalise import comparable, normalised
from tests.compat.steps import Step, load


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("web-6d4cf56db6-x7zqk   1/1  Running  0   2m3s", "web-6d4cf56db6-bcdfg 1/1 Running 0 12s"),
        ("replicaset.apps/web-6d4cf56db6", "replicaset.apps/web-7c5ddbdf54"),
        ("uid: 22693f69-6dd5-417a-8f0e-c392e1add821", "uid: 01234567-89ab-cdef-0123-456789abcdef"),
        ('resourceVersion: "974"', 'resourceVersion: "1011"'),
        ('{"resourceVersion":"974"}', '{"resourceVersion":"7"}'),
        ('creationTimestamp: "2026-11-22T16:22:46Z"', 'creationTimestamp: "2027-01-01T00:00:00Z"'),
        ("Start: Mon, 23 Nov 2026 06:35:01 +0000", "Start: Tue, 24 Nov 2026 16:35:01 +0000"),
        ("kubernetes ClusterIP 10.96.0.1 <none>", "kubernetes ClusterIP 10.96.7.221 <none>"),
        ("configmap/twin-x7zqk created", "configmap/twin-bcdfg created"),
        ("W1123 06:39:13.223256   22967 prune.go:71] x", "W1123 06:39:14.000001       7 prune.go:71] x"),
    ],
)
def test_what_two_runs_may_differ_in_is_taken_out(one: str, other: str) -> None:
    assert normalised(one, {}) == normalised(other, {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pod/web created", "pod/web unchanged"),
        ("web 1/1 Running 0 5s", "web 0/1 Running 0 5s"),
        ("web-server 5s", "web-client 5s"),
        ("v1.20.2", "v1.36.0"),
        ("replicas: 2", "replicas: 3"),
    ],
)
def test_what_matters_stays(one: str, other: str) -> None:
    assert normalised(one, {}) != normalised(other, {})


def test_names_of_a_run_become_words_that_both_share() -> None:
    assert normalised("ns/a-more in ns/a", {"a": "NS", "a-more": "MORE"}) == "ns/MORE in ns/NS"


def test_what_is_compared() -> None:
    text = "Name: web\nLabels: app=web\nEvents: <none>\nNormal Started"
    assert comparable(text, "text") == text
    assert comparable("b\na", "lines") == "a\nb"
    assert comparable("a\nb", "last") == "b"
    assert comparable(text, "shape") == "Name:\nLabels:"


def test_the_battery_covers_what_it_promises() -> None:
    groups = load()
    assert sum(len(group.steps) for group in groups) > 200
    assert len({group.name for group in groups}) == len(groups)


@pytest.mark.parametrize("fields", [{"run": "x", "outt": "y"}, {"run": "x", "compare": "roughly"}])
def test_a_mistake_in_a_step_is_named(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"outt|compare"):
        Step.parse(fields)


def test_overrides_count_where_all_their_tags_do() -> None:
    step = Step.parse({"run": "x", "where": {"real 1.37": {"code": 1}}})
    assert step.on(frozenset({"real", "1.32"})).code == 0
    assert step.on(frozenset({"real", "1.37", "chain"})).code == 1


def program(path: Path, version: str) -> Path:
    path.write_text(f'#!/bin/sh\necho \'{{"clientVersion": {{"gitVersion": "{version}"}}}}\'\n')
    path.chmod(0o755)
    return path


def test_a_kubectl_of_a_version_is_found_on_path_or_beside_a_dispatcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk, on_path = tmp_path / "sdk", tmp_path / "bin"
    sdk.mkdir()
    on_path.mkdir()
    (on_path / "kubectl").symlink_to(program(sdk / "kubectl", "v1.32.4-dispatcher"))
    old = program(sdk / "kubectl.1.32", "v1.32.1")
    monkeypatch.setenv("PATH", str(on_path), prepend=":")
    assert kubectl_version(on_path / "kubectl") == ""
    assert find_kubectl_version("1.32") == old
    other = program(on_path / "kubectl.1.30", "v1.30.9-eks-1")
    assert find_kubectl_version("1.30") == other
    assert find_kubectl_version("1.10") is None


def test_the_bundled_kubectl_is_known_by_its_version() -> None:
    bundled = bundled_kubectl()
    assert bundled is not None
    assert find_kubectl_version(kubectl_version(bundled)) == bundled


def test_a_program_that_is_no_kubectl_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "kubectl"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError):
        kubectl_version(broken)
