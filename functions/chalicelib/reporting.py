"""What the gateway's metrics are made of: each request as it ends; once a minute, what the process holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from chalicelib.journey import Journey
from chalicelib.metrics import Metrics, Sample, word
from chalicelib.sizes import Reading, resident_bytes

# Between two reports of caches and memory. What a process counted after its last one is not reported.
EVERY_S = 60.0
# 501 is what the API server would do, too, over a connection that cannot be upgraded.
FAILURE, NOT_SUPPORTED = 500, 501
_TIMES = {"admission": "AdmissionTime", "submit": "SubmitTime", "wait": "WaitTime", "total": "TotalTime"}

Readings = Callable[[], Mapping[str, Reading]]
"""Reads all tables, by name. Raises nothing."""


class Reporter:
    """Used by many request threads at once; two of them may report the same minute."""

    def __init__(
        self, metrics: Metrics, readings: Readings, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._readings = readings
        self._monotonic = monotonic
        self._next_s = float("-inf")
        self._before: Mapping[str, Reading] = {}

    def request(self, journey: Journey, code: int, refusal: str | None) -> None:
        """A request ended with this code; `refusal` is its word if it was refused."""
        counts = {
            "Failures": code >= FAILURE and code != NOT_SUPPORTED and not journey.parked,
            "Parked": journey.parked,
            "Adopted": journey.adopted,
            "Expired": journey.expired,
            "Aborts": journey.aborted,
        }
        values: dict[str, float] = {"Requests": 1}
        values |= {_TIMES[stage]: ms for stage, ms in journey.stages().items()}
        values |= {name: 1 for name, counted in counts.items() if counted}
        if journey.submission_rpcs:
            values["SubmissionRpcs"] = journey.submission_rpcs
        samples = [Sample({"Requests": 1}, {"Code": str(code), "Verbs": journey.verbs})]
        if refusal is not None:
            values["Refusals"] = 1
            samples.append(Sample({"Refusals": 1}, {"Reason": word(refusal)}))
        self._metrics.emit([Sample(values), *samples])
        if self._monotonic() >= self._next_s:
            self._next_s = self._monotonic() + EVERY_S
            self._holdings()

    def _holdings(self) -> None:
        memory = resident_bytes()
        if memory is not None:
            self._metrics.emit([Sample({"MemoryRss": memory})])
        readings = self._readings()
        for name, now in readings.items():
            before = self._before.get(name, Reading(0, 0, 0, 0, 0))
            values = {
                "CacheHits": now.hits - before.hits,
                "CacheMisses": now.misses - before.misses,
                "CacheEvictions": now.evictions - before.evictions,
                "CacheEntries": now.entries,
                "CacheBytes": now.bytes,
            }
            self._metrics.emit([Sample(values, {"Cache": name})])
        self._before = readings
