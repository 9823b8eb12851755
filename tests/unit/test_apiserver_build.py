"""Compiling once: whole or not at all, one at a time, with a log where it fails. The source is a tiny one."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from infra.local.apiserver import build
from infra.local.apiserver.errors import BuildError, UnsupportedPlatformError
from infra.local.apiserver.recipe import RECIPE, Binaries, Recipe, architecture

# Says what it was told, and counts how often it ran.
MAKEFILE = """\
all:
	@echo $(WHAT) >> $(COUNT)
	@test -f vendor/github.com/modern-go/reflect2/mended.go
	@test ! -e vendor/github.com/modern-go/reflect2/broken.go
	@mkdir -p {output}
	@for program in $(WHAT); do . $$KUBE_GIT_VERSION_FILE; \\
		echo $$KUBE_GIT_VERSION $$GOPROXY > {output}/$${{program#cmd/}}; done
"""
REFLECT2 = "github.com/modern-go/reflect2"


class Shelf:
    """An archive that has what a test wants it to have."""

    def __init__(self, makefile: str) -> None:
        self.makefile = makefile
        self.reachable = True

    def __call__(self, recipe: Recipe, directory: Path, log: IO[bytes]) -> Shelf:
        self._directory = directory
        directory.mkdir()
        return self

    def refresh(self) -> None:
        if not self.reachable:
            raise UnsupportedPlatformError("Debian's archive cannot be reached")

    def source(self, recipe: Recipe) -> Path:
        tree = self._directory / f"kubernetes-{recipe.version}"
        vendored = tree / "vendor" / REFLECT2
        vendored.mkdir(parents=True)
        (vendored / "broken.go").touch()
        (tree / "Makefile").write_text(self.makefile)
        tarball = self._directory / "source.tar.gz"
        with tarfile.open(tarball, "w:gz") as archive:
            archive.add(tree, tree.name)
        return tarball

    def unpack(self, packages: Iterable[str], target: Path) -> None:
        mended = target / "usr/share/gocode/src" / REFLECT2
        mended.mkdir(parents=True)
        (mended / "mended.go").touch()
        (mended / "mended_test.go").touch()
        etcd = target / "usr/bin/etcd"
        etcd.parent.mkdir(parents=True)
        etcd.write_text("etcd")


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    return tmp_path / "count"


@pytest.fixture
def shelf(counter: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    output = f"_output/local/bin/linux/{architecture()}"
    shelf = Shelf(MAKEFILE.format(output=output).replace("$(COUNT)", str(counter)))
    monkeypatch.setattr(build, "Archive", shelf)
    monkeypatch.setattr(build, "check_platform", lambda recipe: None)
    return shelf


@pytest.fixture
def ensure(tmp_path: Path) -> Callable[[], Binaries]:
    return lambda: build.ensure(lambda _sentence: None, RECIPE, tmp_path / "cache")


def test_it_is_built_once_and_says_its_version(
    shelf: Shelf, ensure: Callable[[], Binaries], counter: Path
) -> None:
    binaries = ensure()
    assert binaries.apiserver.read_text() == "v1.20.2 off\n"
    assert binaries.controller_manager.is_file()
    assert binaries.etcd.read_text() == "etcd"
    assert ensure() == binaries
    assert counter.read_text() == "cmd/kube-apiserver cmd/kube-controller-manager\n"


def test_two_builds_at_once_are_one(shelf: Shelf, ensure: Callable[[], Binaries], counter: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: ensure(), range(2))
    assert one == other
    assert counter.read_text().count("\n") == 1


def test_a_build_that_fails_leaves_a_log_and_nothing_else(
    shelf: Shelf, ensure: Callable[[], Binaries], tmp_path: Path
) -> None:
    shelf.makefile = "all:\n\t@echo what went wrong; false\n"
    with pytest.raises(BuildError, match=r"make ended with code 2; see .*\.log"):
        ensure()
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert left == {f"{RECIPE.label}.log", f"{RECIPE.label}.lock"}
    assert "what went wrong" in (tmp_path / "cache" / f"{RECIPE.label}.log").read_text()


def test_an_archive_that_is_away_is_no_failed_build(
    shelf: Shelf, ensure: Callable[[], Binaries], tmp_path: Path
) -> None:
    shelf.reachable = False
    with pytest.raises(UnsupportedPlatformError, match="cannot be reached"):
        ensure()
    assert build.installed(RECIPE, tmp_path / "cache") is None
