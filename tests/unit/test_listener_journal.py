"""The journal: what survives a restart, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from k3s_daas.errors import ConfigurationError
from listener_service.frontier import Frontier
from listener_service.journal import Journal, JournalEntry
from listener_service.journal_writer import JournalWriter

CLUSTER = bytes(31) + b"\x01"


def open_journal(directory: Path, *, chain_id: str = "chain", cluster: bytes = CLUSTER) -> Journal:
    return Journal(directory, chain_id=chain_id, cluster=cluster)


class CountingJournal(Journal):
    """Remembers how many entries each commit had."""

    def __init__(self, directory: Path, *, chain_id: str, cluster: bytes) -> None:
        super().__init__(directory, chain_id=chain_id, cluster=cluster)
        self.batches: list[int] = []

    def record(self, entries: Sequence[JournalEntry]) -> list[bool]:
        self.batches.append(len(entries))
        return super().record(entries)


def entry(number: int, *, answer_by_ms: int = 10_000) -> JournalEntry:
    return JournalEntry(
        seal=bytes(32),
        request_id=number.to_bytes(16, "big"),
        reply_key=b"k" * 1216,
        transaction_digest=f"digest{number}",
        event_index=0,
        recorded_at_ms=1_000 + number,
        answer_by_ms=answer_by_ms,
    )


def test_a_recorded_mutation_is_new_once_even_after_a_restart(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    assert journal.record([entry(1), entry(2), entry(1)]) == [True, True, False]
    journal.close()

    journal = open_journal(tmp_path)
    assert journal.record([entry(2), entry(3)]) == [False, True]
    assert [found.request_id for found in journal.unanswered()] == [entry(n).request_id for n in (1, 2, 3)]
    journal.close()


def test_only_unanswered_entries_are_handed_to_a_successor(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.record([entry(1), entry(2)])
    journal.mark_answered([(bytes(32), entry(1).request_id)])
    journal.close()

    journal = open_journal(tmp_path)
    assert journal.unanswered() == [entry(2)]
    assert journal.is_recorded(bytes(32), entry(1).request_id)
    assert journal.record([entry(1)]) == [False]
    journal.close()


def test_entries_are_kept_until_well_after_answer_by(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.record([entry(1, answer_by_ms=10_000), entry(2, answer_by_ms=2_000_000)])
    assert journal.forget(now_ms=11_000) == 0
    assert journal.forget(now_ms=1_000_000) == 1
    assert not journal.is_recorded(bytes(32), entry(1).request_id)
    assert journal.is_recorded(bytes(32), entry(2).request_id)
    journal.close()


def test_watermark_and_birth_survive(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    assert journal.watermark() is None
    journal.set_watermark(17)
    assert journal.birth_ms(5_000) == 5_000
    journal.close()

    journal = open_journal(tmp_path)
    assert journal.watermark() == 17
    assert journal.birth_ms(9_000) == 5_000
    journal.close()


def test_a_second_listener_cannot_use_the_same_directory(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(ConfigurationError, match=r"DAAS_STATE_DIR.*in use by another listener"):
        open_journal(tmp_path)
    journal.close()
    open_journal(tmp_path).close()


@pytest.mark.parametrize(("chain_id", "cluster"), [("elsewhere", CLUSTER), ("chain", bytes(32))])
def test_a_journal_of_another_chain_or_cluster_is_refused(
    tmp_path: Path, chain_id: str, cluster: bytes
) -> None:
    open_journal(tmp_path).close()
    with pytest.raises(ConfigurationError, match="journal of another"):
        open_journal(tmp_path, chain_id=chain_id, cluster=cluster)


def test_an_unusable_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="DAAS_STATE_DIR"):
        open_journal(tmp_path / "file")


async def test_concurrent_records_share_commits_and_answer_each_caller(tmp_path: Path) -> None:
    journal = CountingJournal(tmp_path, chain_id="chain", cluster=CLUSTER)
    writer = JournalWriter(journal)
    results = await asyncio.gather(*(writer.record(entry(n % 50)) for n in range(100)))
    assert sum(results) == 50
    assert sum(journal.batches) == 100
    assert len(journal.batches) < 100
    await writer.close()


async def test_a_disk_failure_reaches_everybody_who_waits(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.close()
    writer = JournalWriter(journal)
    outcomes = await asyncio.gather(*(writer.record(entry(n)) for n in range(3)), return_exceptions=True)
    assert all(isinstance(outcome, Exception) for outcome in outcomes)


def test_the_watermark_stays_behind_unsettled_events() -> None:
    frontier = Frontier()
    assert frontier.watermark is None
    frontier.delivered(("a", 0), 5)
    frontier.delivered(("b", 0), 7)
    frontier.cover(9)
    assert frontier.watermark == 4
    frontier.settled(("a", 0))
    assert frontier.watermark == 6
    frontier.settled(("b", 0))
    assert frontier.watermark == 9
    frontier.cover(8)
    assert frontier.watermark == 9


def test_an_event_in_a_checkpoint_not_yet_covered_does_not_move_the_watermark_ahead() -> None:
    frontier = Frontier(covered=3)
    frontier.delivered(("a", 0), 8)
    assert frontier.watermark == 3
    frontier.settled(("a", 0))
    assert frontier.watermark == 3


def test_an_event_without_a_checkpoint_holds_the_watermark() -> None:
    frontier = Frontier(covered=3)
    frontier.delivered(("a", 0), None)
    frontier.cover(10)
    assert frontier.watermark == 3
