"""``daas up``: it says what is wrong in one sentence, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DAAS = Path(sys.executable).parent / "daas"
pytestmark = pytest.mark.timeout(180)


def fails(*arguments: str, path: str | None = None) -> str:
    """Run ``daas up`` where it cannot work; returns what it says, without the progress lines."""
    environment = dict(os.environ) if path is None else {**os.environ, "PATH": path}
    done = subprocess.run(
        [str(DAAS), "up", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=90,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def session_members(pids: set[int]) -> set[int]:
    """All live processes whose session one of ``pids`` leads."""
    alive = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) in pids and fields[0] != "Z":
                alive.add(int(entry.name))
    return alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_soon_and_leaves_no_process(own_stack: Any, number: signal.Signals) -> None:
    stack = own_stack()
    leaders = set(stack.pids.values())
    assert session_members(leaders) >= leaders

    stack.process.send_signal(number)
    # It takes 2 s; with other tests beside this one the machine may need longer.
    assert stack.process.wait(20) == 0
    assert session_members(leaders) == set()
    assert not (stack.state / "pids.json").exists()


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = fails("--port", str(port), "--state", str(tmp_path / "s"))
    assert f"port {port}" in said
    assert "--port" in said


def test_an_unreachable_kubeconfig_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\n"
        f"clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{port}'}}}}]\n"
        "users: [{name: u, user: {token: t}}]\n"
        "contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n"
    )
    said = fails("--port", "0", "--state", str(tmp_path / "s"), "--kubeconfig", str(kubeconfig))
    assert f"{kubeconfig} cannot be reached" in said
    assert "Connection refused" in said
    assert "HTTPSConnection" not in said


def test_a_missing_kubeconfig_is_one_sentence(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert str(absent) in fails("--port", "0", "--state", str(tmp_path / "s"), "--kubeconfig", str(absent))


def test_a_file_that_is_no_kubeconfig_is_one_sentence(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_text("token-of-somebody")
    said = fails("--port", "0", "--state", str(tmp_path / "s"), "--kubeconfig", str(garbage))
    assert f"{garbage} is no kubeconfig" in said
    assert "token-of-somebody" not in said


def test_a_port_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    assert "port 99999" in fails("--port", "99999", "--state", str(tmp_path / "s"))


def test_a_state_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "--state" in fails("--port", "0", "--state", str(file / "s"))


def test_a_missing_node_is_one_sentence(tmp_path: Path) -> None:
    """A PATH with the usual tools, but no Node and no sui."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "uname", "ldconfig", "gcc"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    said = fails("--port", "0", "--state", str(tmp_path / "s"), path=str(tools))
    assert "Node" in said


def test_two_stacks_do_not_share_a_state_directory(shared_stack: Any) -> None:
    said = fails("--port", "0", "--state", str(shared_stack.state))
    assert "already" in said
    assert shared_stack.kubectl().run("get", "ns").code == 0
