"""The audit log: one entry per request, kept in memory and, if wanted, appended to a file as JSON lines.

It names who asked (and for whom), for what, and with which outcome; never a token and never a body.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from infra.local.kube.authentication import User
from infra.local.kube.errors import Json
from infra.local.kube.request_info import RequestInfo


class AuditLog:
    """`entries` holds the newest ones. The file is opened for appending and written line by line."""

    def __init__(self, path: Path | None = None, keep: int = 10_000) -> None:
        self.entries: deque[Json] = deque(maxlen=keep)
        self._file: TextIO | None = path.open("a", encoding="utf-8") if path else None

    def record(
        self,
        at: str,
        request: RequestInfo,
        code: int,
        *,
        user: User | None,
        impersonated: User | None,
        agent: str = "",
    ) -> None:
        """`user` is None if the request was not authenticated, `impersonated` if it is his own."""
        entry: Json = {"time": at, "verb": request.verb, "path": request.path, "code": code}
        if user:
            entry["user"] = user.as_json()
        if impersonated:
            entry["impersonatedUser"] = impersonated.as_json()
        if request.is_resource:
            entry["objectRef"] = {
                name: value
                for name, value in (
                    ("apiGroup", request.group),
                    ("apiVersion", request.version),
                    ("resource", request.resource),
                    ("subresource", request.subresource),
                    ("namespace", request.namespace),
                    ("name", request.name),
                )
                if value
            }
        if agent:
            entry["userAgent"] = agent
        self.entries.append(entry)
        if self._file:
            self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")
            self._file.flush()

    def find(self, matches: Callable[[Json], bool]) -> list[Json]:
        """Those that match, oldest first; also while the server's thread adds further ones."""
        return [entry for entry in self.entries.copy() if matches(entry)]

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None
