"""Brings what libraries log into the form of the gateway's own log."""

from __future__ import annotations

import json
import logging

from chalicelib.journey import Log
from k3s_daas.library_logs import library_fields


def log_libraries(log: Log) -> None:
    """Warnings and worse, one line each, in the place of whoever logged them before (Lambda's own handler
    writes plain text). Below warnings libraries tell what they send: botocore the bytes to be signed.
    """
    root = logging.getLogger()
    root.handlers[:] = [_Handler(log)]
    root.setLevel(logging.WARNING)


class _Handler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log(json.dumps({"event": "library", **library_fields(record)}, ensure_ascii=False))
