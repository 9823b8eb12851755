"""The benchmark reads the gateway's own log; it must count each request once."""

from __future__ import annotations

from pathlib import Path

from chalicelib.journey import Journey

from k3s_daas.attributes import parse_attributes
from tests.bench.latency import gateway_ms_of


def test_a_request_counts_with_its_total_and_nothing_else_does(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    lines = ["not of the gateway"]
    for path in ("/api/v1/namespaces", "/api/v1/pods", "/api/v1/namespaces"):
        times = iter([0.0, 1.0, 3.0, 4.0])
        journey = Journey(monotonic=times.__next__)
        with journey.stage("wait"):
            pass
        journey.attributes = parse_attributes("GET", path, "")
        lines.append(journey.log_line(code=200, reason=None))
    log.write_text("\n".join(lines))
    assert gateway_ms_of(log, 50) == [4000.0, 4000.0]
    assert gateway_ms_of(log, 1) == [4000.0]
