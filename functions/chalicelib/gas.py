"""What the gateway's address can still pay with, as a metric that an alarm can watch."""

from __future__ import annotations

import json

METRIC, NAMESPACE, DIMENSION = "GasBalance", "K3sDaas", "FunctionName"
MIST_PER_SUI = 1_000_000_000


def balance_metric(balance_mist: int, function_name: str, now_ms: int) -> str:
    """A log line from which CloudWatch makes the metric, in SUI (its embedded metric format).

    The dimension is the function that reports: the alarm's template knows its name, and no address.
    """
    definition = {
        "Namespace": NAMESPACE,
        "Dimensions": [[DIMENSION]],
        "Metrics": [{"Name": METRIC, "Unit": "None"}],
    }
    return json.dumps(
        {
            "_aws": {"Timestamp": now_ms, "CloudWatchMetrics": [definition]},
            "event": "gas-balance",
            DIMENSION: function_name,
            METRIC: balance_mist / MIST_PER_SUI,
        }
    )
