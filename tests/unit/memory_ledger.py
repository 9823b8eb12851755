"""A Sui endpoint in memory, as far as gateway and listener may use one."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from k3s_daas.errors import LedgerUnavailableError
from k3s_daas.sui.ledger import (
    ChainObject,
    ChainTransaction,
    EpochInfo,
    EventFilter,
    EventFrame,
    EventPage,
    ExecutionOutcome,
    ServiceInfo,
    SignedTransaction,
)
from tests.unit.contract_world import CHAIN_ID


@dataclass
class MemoryLedger:
    """A `Ledger` whose objects and transactions a test sets; it counts what it is asked.

    What neither half of the product may ask of its endpoint is an assertion error.
    """

    objects: dict[bytes, ChainObject] = field(default_factory=dict)
    transactions: dict[str, SignedTransaction] = field(default_factory=dict)
    executed: list[bytes] = field(default_factory=list)
    chain_id: str = CHAIN_ID
    checkpoint: int = 100
    lowest: int = 0
    timestamp_ms: int = 0
    epoch_info: EpochInfo = field(default_factory=lambda: EpochInfo(7, 1_000))
    away: bool = False
    calls: Counter[str] = field(default_factory=Counter)

    def put(self, found: ChainObject) -> None:
        self.objects[found.id] = found

    def asked(self, name: str) -> None:
        self.calls[name] += 1
        if self.away:
            raise LedgerUnavailableError("the scripted endpoint is away")

    async def service_info(self) -> ServiceInfo:
        self.asked("service_info")
        return ServiceInfo(
            self.chain_id, self.epoch_info.epoch, self.checkpoint, self.lowest, self.timestamp_ms
        )

    async def epoch(self) -> EpochInfo:
        self.asked("epoch")
        return self.epoch_info

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        self.asked("get_object")
        return self.objects.get(object_id)

    async def get_objects(self, object_ids: Sequence[bytes]) -> list[ChainObject | None]:
        return [await self.get_object(object_id) for object_id in object_ids]

    async def get_signed_transaction(self, digest: str) -> SignedTransaction | None:
        self.asked("get_signed_transaction")
        return self.transactions.get(digest)

    async def get_transaction(self, digest: str) -> ChainTransaction | None:
        raise AssertionError("effects and events are not what a command is checked by")

    async def execute(self, transaction: bytes, signature: bytes) -> ExecutionOutcome:
        self.asked("execute")
        self.executed.append(transaction)
        return self.effect(transaction)

    def effect(self, transaction: bytes) -> ExecutionOutcome:
        """What the transaction does."""
        raise AssertionError("nothing is executed here")

    async def simulate(self, transaction: bytes) -> ExecutionOutcome:
        raise AssertionError("nothing is simulated")

    async def balance(self, address: bytes) -> int:
        raise AssertionError("nobody asks for a balance")

    def list_events(
        self,
        event_filter: EventFilter,
        start_checkpoint: int | None,
        end_checkpoint: int | None = None,
        after: bytes | None = None,
    ) -> AsyncGenerator[EventPage, None]:
        raise AssertionError("nobody reads events here")

    def subscribe_events(
        self, event_filter: EventFilter, *, idle_timeout_s: float | None = None
    ) -> AsyncGenerator[EventFrame, None]:
        raise AssertionError("nobody subscribes here")

    async def list_owned_objects(self, owner: bytes, object_type: str) -> list[ChainObject]:
        raise AssertionError("nobody asks for what he owns")

    async def close(self) -> None:
        """Nothing to end."""
