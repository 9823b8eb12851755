"""Compile the API server once per machine, and keep the result in the cache directory.

A build takes about five minutes on two cores and 4 GB of disk while it runs; 200 MB of it stay. Two that
start at once do not collide: the second waits for the first. A build appears in the cache whole or not at
all.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from infra.local.apiserver.debian import Archive, check_platform
from infra.local.apiserver.errors import BuildError
from infra.local.apiserver.recipe import RECIPE, Binaries, Recipe, architecture, cache_home

_REFLECT2 = "github.com/modern-go/reflect2"
_GOROOT = "usr/lib/go-1.19"


def installed(recipe: Recipe = RECIPE, cache: Path | None = None) -> Binaries | None:
    """The binaries of an earlier build, if there are any."""
    directory = (cache or cache_home()) / recipe.label
    return Binaries(directory) if directory.is_dir() else None


def ensure(say: Callable[[str], None], recipe: Recipe = RECIPE, cache: Path | None = None) -> Binaries:
    """The binaries: of an earlier build, or built now.

    Raises:
        UnsupportedPlatformError: this machine cannot build them; says why.
        BuildError: it should be able to, and the build failed; says where the log is.
    """
    cache = cache or cache_home()
    if (found := installed(recipe, cache)) is not None:
        return found
    check_platform(recipe)
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / f"{recipe.label}.lock"):
        # Somebody else's build may have ended while we waited.
        if (found := installed(recipe, cache)) is not None:
            return found
        return _build(recipe, cache, say)


def _build(recipe: Recipe, cache: Path, say: Callable[[str], None]) -> Binaries:
    log_file = cache / f"{recipe.label}.log"
    work = Path(tempfile.mkdtemp(prefix=f"{recipe.label}.", dir=cache))
    try:
        with log_file.open("wb") as log:
            archive = Archive(recipe, work / "apt", log)
            archive.refresh()
            say(f"building Kubernetes {recipe.version} from Debian's source (minutes); log: {log_file}")
            result = work / "result"
            result.mkdir()
            tools = work / "tools"
            archive.unpack(recipe.packages, tools)
            built = _compiled(recipe, archive.source(recipe), work, tools, log)
            archive.unpack([recipe.etcd_package], work / "etcd")
            for file in (*built, work / "etcd/usr/bin/etcd"):
                shutil.move(file, result / file.name)
        result.rename(cache / recipe.label)
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{error.cmd[0]} ended with code {error.returncode}; see {log_file}") from None
    finally:
        # Go writes its module cache read-only; nothing of it is ours to keep.
        shutil.rmtree(work, ignore_errors=True)
    log_file.unlink()
    return Binaries(cache / recipe.label)


def _compiled(recipe: Recipe, tarball: Path, work: Path, tools: Path, log: IO[bytes]) -> list[Path]:
    """Unpack, mend and compile the source; returns the programs."""
    tree = work / "source"
    tree.mkdir()
    subprocess.run(
        ["tar", "--extract", "--file", tarball, "--directory", tree, "--strip-components=1"],
        check=True,
        stdout=log,
        stderr=log,
    )
    _replace_reflect2(tree / "vendor" / _REFLECT2, tools / "usr/share/gocode/src" / _REFLECT2)
    # Where Go looks for Kubernetes' own packages: the tree within itself, as its makefiles do it.
    inside = tree / ".go/src/k8s.io"
    inside.mkdir(parents=True)
    (inside / "kubernetes").symlink_to("../../..")
    targets = " ".join(f"cmd/{program}" for program in recipe.programs)
    subprocess.run(
        ["make", f"WHAT={targets}"],
        cwd=tree,
        env=_environment(recipe, tree, work, tools),
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    output = tree / "_output/local/bin/linux" / architecture()
    return [output / program for program in recipe.programs]


def _replace_reflect2(vendored: Path, mended: Path) -> None:
    for file in (*vendored.glob("*.go"), *vendored.glob("*.s")):
        file.unlink()
    for file in (*mended.glob("*.go"), *mended.glob("*.s")):
        if not file.name.endswith("_test.go"):
            shutil.copy(file, vendored)


def _environment(recipe: Recipe, tree: Path, work: Path, tools: Path) -> dict[str, str]:
    """Only what the makefiles need: a Go setting of the person's must not change what is built."""
    home = work / "home"
    home.mkdir()
    major, minor, _ = recipe.version.split(".")
    version = work / "version"
    version.write_text(
        f"KUBE_GIT_COMMIT={recipe.commit}\nKUBE_GIT_TREE_STATE=archive\n"
        f"KUBE_GIT_VERSION=v{recipe.version}\nKUBE_GIT_MAJOR={major}\nKUBE_GIT_MINOR={minor}\n"
    )
    libraries = sorted(path.parent for path in (tools / "usr/lib").glob("*-linux-gnu/*.so*"))
    path = os.environ.get("PATH", os.defpath)
    return {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(tools / _GOROOT / "bin"), str(tools / "usr/bin"), path]),
        "LD_LIBRARY_PATH": str(libraries[0]) if libraries else "",
        "LANG": "C.UTF-8",
        "GOROOT": str(tools / _GOROOT),
        "GOPATH": str(tree / ".go"),
        "GOPROXY": "off",
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
        "KUBE_GIT_VERSION_FILE": str(version),
    }


@contextmanager
def _alone(lock: Path) -> Generator[None, None, None]:
    """One build at a time; the lock dies with its process."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
