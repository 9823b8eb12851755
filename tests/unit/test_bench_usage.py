"""What the benchmark says of CPU and memory."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench.usage import Usage, cpu_per_command_ms, idle_percent, resident_mb


def test_what_is_used_for_nothing_is_not_counted_for_commands() -> None:
    idle = (Usage(0.0, {"a": 1.0}), Usage(10.0, {"a": 1.5}))
    busy = (Usage(20.0, {"a": 2.0}), Usage(40.0, {"a": 5.0}))
    assert idle_percent(idle) == {"a": 5.0}
    assert cpu_per_command_ms(idle, busy, 100) == {"a": 20.0}


def test_a_process_is_read_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    ticks = os.sysconf("SC_CLK_TCK")
    fields = ["S", "1", *("0" for _ in range(9)), str(3 * ticks), str(ticks), "0"]
    (tmp_path / "7" / "stat").write_text(f"7 (a ) name) {' '.join(fields)}\n")
    (tmp_path / "7" / "statm").write_text("900 500 20 1 0 300 0\n")
    assert Usage.of({"a": 7}, tmp_path).cpu_s == {"a": 4.0}
    assert resident_mb({"a": 7}, tmp_path) == {"a": round(500 * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)}
