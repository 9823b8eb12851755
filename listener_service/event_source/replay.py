"""How far back a source looks: from its watermark, or without one as far as an answer may still be wanted."""

from __future__ import annotations

from dataclasses import dataclass

from k3s_daas.sui.ledger import ServiceInfo

# How far an endpoint may lag behind another one: ten minutes at four checkpoints per second.
_LAG_CHECKPOINTS = 2_400


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """How far back to look without a watermark.

    `window_ms` is the longest answer_by. Where an endpoint does not tell a checkpoint by time, the window is
    counted in checkpoints at the fastest rate that a chain makes them: too far back costs a longer list,
    never a lost request.
    """

    window_ms: int
    fastest_checkpoints_per_second: int = 20

    def first_checkpoint(self, info: ServiceInfo) -> int:
        """The checkpoint to start listing at."""
        reach = self.window_ms * self.fastest_checkpoints_per_second // 1000
        return max(info.lowest_available_checkpoint, info.checkpoint - reach, 0)


def is_far_beyond(watermark: int, tip: int) -> bool:
    """Whether an endpoint with this tip cannot be one that merely lags: somebody lied about the chain's
    tip.
    """
    return watermark > tip + _LAG_CHECKPOINTS
