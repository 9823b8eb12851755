"""Discovery over HTTP: which requests the cache may answer, what is asked to fill it, and conditions.

A fetch is the caller's own command on the chain, with nothing in it that could make the reply special: no
condition of the caller, no body. His condition is answered here, from the reply, as the API server would.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from chalicelib.command import AdmittedCommand
from chalicelib.discovery_cache import NOT_MODIFIED, OK, DiscoveryCache, DiscoveryKey, Fetched, Outcome
from chalicelib.replies import GatewayReply
from chalicelib.shared_discovery import SharedDiscovery
from chalicelib.sizes import Reading
from k3s_daas.discovery import changes_discovery, is_discovery
from k3s_daas.ids import to_hex
from k3s_daas.status import StatusError

Run = Callable[[AdmittedCommand], Fetched]

# What a fetch says of its caller; none of it changes the reply, but for Accept, which is part of the key.
_FETCH_HEADERS = frozenset({"Accept", "User-Agent", "Kubectl-Command", "Kubectl-Session"})
# What RFC 9110 wants of a 304; and the type, without which API Gateway would add its own default.
_NOT_MODIFIED_HEADERS = frozenset({"cache-control", "content-type", "etag", "vary"})
_ETAG = re.compile(r'(?:W/)?("[^"]*")')


class DiscoveryReplies:
    """Answers discovery from the cache or through the chain, and everything else through the chain."""

    def __init__(self, cache: DiscoveryCache, shared: SharedDiscovery, cluster: bytes) -> None:
        self._cache = cache
        self._shared = shared
        self._cluster = to_hex(cluster)

    def answer(
        self, admitted: AdmittedCommand, run: Run, *, patience_s: float
    ) -> tuple[GatewayReply, Outcome | None]:
        """The reply, and what the cache had to do with it: None if nothing.

        `run` takes a command through the chain. Raises what it raises, and RequestStoreUnavailableError.
        """
        if changes_discovery(admitted.attributes):
            with self._shared.definitions_change(), self._cache.definitions_change():
                return run(admitted).reply, None
        if not _may_share(admitted):
            return run(admitted).reply, None

        def ask(etag: str | None) -> Fetched:
            return _fetched(run(_plain(admitted, etag)), etag)

        key = self._key(admitted)
        definitions = self._shared.definitions()
        reply, outcome = self._cache.serve(
            key,
            self._shared.fetching(key, definitions, ask),
            patience_s=patience_s,
            definitions=definitions,
        )
        return _conditional(reply, _values(admitted, "If-None-Match")), outcome

    def _key(self, admitted: AdmittedCommand) -> DiscoveryKey:
        accept = normalised_accept(_values(admitted, "Accept"))
        return DiscoveryKey(self._cluster, admitted.attributes.path, admitted.request.query, accept)

    def reading(self) -> Reading:
        """What the cache holds and did."""
        return self._cache.reading()

    def counters(self) -> dict[str, int]:
        """Of the cache, for the log."""
        return self._cache.counters()


def normalised_accept(values: list[str]) -> str:
    """One spelling for headers that ask for the same: order kept (it decides), blanks and upper case gone."""
    ranges = (part for value in values for part in value.split(","))
    parts = (";".join(_parameter(item) for item in part.split(";")) for part in ranges if part.strip())
    return ",".join(parts) or "*/*"


def _parameter(item: str) -> str:
    """A media type, or one of its parameters, whose value counts as it is written."""
    name, separator, value = item.partition("=")
    return name.strip().lower() + separator + value.strip()


def _may_share(admitted: AdmittedCommand) -> bool:
    """HEAD has no body to keep, and a body or another condition might make the reply special. Who may send no
    new command now gets nothing kept either, only what he has left behind."""
    return (
        admitted.refusal is None
        and is_discovery(admitted.attributes)
        and admitted.request.method == "GET"
        and not admitted.request.body
        and not _values(admitted, "If-Match")
    )


def _plain(admitted: AdmittedCommand, etag: str | None) -> AdmittedCommand:
    headers = [(name, value) for name, value in admitted.headers if name in _FETCH_HEADERS]
    if etag is not None:
        headers.append(("If-None-Match", etag))
    return replace(admitted, headers=tuple(headers))


def _fetched(fetched: Fetched, etag: str | None) -> Fetched:
    if fetched.reply.status == NOT_MODIFIED and etag is None:
        raise StatusError(
            503,
            "ServiceUnavailable",
            "the API server answered 304 to a request without a condition: ask again",
            retry_after_s=1,
        )
    return fetched


def _conditional(reply: GatewayReply, conditions: list[str]) -> GatewayReply:
    """304 where the caller has this very document (RFC 9110 13.1.2, weak comparison)."""
    etag = _ETAG.fullmatch(reply.header("ETag") or "")
    known = {match[1] for value in conditions for match in _ETAG.finditer(value)}
    if reply.status != OK or etag is None or etag[1] not in known:
        return reply
    headers = tuple((name, value) for name, value in reply.headers if name.lower() in _NOT_MODIFIED_HEADERS)
    return GatewayReply(NOT_MODIFIED, headers, b"")


def _values(admitted: AdmittedCommand, name: str) -> list[str]:
    return [value for header, value in admitted.headers if header == name]
