"""Gas: computation in buckets, storage deposits, and who pays.

An approximation of Sui's rules, in three points. Computation units come from the local VM, which meters less
than a validator does, and are rounded up to Sui's buckets. Storage costs 76 MIST for each of 100 units per
metered byte, and 99 % of a deposit comes back when the object changes or ends. The accumulator objects that
hold address balances on Sui cost nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass

COMPUTATION_BUCKETS = (1_000, 5_000, 10_000, 20_000, 50_000, 200_000, 1_000_000, 5_000_000)
"""Gas units are rounded up to the next of these."""
STORAGE_UNITS_PER_BYTE = 100
STORAGE_PRICE = 76
"""MIST per storage unit."""
REBATE_BASIS_POINTS = 9_900
"""The share of a storage deposit that is paid back, in 1/10,000."""
MIN_BUDGET_UNITS = 1_000
"""The smallest budget in units of the gas price."""
MAX_BUDGET = 50_000_000_000
"""50 SUI."""
MAX_GAS_OBJECTS = 256


@dataclass(frozen=True, slots=True)
class GasSummary:
    """All in MIST."""

    computation_cost: int = 0
    storage_cost: int = 0
    storage_rebate: int = 0
    non_refundable_storage_fee: int = 0

    @property
    def net(self) -> int:
        """What the payer loses; negative if he gains."""
        return self.computation_cost + self.storage_cost - self.storage_rebate

    def __add__(self, other: GasSummary) -> GasSummary:
        return GasSummary(
            self.computation_cost + other.computation_cost,
            self.storage_cost + other.storage_cost,
            self.storage_rebate + other.storage_rebate,
            self.non_refundable_storage_fee + other.non_refundable_storage_fee,
        )


def computation_cost(units: int, price: int) -> int:
    bucket = next((bound for bound in COMPUTATION_BUCKETS if units <= bound), COMPUTATION_BUCKETS[-1])
    return bucket * price


def storage_deposit(metered_bytes: int) -> int:
    return metered_bytes * STORAGE_UNITS_PER_BYTE * STORAGE_PRICE


def storage_summary(computation: int, deposits_after: int, deposits_before: int) -> GasSummary:
    """The summary for a transaction that replaces deposits of ``deposits_before`` by ``deposits_after``."""
    rebate = (deposits_before * REBATE_BASIS_POINTS + 5_000) // 10_000
    return GasSummary(computation, deposits_after, rebate, deposits_before - rebate)
