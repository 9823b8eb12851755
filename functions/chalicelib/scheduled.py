"""What the gateway does on a schedule, with nobody waiting for it."""

from __future__ import annotations

from chalicelib.loop import EventLoopThread
from chalicelib.metrics import MIST_PER_SUI, Metrics, Sample
from chalicelib.reclaim import Reclaimed, Reclaimer
from chalicelib.sweeper import Sweep, Sweeper
from k3s_daas.sui.ledger import Ledger

BALANCE_TIMEOUT_S = 20.0


class ScheduledDuties:
    """One run of each per call. `payer` is the address that pays this gateway's gas."""

    def __init__(
        self,
        *,
        sweeper: Sweeper,
        reclaimer: Reclaimer,
        ledger: Ledger,
        loop: EventLoopThread,
        payer: bytes,
        metrics: Metrics,
    ) -> None:
        self._sweeper = sweeper
        self._reclaimer = reclaimer
        self._ledger = ledger
        self._loop = loop
        self._payer = payer
        self._metrics = metrics

    def sweep(self) -> Sweep:
        """Go on with what functions that died have left. See `sweeper`."""
        swept = self._sweeper.sweep()
        failures = swept.failed + swept.broken_off
        self._metrics.emit([Sample({"SweptRecords": swept.moved, "SweepFailures": failures})])
        return swept

    def reclaim(self) -> Reclaimed:
        """Take finished requests off the chain. See `reclaim`."""
        done = self._reclaimer.reclaim()
        self._metrics.emit([Sample({"ReclaimedRequests": done.reclaimed, "ReclaimFailures": done.failed})])
        return done

    def report_balance(self, function_name: str) -> None:
        """Log what the gateway's address can still pay with. Raises LedgerError."""
        balance = self._loop.ask(
            self._ledger.balance(self._payer),
            timeout_s=BALANCE_TIMEOUT_S,
            late="the Sui endpoint did not tell the gas balance in time",
        )
        self._metrics.emit([Sample({"GasBalance": balance / MIST_PER_SUI})], function_name)
