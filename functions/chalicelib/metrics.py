"""The gateway's metrics, as log lines from which CloudWatch makes them (its embedded metric format).

`UNITS` is the closed list of metrics. Dimensions have few values: a function, a code, a class of verbs, a
refusal's word, a cache; never a seal, an address, a name or a path, for each new value is one more metric.
docs/operations.md says what each one means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

from chalicelib.journey import Log

NAMESPACE, FUNCTION = "K3sDaas", "FunctionName"
MIST_PER_SUI = 1_000_000_000

UNITS = {
    "Requests": "Count",
    "Refusals": "Count",
    "Failures": "Count",
    "AdmissionTime": "Milliseconds",
    "SubmitTime": "Milliseconds",
    "WaitTime": "Milliseconds",
    "TotalTime": "Milliseconds",
    "Parked": "Count",
    "Adopted": "Count",
    "Expired": "Count",
    "Aborts": "Count",
    "SubmissionRpcs": "Count",
    "CacheHits": "Count",
    "CacheMisses": "Count",
    "CacheEvictions": "Count",
    "CacheEntries": "Count",
    "CacheBytes": "Bytes",
    "MemoryRss": "Bytes",
    "SweptRecords": "Count",
    "SweepFailures": "Count",
    "ReclaimedRequests": "Count",
    "ReclaimFailures": "Count",
    "GasBalance": "None",
}
# What a word from an error may look like; anything else would be a new metric for each new text.
_WORD = re.compile(r"[A-Za-z][A-Za-z:-]{0,63}")


class Sample(NamedTuple):
    """Values by name of metric, all under the same further dimensions."""

    values: Mapping[str, float]
    dimensions: Mapping[str, str] = {}


class Metrics:
    """Writes one line for any number of samples; used by many request threads at once."""

    def __init__(self, log: Log, now_ms: Callable[[], int], function: str) -> None:
        self._log = log
        self._now_ms = now_ms
        self._function = function

    def emit(self, samples: Iterable[Sample], function: str | None = None) -> None:
        """Report the samples, under this function's name or another one's.

        The values of one line are shared: what is reported under several dimensions has one value.
        """
        document: dict[str, Any] = {}
        directives: list[Any] = []
        for sample in samples:
            provider = AmazonCloudWatchEMFProvider(
                namespace=NAMESPACE, default_dimensions={FUNCTION: function or self._function}
            )
            # From the environment, where it would be one more dimension.
            provider.service = ""
            for name, text in sample.dimensions.items():
                provider.add_dimension(name, text)
            for name, value in sample.values.items():
                provider.add_metric(name, UNITS[name], value)
            made: dict[str, Any] = {**provider.serialize_metric_set()}
            directives += made.pop("_aws")["CloudWatchMetrics"]
            document |= made
        if directives:
            about = {"Timestamp": self._now_ms(), "CloudWatchMetrics": directives}
            self._log(json.dumps({"_aws": about, "event": "metrics", **document}))


def word(text: str) -> str:
    """A refusal's word as the value of a dimension."""
    return text if _WORD.fullmatch(text) else "other"
