"""Which entries of apt's sources the real API server is built from, and where the build is kept."""

from __future__ import annotations

import platform
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from infra.local.apiserver import build
from infra.local.apiserver.debian import check_platform, source_entries
from infra.local.apiserver.errors import UnsupportedPlatformError
from infra.local.apiserver.recipe import RECIPE, cache_home

DEBIAN = {"ID": "debian", "VERSION_CODENAME": "bookworm", "PRETTY_NAME": "Debian 12"}
STANZAS = """\
# main archive
Types: deb
URIs: http://mirror.invalid/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://vendor.invalid/node
Suites: nodistro
Components: main

Enabled: no
Types: deb
URIs: http://off.invalid/debian
Suites: bookworm
Components: main
"""
LINES = """\
# a comment
deb [signed-by=/k.gpg] http://mirror.invalid/debian bookworm main contrib
deb-src [signed-by=/k.gpg] http://mirror.invalid/debian bookworm main contrib
deb http://mirror.invalid/security bookworm-security main
deb http://vendor.invalid/cloud cloud-sdk-bookworm main
deb http://mirror.invalid/debian trixie main
"""


def apt(directory: Path, **files: str) -> Path:
    (directory / "sources.list.d").mkdir()
    for name, text in files.items():
        (directory / "sources.list.d" / name.replace("_", ".")).write_text(text)
    return directory


def test_stanzas_of_the_release_give_sources_too(tmp_path: Path) -> None:
    [(suffix, entry)] = source_entries(apt(tmp_path, debian_sources=STANZAS), "bookworm")
    assert suffix == ".sources"
    assert entry.splitlines() == [
        "Types: deb deb-src",
        "URIs: http://mirror.invalid/debian",
        "Suites: bookworm bookworm-updates",
        "Components: main",
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
    ]


def test_lines_of_the_release_give_sources_too(tmp_path: Path) -> None:
    entries = [entry for _, entry in source_entries(apt(tmp_path, debian_list=LINES), "bookworm")]
    assert entries == [
        "deb [signed-by=/k.gpg] http://mirror.invalid/debian bookworm main contrib\n"
        "deb-src [signed-by=/k.gpg] http://mirror.invalid/debian bookworm main contrib",
        "deb http://mirror.invalid/security bookworm-security main\n"
        "deb-src http://mirror.invalid/security bookworm-security main",
    ]


def test_files_that_apt_does_not_read_are_not_read(tmp_path: Path) -> None:
    assert source_entries(apt(tmp_path, debian_list_disabled=LINES), "bookworm") == []


@pytest.mark.parametrize(
    ("release", "machine", "said"),
    [
        ({"ID": "fedora", "PRETTY_NAME": "Fedora 42"}, "x86_64", "this is Fedora 42"),
        ({**DEBIAN, "VERSION_CODENAME": "trixie", "PRETTY_NAME": "Debian 13"}, "x86_64", "this is Debian 13"),
        (DEBIAN, "riscv64", "not for riscv64"),
        (DEBIAN, "x86_64", "apt knows no archive of Debian bookworm"),
    ],
)
def test_a_machine_that_cannot_build_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: dict[str, str], machine: str, said: str
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}")
    with pytest.raises(UnsupportedPlatformError, match=said):
        check_platform(RECIPE, apt(tmp_path))


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: DEBIAN)
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "dpkg-deb" else f"/usr/bin/{tool}")
    with pytest.raises(UnsupportedPlatformError, match="install dpkg-deb"):
        check_platform(RECIPE, apt(tmp_path, debian_list=LINES))


def test_an_earlier_build_is_taken_from_the_cache(tmp_path: Path) -> None:
    assert build.installed(RECIPE, tmp_path) is None
    (tmp_path / RECIPE.label).mkdir()

    def say(sentence: str) -> None:
        pytest.fail(f"it builds: {sentence}")

    assert build.ensure(say, RECIPE, tmp_path).apiserver == tmp_path / RECIPE.label / "kube-apiserver"


def test_another_recipe_has_another_place() -> None:
    assert RECIPE.label.startswith(f"kubernetes-{RECIPE.version}-")
    assert replace(RECIPE, packages=(*RECIPE.packages, "more")).label != RECIPE.label


def test_the_cache_follows_the_specification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_home() == tmp_path / "k3s-daas"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_home() == Path.home() / ".cache" / "k3s-daas"
