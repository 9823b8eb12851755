"""Gas: computation in steps, storage deposits, and who pays.

Storage follows Sui's formula: 76 MIST for each of 100 units per metered byte, of which 99 % come back when
the object changes or ends. (The accumulator objects that hold address balances on Sui cost nothing here.)

Computation is an approximation. Sui sums the units of all commands and rounds up to the next 1,000. The
local VM tells of each call only the bucket that its units fall in, the work of the driver around it included.
A call in the smallest bucket (0 to 1,000 units) is counted as 200 units here, any other as the lower bound of
its bucket plus that; the sum is rounded as on Sui. What validators charge besides (bytes read, written and
published) is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

COMPUTATION_STEP = 1_000
"""Gas units of a transaction are rounded up to a multiple of this."""
MAX_COMPUTATION = 5_000_000
CALL_UNITS = 200
"""What a call is taken for of which the VM only says that it is in the smallest bucket."""
VM_BUCKETS = (1_000, 5_000, 10_000, 20_000, 50_000, 200_000, 1_000_000, MAX_COMPUTATION)
"""Upper bounds of the buckets that the VM reports."""
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


def call_units(reported: int) -> int:
    """Units of a call of which the VM reports this bucket."""
    return CALL_UNITS + max((bound for bound in VM_BUCKETS if bound < reported), default=0)


def computation_cost(units: int, price: int) -> int:
    """MIST for a transaction; every transaction pays at least one step."""
    steps = max(1, -(-units // COMPUTATION_STEP))
    return min(steps * COMPUTATION_STEP, MAX_COMPUTATION) * price


def storage_deposit(metered_bytes: int) -> int:
    return metered_bytes * STORAGE_UNITS_PER_BYTE * STORAGE_PRICE


def storage_summary(computation: int, deposits_after: int, deposits_before: int) -> GasSummary:
    """The summary for a transaction that replaces deposits of ``deposits_before`` by ``deposits_after``."""
    rebate = (deposits_before * REBATE_BASIS_POINTS + 5_000) // 10_000
    return GasSummary(computation, deposits_after, rebate, deposits_before - rebate)
