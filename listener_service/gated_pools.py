"""Connection pools whose requests ask once more before their first byte: connecting may take seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from listener_service.api_call import NotStartedError


class _Gate(threading.local):
    """The question that the current thread's request asks before its first byte, and whether it was let
    through.
    """

    may_start: Callable[[], bool] | None = None
    passed: bool = False

    def check(self) -> None:
        if self.may_start is None or not self.may_start():
            raise NotStartedError("the command was not started in time")
        self.passed = True


gate = _Gate()


class _GatedHTTPConnection(HTTPConnection):
    """Connects first, then asks the gate, then writes: connecting may take seconds."""

    def endheaders(self, *arguments: Any, **options: Any) -> None:
        if self.sock is None:
            self.connect()
        gate.check()
        super().endheaders(*arguments, **options)


class _GatedHTTPSConnection(HTTPSConnection):
    """See `_GatedHTTPConnection`."""

    def endheaders(self, *arguments: Any, **options: Any) -> None:
        if self.sock is None:
            self.connect()
        gate.check()
        super().endheaders(*arguments, **options)


class _GatedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _GatedHTTPConnection


class _GatedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _GatedHTTPSConnection


POOLS = {"http": _GatedHTTPPool, "https": _GatedHTTPSPool}
