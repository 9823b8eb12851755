"""Source and binary packages out of the Debian archive that this machine's apt uses, without installing any.

apt gets lists and a cache of its own: the machine's are neither needed nor touched, and no root is needed.
apt checks every file against the archive's signature, as it does when it installs.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from infra.local.apiserver.errors import BuildError, UnsupportedPlatformError
from infra.local.apiserver.recipe import Recipe, architecture

_ONE_LINE = re.compile(r"^deb(?:-src)?\s+((?:\[[^\]]*\]\s+)?\S+\s+(\S+)\s.*)$")
_TOOLS = ("apt-get", "dpkg-deb", "tar", "make", "bash")


def check_platform(recipe: Recipe, sources: Path = Path("/etc/apt")) -> None:
    """Whether this machine can get the packages, as far as one can tell without asking the archive.

    Raises:
        UnsupportedPlatformError: it cannot; says why.
    """
    release = _os_release()
    if (release.get("ID"), release.get("VERSION_CODENAME")) != ("debian", recipe.codename):
        raise UnsupportedPlatformError(
            f"the real API server is built from the packages of Debian {recipe.codename}, "
            f"and this is {release.get('PRETTY_NAME', platform.system())}"
        )
    if architecture() not in ("amd64", "arm64"):
        raise UnsupportedPlatformError(
            f"the real API server is built for amd64 and arm64, not for {architecture()}"
        )
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise UnsupportedPlatformError(f"to build the real API server, install {', '.join(missing)}")
    if not source_entries(sources, recipe.codename):
        raise UnsupportedPlatformError(f"apt knows no archive of Debian {recipe.codename}: see {sources}")


def source_entries(directory: Path, codename: str) -> list[tuple[str, str]]:
    """The release's own entries in apt's sources, for packages and their sources.

    Pairs of (suffix of the file, text), in either of apt's formats (sources.list(5)). Entries of other
    releases and of other vendors are left out: they may have no sources, and we want nothing of theirs.
    """
    files = [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))]
    found: list[tuple[str, str]] = []
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        text = file.read_text(errors="replace")
        entries = _stanzas(text, codename) if file.suffix == ".sources" else _lines(text, codename)
        found += [(file.suffix, entry) for entry in entries]
    return found


class Archive:
    """A view of the archive with its state in a directory of ours; call `refresh` first."""

    def __init__(self, recipe: Recipe, directory: Path, log: IO[bytes], etc: Path = Path("/etc/apt")) -> None:
        self._log = log
        self._directory = directory
        sources = directory / "sources.d"
        sources.mkdir(parents=True)
        for index, (suffix, text) in enumerate(source_entries(etc, recipe.codename)):
            (sources / f"{index}{suffix}").write_text(text + "\n")
        for name in ("lists/partial", "cache/archives/partial"):
            (directory / name).mkdir(parents=True)
        self._options = [
            "-o" + option
            for option in (
                "Dir::Etc::SourceList=/dev/null",
                f"Dir::Etc::SourceParts={sources}",
                f"Dir::State::Lists={directory / 'lists'}",
                f"Dir::Cache={directory / 'cache'}",
                # Our directories may be closed to the user that apt downloads as.
                "APT::Sandbox::User=",
                "APT::Update::Error-Mode=any",
                "Acquire::Languages=none",
                "Acquire::Retries=2",
                "Acquire::http::Timeout=20",
                "Acquire::https::Timeout=20",
            )
        ]

    def refresh(self) -> None:
        """Ask the archive what it has.

        Raises:
            UnsupportedPlatformError: it does not answer.
        """
        done = self._apt("update")
        if done.returncode:
            raise UnsupportedPlatformError(f"Debian's archive cannot be reached: {_complaint(done)}")

    def source(self, recipe: Recipe) -> Path:
        """The upstream tarball of the source package.

        Raises:
            UnsupportedPlatformError: the archive has another version by now. BuildError: no download.
        """
        directory = self._directory / "source"
        directory.mkdir()
        self._download(directory, "source", "--download-only", recipe.source)
        tarballs = sorted(directory.glob("*.orig.tar.*"))
        wanted = [file for file in tarballs if f"{recipe.version}.orig" in file.name]
        if not wanted:
            have = ", ".join(file.name for file in tarballs) or "nothing"
            raise UnsupportedPlatformError(
                f"Debian's archive has no {recipe.source} {recipe.version} any more, but {have}"
            )
        return wanted[0]

    def unpack(self, packages: Iterable[str], target: Path) -> None:
        """Download binary packages and unpack their files below `target`.

        Raises:
            BuildError: one cannot be had.
        """
        directory = self._directory / "packages"
        directory.mkdir(exist_ok=True)
        self._download(directory, "download", *packages)
        for file in sorted(directory.glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", file, target], check=True, stdout=self._log)
            file.unlink()

    def _download(self, directory: Path, *arguments: str) -> None:
        done = self._apt(*arguments, cwd=directory)
        if done.returncode:
            raise BuildError(f"apt-get {' '.join(arguments)}: {_complaint(done)}")

    def _apt(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
        command = ["apt-get", "-q", *self._options, *arguments]
        done = subprocess.run(command, cwd=cwd, stdout=self._log, stderr=subprocess.PIPE, check=False)
        self._log.write(done.stderr)
        self._log.flush()
        return done


def _stanzas(text: str, codename: str) -> list[str]:
    """The deb822 stanzas of a release: their types widened to sources, comments left out."""
    kept = []
    for stanza in re.split(r"\n[ \t]*\n", text):
        lines = [line for line in stanza.splitlines() if line.strip() and not line.startswith("#")]
        fields = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        suites = fields.get("suites", "").split()
        if fields.get("enabled", "yes").lower() != "no" and _are_of(suites, codename):
            others = [line for line in lines if line.partition(":")[0].strip().lower() != "types"]
            kept.append("\n".join(["Types: deb deb-src", *others]))
    return kept


def _lines(text: str, codename: str) -> list[str]:
    """The one-line entries of a release, each once for packages and once for sources."""
    matches = [match for line in text.splitlines() if (match := _ONE_LINE.match(line.strip()))]
    rest = dict.fromkeys(match[1] for match in matches if _are_of([match[2]], codename))
    return [f"deb {entry}\ndeb-src {entry}" for entry in rest]


def _are_of(suites: Sequence[str], codename: str) -> bool:
    """Whether all suites are of the release: itself, or its updates, security or backports."""
    return bool(suites) and all(
        re.fullmatch(rf"{codename}(-[a-z-]+|/updates)?", suite.rstrip("/")) for suite in suites
    )


def _complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")]
    return (errors or lines or [f"exit code {done.returncode}"])[0].removeprefix("E:").strip()


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
