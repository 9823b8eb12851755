import os
import signal
import sys
import time
from pathlib import Path

import pytest

from infra.local.stack.processes import StackError, Supervisor

READY = "import json,time; print(json.dumps({'ready': True, 'port': 7}), flush=True); time.sleep(60)"
FAILS = "import sys; print('no such thing', file=sys.stderr); sys.exit(3)"
PARENT = (
    "import json,subprocess,sys,time;"
    "c=subprocess.Popen([sys.executable,'-c','import time; time.sleep(60)']);"
    "print(json.dumps({'ready': True, 'child': c.pid}), flush=True); time.sleep(60)"
)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone_soon(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def test_a_part_that_said_nothing_but_that_it_was_ready_has_no_last_words(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    part = supervisor.start("quiet", python(READY.replace("60", "0")), os.environ)
    assert part.wait_ready(20)["port"] == 7
    supervisor.stop()
    assert part.last_words() == f"see {tmp_path / 'quiet.log'}"


def test_a_part_tells_its_port_when_it_is_ready_and_ends_with_the_stack(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    part = supervisor.start("server", python(READY), os.environ)
    assert part.wait_ready(20)["port"] == 7
    assert supervisor.pids == {"server": part.pid}

    supervisor.stop()

    assert part.process.poll() == -signal.SIGTERM


def test_the_workers_of_a_part_end_with_it(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    child = supervisor.start("server", python(PARENT), os.environ).wait_ready(20)["child"]

    supervisor.stop()

    assert gone_soon(child)


def test_a_part_that_fails_to_start_is_quoted(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    part = supervisor.start("ledger", python(FAILS), os.environ)
    with pytest.raises(StackError, match=r"the ledger ended with code 3: no such thing"):
        part.wait_ready(20)
    supervisor.stop()


def test_a_part_that_says_nothing_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    part = supervisor.start("mute", python("import time; time.sleep(60)"), os.environ)
    with pytest.raises(StackError, match="mute was not ready"):
        part.wait_ready(0.1)
    supervisor.stop()


def test_parts_end_when_the_stack_is_killed(tmp_path: Path) -> None:
    outer = (
        "import os,sys,time,pathlib;"
        "from infra.local.stack.processes import Supervisor;"
        f"s=Supervisor(pathlib.Path({str(tmp_path)!r}));"
        f"p=s.start('server',[sys.executable,'-c',{READY!r}],os.environ); p.wait_ready(20);"
        'print(\'{"ready": true, "child": %d}\' % p.pid, flush=True); time.sleep(60)'
    )
    supervisor = Supervisor(tmp_path / "outer")
    part = supervisor.start("stack", python(outer), os.environ)
    child = part.wait_ready(20)["child"]
    os.kill(part.pid, signal.SIGKILL)
    assert gone_soon(child)
    supervisor.stop()
