"""What is known about one request while it is served: for the log line and the reply's diagnostic headers.

Names, digests and durations only: no token, no body, no query, and no path of a non-resource request.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from k3s_daas.attributes import RequestAttributes
from k3s_daas.ids import request_id_text, to_hex

REQUEST_ID_HEADER = "X-Daas-Request-Id"
REQUEST_DIGEST_HEADER = "X-Daas-Request-Digest"
RESPONSE_DIGEST_HEADER = "X-Daas-Response-Digest"

Log = Callable[[str], None]


def log_to_stderr(line: str) -> None:
    """One write per line, so that lines of several threads do not mix; Lambda sends stderr to CloudWatch."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@dataclass
class Journey:
    """One request's way through the gateway. Durations are in ms of a monotonic clock."""

    monotonic: Callable[[], float] = time.perf_counter
    source: str | None = None
    """Who sent it: an address or network; for the log of refusals."""
    api_request_id: str | None = None
    """API Gateway's own name for the request."""
    request_id: bytes | None = None
    seal: bytes | None = None
    """Of a verified token only."""
    attributes: RequestAttributes | None = None
    request_digest: str | None = None
    response_digest: str | None = None
    adopted: bool = False
    """The answer is that of a command which an earlier request left behind."""
    parked: bool = False
    """The caller was told to ask again, and finds the command then."""
    expired: bool = False
    """`start_by` passed before the chain took the command."""
    aborted: bool = False
    """A transaction of this request was executed and failed."""
    submission_rpcs: int = 0
    """Calls to the ledger that its submission took; with several endpoints each may be several."""
    cache: str | None = None
    """What the cache of discovery had to do with the reply; `hit` means that nothing reached the chain."""
    durations: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._started = self.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one stage; also when it raises."""
        started = self.monotonic()
        try:
            yield
        finally:
            self.durations[name] = (self.monotonic() - started) * 1000

    @property
    def verbs(self) -> str:
        """The class of what was asked for."""
        if self.attributes is None:
            return "none"
        if self.attributes.verb == "watch":
            return "watch"
        return "read" if self.attributes.is_read else "write"

    def headers(self) -> list[tuple[str, str]]:
        """The diagnostic headers of the reply."""
        timing = [f"{name};dur={ms:.1f}" for name, ms in self.stages().items()]
        if self.cache is not None:
            timing.append(f"cache;desc={self.cache}")
        found = [("Server-Timing", ", ".join(timing))]
        if self.request_id is not None:
            found.append((REQUEST_ID_HEADER, request_id_text(self.request_id)))
        if self.request_digest is not None:
            found.append((REQUEST_DIGEST_HEADER, self.request_digest))
        if self.response_digest is not None:
            found.append((RESPONSE_DIGEST_HEADER, self.response_digest))
        return found

    def log_line(self, *, code: int, reason: str | None) -> str:
        """The request's log line, JSON. `reason` marks a refusal by the gateway or the contract."""
        fields: dict[str, object] = {"event": "request", "code": code}
        if reason is not None:
            fields["refused"] = reason
        fields.update(self._names())
        fields["cache"] = self.cache
        fields["request_digest"] = self.request_digest
        fields["response_digest"] = self.response_digest
        fields["ms"] = {name: round(ms, 1) for name, ms in self.stages().items()}
        return json.dumps({name: value for name, value in fields.items() if value is not None})

    def who_and_what(self) -> dict[str, str]:
        """Everything about the request that a log may say, and who sent it."""
        names = {"source": self.source or "", "request_digest": self.request_digest or "", **self._names()}
        return {name: value for name, value in names.items() if value}

    def _names(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        if self.request_id is not None:
            fields["request_id"] = request_id_text(self.request_id)
        if self.api_request_id is not None:
            fields["api_request_id"] = self.api_request_id
        if self.seal is not None:
            fields["seal"] = to_hex(self.seal)
        if self.attributes is not None:
            fields.update(_public(self.attributes))
        return fields

    def stages(self) -> dict[str, float]:
        """Durations in ms by stage, with the total up to now."""
        return {**self.durations, "total": (self.monotonic() - self._started) * 1000}


def _public(attributes: RequestAttributes) -> dict[str, str]:
    """What the chain shows of a request, too."""
    resource = attributes.resource + (f"/{attributes.subresource}" if attributes.subresource else "")
    fields = {
        "verb": attributes.verb,
        "group": attributes.api_group,
        "resource": resource,
        "namespace": attributes.namespace,
        "name": attributes.name,
    }
    return {name: value for name, value in fields.items() if value}
