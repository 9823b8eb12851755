"""Lists and watches: two views of one versioned store, so that a watch continues where a list ended."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from infra.local.kube.conversion import present
from infra.local.kube.errors import ApiError, Cause, Json, bad_request, invalid
from infra.local.kube.registry import Resource
from infra.local.kube.selectors import Predicate, field_selector, label_selector
from infra.local.kube.store import Change, Store, object_key

_DEFAULT_TIMEOUT = 1800  # seconds, of a watch that names none
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True)
class ListOptions:
    """The query of a list or watch, parsed. Raises 400 or 422 for what does not make sense."""

    matches: Predicate
    resource_version: str
    version_match: str
    limit: int
    continue_token: str
    timeout_seconds: float
    bookmarks: bool
    initial_events: bool | None

    @classmethod
    def from_query(cls, resource: Resource, query: Mapping[str, str], *, watch: bool) -> ListOptions:
        labels = label_selector(query.get("labelSelector", ""))
        fields = field_selector(query.get("fieldSelector", ""), resource.key)
        given_initial = query.get("sendInitialEvents")
        initial = None if given_initial is None else given_initial in ("1", "true", "True")
        options = cls(
            matches=lambda obj: labels(obj) and fields(obj),
            resource_version=query.get("resourceVersion", ""),
            version_match=query.get("resourceVersionMatch", ""),
            limit=_number(query, "limit"),
            continue_token=query.get("continue", ""),
            timeout_seconds=_number(query, "timeoutSeconds") or _DEFAULT_TIMEOUT,
            bookmarks=query.get("allowWatchBookmarks") in ("1", "true", "True"),
            initial_events=initial,
        )
        if options.resource_version and not options.resource_version.isdigit():
            raise bad_request(
                f'resourceVersion: Invalid value: "{options.resource_version}": must be a number'
            )
        if causes := options._causes(watch=watch):
            raise invalid(_LIST_OPTIONS, "", causes)
        return options

    def _causes(self, *, watch: bool) -> list[Cause]:
        """The rules of `ValidateListOptions`, in its words."""
        match, rv, initial = self.version_match, self.resource_version, self.initial_events is not None
        unknown = bool(match) and match not in ("Exact", "NotOlderThan")
        rules = [
            (
                watch and initial and match != "NotOlderThan",
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
            (
                watch and bool(match) and not initial,
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
            (not watch and initial, "sendInitialEvents", "sendInitialEvents is forbidden for list"),
            (
                not watch and bool(match) and bool(self.continue_token),
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden when continue is provided",
            ),
            (
                not watch and bool(match) and not rv,
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                not watch and match == "Exact" and rv == "0",
                "resourceVersionMatch",
                'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
            ),
        ]
        found = [
            Cause("FieldValueForbidden", field, f"Forbidden: {why}") for broken, field, why in rules if broken
        ]
        if unknown:
            text = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
            found.append(Cause("FieldValueNotSupported", "resourceVersionMatch", text))
        return found


# Errors of list options are reported as of this type.
_LIST_OPTIONS = Resource("meta.k8s.io", "v1", "listoptions", "ListOptions", "listoptions")


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name) or "0"
    try:
        value = int(text)
    except ValueError as error:
        raise bad_request(f"{name} must be a number, not {text!r}") from error
    if value < 0:
        raise bad_request(f"{name} must not be negative")
    return value


def list_objects(
    store: Store, resource: Resource, namespace: str | None, options: ListOptions
) -> tuple[list[Json], Json]:
    """The objects and the list's metadata (resourceVersion, and continue where a limit cut it)."""
    at, after = None, ("", "")
    if options.continue_token:
        at, after = _decode_continue(options.continue_token)
    elif options.resource_version not in ("", "0"):
        wanted = int(options.resource_version)
        if options.version_match == "Exact" or (options.limit and not options.version_match):
            at = wanted
        elif wanted > store.revision:
            store.check_revision(wanted)
    revision = store.revision if at is None else at
    if at == store.revision:
        at = None
    found = [obj for obj in store.objects(resource.key, namespace, at) if options.matches(obj)]
    if after != ("", ""):
        found = [obj for obj in found if object_key(obj) > after]
    metadata: Json = {"resourceVersion": str(revision)}
    if options.limit and len(found) > options.limit:
        metadata["remainingItemCount"] = len(found) - options.limit
        found = found[: options.limit]
        metadata["continue"] = _encode_continue(revision, object_key(found[-1]))
    return [present(resource, obj) for obj in found], metadata


def _encode_continue(revision: int, after: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([revision, *after]).encode()).decode()


def _decode_continue(token: str) -> tuple[int, tuple[str, str]]:
    try:
        revision, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(revision), (str(namespace), str(name))
    except (ValueError, TypeError, binascii.Error) as error:
        raise bad_request("continue key is not valid") from error


class Watch:
    """One watch: an asynchronous iterator over watch events as JSON objects.

    It ends after timeoutSeconds, when `close` is called, or after an ERROR event.
    """

    def __init__(
        self,
        store: Store,
        resource: Resource,
        namespace: str | None,
        options: ListOptions,
        shape: Callable[[Json], Json],
    ) -> None:
        self._store = store
        self._resource = resource
        self._namespace = namespace
        self._options = options
        self._shape = shape
        self._awake = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        self._closed = True
        self._awake.set()

    async def events(self) -> AsyncIterator[Json]:
        options, position = self._options, self._store.revision
        unsubscribe = self._store.subscribe(lambda _: self._awake.set())
        try:
            version = options.resource_version
            if options.initial_events or (options.initial_events is None and version in ("", "0")):
                for obj in self._store.objects(self._resource.key, self._namespace):
                    if options.matches(obj):
                        yield self._event("ADDED", obj)
                if options.initial_events and options.bookmarks:
                    yield self._bookmark(position, initial=True)
            elif version not in ("", "0"):
                position = int(version)
            loop = asyncio.get_running_loop()
            deadline = loop.time() + options.timeout_seconds
            while not self._closed:
                self._awake.clear()
                changes, seen = self._store.changes_since(position, self._resource.key), self._store.revision
                for change in changes:
                    if (event := self._translated(change)) is not None:
                        yield event
                position = seen  # not the revision of now: more may have happened while an event went out
                try:
                    async with asyncio.timeout_at(deadline):
                        await self._awake.wait()
                except TimeoutError:
                    break
            if options.bookmarks:
                yield self._bookmark(position)
        except ApiError as error:
            yield {"type": "ERROR", "object": error.status()}
        finally:
            unsubscribe()

    def _translated(self, change: Change) -> Json | None:
        """A change as the selector sees it: an object may enter or leave its view by being modified."""
        inside = self._visible(change.object)
        was_inside = change.previous is not None and self._visible(change.previous)
        if change.type == "DELETED":
            return self._event("DELETED", change.object) if was_inside else None
        if inside:
            return self._event("MODIFIED" if was_inside else "ADDED", change.object)
        return self._event("DELETED", change.object) if was_inside else None

    def _visible(self, obj: Json) -> bool:
        in_scope = self._namespace is None or obj["metadata"].get("namespace") == self._namespace
        return in_scope and self._options.matches(obj)

    def _event(self, kind: str, obj: Json) -> Json:
        return {"type": kind, "object": self._shape(present(self._resource, obj))}

    def _bookmark(self, revision: int, *, initial: bool = False) -> Json:
        metadata: Json = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial:
            metadata["annotations"] = {_INITIAL_EVENTS_END: "true"}
        obj = {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": metadata}
        return {"type": "BOOKMARK", "object": obj}
