"""Logs of pods in a cluster without containers: what somebody wrote into the pod's annotation.

A pod's log is the text of `local.k3s-daas/log`; what is appended to it (`kubectl annotate --overwrite`) is
what the container says next. A line that begins with an RFC 3339 time and a space was said then, for
`sinceTime` and `sinceSeconds`; other lines have no time and are always there. A pod without the annotation
has no log. Left out: several containers, `previous`, `stream`, adding timestamps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.local.kube.errors import Json, bad_request
from infra.local.kube.naming import Clock
from infra.local.kube.registry import Resource
from infra.local.kube.store import Store

ANNOTATION = "local.k3s-daas/log"
_FALSE = ("0", "false")


@dataclass(frozen=True)
class LogOptions:
    """The query of a log request. Raises 400 for what does not make sense."""

    follow: bool
    tail: int | None
    since: datetime | None
    limit_bytes: int | None

    @classmethod
    def from_query(cls, query: Mapping[str, str], now: datetime) -> LogOptions:
        since = None
        if "sinceTime" in query:
            since = _time(query["sinceTime"])
            if since is None:
                raise bad_request("sinceTime must be an RFC 3339 time")
        elif (ago := _number(query, "sinceSeconds")) is not None:
            since = now - timedelta(seconds=ago)
        return cls(
            follow="follow" in query and query["follow"].lower() not in _FALSE,
            tail=_number(query, "tailLines"),
            since=since,
            limit_bytes=_number(query, "limitBytes"),
        )


class PodLog:
    """The log of one pod; None from `of` if it has none."""

    def __init__(self, store: Store, resource: Resource, pod: Json, options: LogOptions) -> None:
        self._store = store
        self._key = resource.key
        self._name = (pod["metadata"].get("namespace", ""), pod["metadata"]["name"])
        self._uid = pod["metadata"]["uid"]
        self._options = options

    @classmethod
    def of(
        cls, store: Store, resource: Resource, pod: Json, query: Mapping[str, str], clock: Clock
    ) -> PodLog | None:
        if _said(pod) is None:
            return None
        names = [container["name"] for container in pod["spec"]["containers"]]
        if query.get("container", names[0]) not in names:
            raise bad_request(
                f"container {query['container']} is not valid for pod {pod['metadata']['name']}"
            )
        return cls(store, resource, pod, LogOptions.from_query(query, clock()))

    async def text(self) -> AsyncIterator[bytes]:
        """What there is; followed, also what comes, until the pod is gone."""
        changed = asyncio.Event()
        unsubscribe = self._store.subscribe(lambda _: changed.set())
        try:
            said = self._now() or ""
            yield self._chosen(said)
            while self._options.follow:
                changed.clear()
                now = self._now()
                if now is None:
                    return
                if now != said:
                    yield now.removeprefix(said).encode()
                    said = now
                await changed.wait()
        finally:
            unsubscribe()

    def _now(self) -> str | None:
        pod = self._store.get(self._key, *self._name)
        return None if pod is None or pod["metadata"]["uid"] != self._uid else _said(pod)

    def _chosen(self, said: str) -> bytes:
        lines = [line for line in said.splitlines(keepends=True) if self._is_recent(line)]
        if self._options.tail is not None:
            lines = lines[len(lines) - min(self._options.tail, len(lines)) :]
        return "".join(lines).encode()[: self._options.limit_bytes]

    def _is_recent(self, line: str) -> bool:
        said_at = _time(line.partition(" ")[0])
        return self._options.since is None or said_at is None or said_at >= self._options.since


def _said(pod: Json) -> str | None:
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION)
    return text if text is None or text.endswith("\n") else f"{text}\n"


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise bad_request(f"{name} must be a number that is not negative, not {text!r}")
    return int(text)


def _time(text: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is not None else None
