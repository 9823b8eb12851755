"""Logs: one JSON object per line on stderr, with the request they belong to."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
import time
from typing import TextIO

from k3s_daas.library_logs import library_fields

request_id_var: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
"""The request that the current task works on; every line logged meanwhile carries it."""

_OURS = ("listener_service", "k3s_daas")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, request_id, and the extras of our own.

    Callers put names, sizes, hashes and reasons into extras, never bodies, headers, queries or keys. What
    libraries put into theirs nobody knows, nor what their messages quote (`k3s_daas.library_logs`).
    """

    def format(self, record: logging.LogRecord) -> str:
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {"time": f"{second}.{int(record.msecs):03d}Z"}
        line |= self._own(record) if record.name.partition(".")[0] in _OURS else library_fields(record)
        request_id = request_id_var.get()
        if request_id is not None:
            line["request_id"] = request_id
        return json.dumps(line, default=str, ensure_ascii=False)

    def _own(self, record: logging.LogRecord) -> dict[str, object]:
        fields: dict[str, object] = {
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return fields


def configure(level: str, stream: TextIO | None = None) -> None:
    """Sends the process's log records to `stream` (stderr) as JSON: ours from `level` on, of libraries only
    warnings and worse.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Below warnings libraries tell what they send: botocore the keys that KMS shall wrap, websockets and
    # hpack headers with tokens, urllib3 paths that are not public.
    root.setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    for ours in _OURS:
        logging.getLogger(ours).setLevel(level.upper())
