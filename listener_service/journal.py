"""What a restart must know: the watermark, and every mutation that may have run.

A mutation is in here, on disk, before its first byte goes to the API server; so after a crash an entry
without an answer means "it may have run". It is then answered "outcome unknown" and never run again.

One sqlite file, WAL with full synchronisation: a commit that returned survives a power cut. The file holds no
secret: reply keys are public halves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from k3s_daas.errors import ConfigurationError

_SCHEMA_VERSION = 1
_FILE_NAME = "journal.sqlite3"
# An entry outlives its answer_by by this much, so that clocks that differ by minutes cannot bring a request
# back.
_RETENTION_MS = 10 * 60_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mutations (
    seal BLOB NOT NULL,
    request_id BLOB NOT NULL,
    reply_key BLOB NOT NULL,
    transaction_digest TEXT NOT NULL,
    event_index INTEGER NOT NULL,
    recorded_at_ms INTEGER NOT NULL,
    answer_by_ms INTEGER NOT NULL,
    answered INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (seal, request_id)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One mutation, with all that answering it takes. Times in Unix ms; `reply_key` is the HPKE public
    key.
    """

    seal: bytes
    request_id: bytes
    reply_key: bytes
    transaction_digest: str
    event_index: int
    recorded_at_ms: int
    answer_by_ms: int


class Journal:
    """The file. Synchronous, for one thread at a time (see `JournalWriter`).

    1. `record` returns after the entries are on disk, and says for each whether it is new. An entry that is
       not new must not be executed.
    2. Nothing is removed before its `answer_by`.
    3. One process at a time: a second one fails to open it.
    """

    def __init__(self, state_dir: Path, *, chain_id: str, cluster: bytes) -> None:
        """Raises `ConfigurationError` if the directory is unusable, taken, or belongs to another cluster."""
        path = state_dir / _FILE_NAME
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            # The first write takes the exclusive lock, and keeps it until the file is closed.
            self._set_fact("opened", "1")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise ConfigurationError(
                    f"DAAS_STATE_DIR: {path} is in use by another listener: "
                    "stop that one, or give this one its own directory"
                ) from error
            raise ConfigurationError(f"DAAS_STATE_DIR: {path} cannot be opened: {error}") from error
        except (OSError, sqlite3.DatabaseError) as error:
            raise ConfigurationError(f"DAAS_STATE_DIR: {path} cannot be used: {error}") from error
        self._bind("schema", str(_SCHEMA_VERSION))
        self._bind("chain", chain_id)
        self._bind("cluster", cluster.hex())

    def _bind(self, name: str, value: str) -> None:
        """The file belongs to what it was made for: positions and requests mean nothing elsewhere."""
        stored = self._fact(name)
        if stored is None:
            self._set_fact(name, value)
        elif stored != value:
            self._db.close()
            raise ConfigurationError(
                f"DAAS_STATE_DIR holds the journal of another {name} ({stored}): "
                "give this listener its own directory"
            )

    def birth_ms(self, chain_now_ms: int) -> int:
        """The chain time at which this journal began; the first call sets it to `chain_now_ms`.

        Mutations accepted before it may have been run by a listener whose journal is lost.
        """
        stored = self._fact("birth_ms")
        if stored is None:
            self._set_fact("birth_ms", str(chain_now_ms))
            return chain_now_ms
        return int(stored)

    def watermark(self) -> int | None:
        """The checkpoint up to which everything is settled."""
        stored = self._fact("watermark")
        return None if stored is None else int(stored)

    def set_watermark(self, checkpoint: int) -> None:
        """Durable when it returns."""
        self._set_fact("watermark", str(checkpoint))

    def record(self, entries: Sequence[JournalEntry]) -> list[bool]:
        """Writes the entries in one commit; for each, whether it was new."""
        new: list[bool] = []
        with _transaction(self._db):
            for entry in entries:
                cursor = self._db.execute(
                    "INSERT OR IGNORE INTO mutations (seal, request_id, reply_key, transaction_digest,"
                    " event_index, recorded_at_ms, answer_by_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        entry.seal,
                        entry.request_id,
                        entry.reply_key,
                        entry.transaction_digest,
                        entry.event_index,
                        entry.recorded_at_ms,
                        entry.answer_by_ms,
                    ),
                )
                new.append(cursor.rowcount == 1)
        return new

    def mark_answered(self, requests: Iterable[tuple[bytes, bytes]]) -> None:
        """The answers of these (seal, request id) are final on chain, or can no longer be given."""
        with _transaction(self._db):
            self._db.executemany(
                "UPDATE mutations SET answered = 1 WHERE seal = ? AND request_id = ?", requests
            )

    def is_recorded(self, seal: bytes, request_id: bytes) -> bool:
        """Whether this request is in the journal, answered or not."""
        row = self._db.execute(
            "SELECT 1 FROM mutations WHERE seal = ? AND request_id = ?", (seal, request_id)
        )
        return row.fetchone() is not None

    def unanswered(self) -> list[JournalEntry]:
        """Entries without a final answer, oldest first."""
        rows = self._db.execute(
            "SELECT seal, request_id, reply_key, transaction_digest, event_index, recorded_at_ms,"
            " answer_by_ms FROM mutations WHERE answered = 0 ORDER BY recorded_at_ms, request_id"
        )
        return [JournalEntry(*row) for row in rows]

    def forget(self, now_ms: int) -> int:
        """Drops entries that nobody can ask about any more; returns how many."""
        cursor = self._db.execute("DELETE FROM mutations WHERE answer_by_ms < ?", (now_ms - _RETENTION_MS,))
        return cursor.rowcount

    def close(self) -> None:
        """Releases the file."""
        self._db.close()

    def _fact(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _set_fact(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))


class _transaction:  # noqa: N801  a context manager, used like a function
    """BEGIN IMMEDIATE … COMMIT, ROLLBACK on an error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")
