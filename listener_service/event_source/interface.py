"""The EventSource port: every request event, from a watermark on, for as long as the process lives.

Guarantees of every implementation:

1. Nothing is lost. Every matching event in a checkpoint above the watermark is delivered, whatever happens to
   connections in between.
2. Nothing is delivered twice in one process: one endpoint's duplicates are dropped by event position
   (transaction digest and event index), those of several if they say the same. Across a restart events may
   come again; the claims and the chain tell what was done.
3. `Covered(c)` comes only after every event of every checkpoint up to and including `c` was delivered, and
   never goes back. Only it may move the watermark.
4. It reads on only when the consumer asks: a consumer that is full stops the stream.
5. It never ends by itself and hides every transient failure. It raises only what needs a person:
   `WatermarkGapError`, and `ConfigurationError` for an endpoint of another chain.
6. Nothing it delivers is verified. An endpoint can invent events; believing none is the verifier's job.
7. Replayed events of one endpoint come in the order in which it lists them. Live ones come as they are
   pushed: nothing may depend on the order of two of them.
8. An event that does not tell its checkpoint counts as lying behind the last `Covered`.
9. A stream that is dead is given up within 30 seconds, and tried again after at most 15 more.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from k3s_daas.errors import DaasError
from k3s_daas.sui.ledger import ChainEvent


@dataclass(frozen=True, slots=True)
class SourcedEvent:
    """One event. `replayed` says that it came from the past, so it may have been dealt with before."""

    event: ChainEvent
    replayed: bool


@dataclass(frozen=True, slots=True)
class Covered:
    """Every event up to and including this checkpoint has been delivered."""

    checkpoint: int


SourceItem = SourcedEvent | Covered


class WatermarkGapError(DaasError):
    """The endpoint no longer holds the events that follow the stored watermark."""

    def __init__(self, watermark: int, lowest: int) -> None:
        super().__init__(
            f"the stored watermark is checkpoint {watermark}, but the endpoint holds nothing below "
            f"checkpoint {lowest}: requests in between would be lost. Point DAAS_SUI_ENDPOINT, "
            "DAAS_SUI_ENDPOINTS or DAAS_SUI_WEBSOCKET_URL at one that still has them, or accept the loss "
            f"with DAAS_RESUME_AFTER_CHECKPOINT={lowest - 1} "
            "(requests whose answer_by has passed cannot be answered anyway)"
        )
        self.watermark = watermark
        self.lowest = lowest


class EventSource(Protocol):
    """A source of request events. The guarantees are in the module docstring."""

    def items(self, watermark: int | None) -> AsyncGenerator[SourceItem, None]:
        """Events after checkpoint `watermark` (None: as far back as an answer may still be wanted), then
        live ones.

        Close it with `aclose()`.
        """
        ...
