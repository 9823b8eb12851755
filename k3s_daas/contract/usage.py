"""How much a seal may still use of its minute and its day, as the contract counts it (module `usage`).

The contract counts every accepted command, and an estimate of the storage deposit that its payers advance.
"""

from __future__ import annotations

from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls_cluster import Policy
from k3s_daas.contract.objects import UsageState

MINUTE_MS = 60_000
DAY_MS = 86_400_000
# Metered bytes of a request without its texts, and MIST of deposit for one byte.
REQUEST_BYTES = 700
DEPOSIT_PER_BYTE = 7_600


def command_deposit(role: str, attributes: OnChainAttributes) -> int:
    """MIST that the contract counts for one command, whatever its payload (which is not stored)."""
    texts = (role, *attributes.values())
    return (REQUEST_BYTES + sum(len(text.encode()) for text in texts)) * DEPOSIT_PER_BYTE


def kept_ms(policy: Policy, priority: int, *, is_read: bool) -> int:
    """How long a request is kept after its answer (`policy::ttl_ms`), if the policy stays as it is."""
    base_ms = policy.read_ttl_ms if is_read else policy.write_ttl_ms
    return min(base_ms + priority * policy.ttl_per_priority_ms, policy.max_ttl_ms)


def commands_left(usage: UsageState, policy: Policy, now_ms: int) -> int:
    """How many commands the contract takes yet in the minute of `now_ms`; may be negative."""
    used = usage.commands if usage.minute == now_ms // MINUTE_MS else 0
    return policy.commands_per_minute - used


def deposit_left(usage: UsageState, policy: Policy, now_ms: int) -> int:
    """How much deposit (MIST) the contract takes yet on the day (UTC) of `now_ms`; may be negative."""
    used = usage.deposit if usage.day == now_ms // DAY_MS else 0
    return policy.deposit_per_day - used
