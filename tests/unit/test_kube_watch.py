"""Watches: what they show, where they start, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from infra.local.kube.errors import ApiError, Json
from infra.local.kube.registry import Registry
from infra.local.kube.store import Store
from infra.local.kube.watch import ListOptions, Watch

RESOURCE = Registry().builtin("", "configmaps")


def config(name: str, namespace: str = "default", **labels: str) -> Json:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def watching(store: Store, namespace: str | None = None, **query: str) -> Watch:
    options = ListOptions.from_query(RESOURCE, {"timeoutSeconds": "30", **query}, watch=True)
    return Watch(store, RESOURCE, namespace, options, lambda obj: obj)


async def next_event(events: AsyncIterator[Json]) -> Json:
    return await anext(events)


async def next_events(events: AsyncIterator[Json], count: int) -> list[tuple[str, str]]:
    found = []
    for _ in range(count):
        event = await asyncio.wait_for(anext(events), 5)
        found.append((event["type"], event["object"]["metadata"].get("name", "")))
    return found


async def test_without_a_version_it_starts_with_what_is_there() -> None:
    store = Store()
    store.put(RESOURCE.key, config("a"))
    events = watching(store).events()
    assert await next_events(events, 1) == [("ADDED", "a")]
    store.put(RESOURCE.key, config("b"))
    store.put(RESOURCE.key, config("a", x="1"))
    store.remove(RESOURCE.key, "default", "b")
    assert await next_events(events, 3) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]


async def test_from_a_version_nothing_is_missed_or_repeated() -> None:
    store = Store()
    store.put(RESOURCE.key, config("a"))
    version = str(store.revision)
    store.put(RESOURCE.key, config("b"))
    store.put(("", "secrets"), config("other"))
    events = watching(store, resourceVersion=version).events()
    assert await next_events(events, 1) == [("ADDED", "b")]
    store.put(RESOURCE.key, config("c"))
    assert await next_events(events, 1) == [("ADDED", "c")]


async def test_changes_while_an_event_is_on_its_way_are_not_lost() -> None:
    store = Store()
    version = str(store.revision)
    store.put(RESOURCE.key, config("a"))
    store.put(RESOURCE.key, config("b"))
    events = watching(store, resourceVersion=version).events()
    assert await next_events(events, 1) == [("ADDED", "a")]
    store.put(RESOURCE.key, config("c"))  # while the watch is suspended between a and b
    assert await next_events(events, 2) == [("ADDED", "b"), ("ADDED", "c")]


async def test_objects_enter_and_leave_a_selector() -> None:
    store = Store()
    events = watching(store, "default", labelSelector="x=1", resourceVersion=str(store.revision)).events()
    store.put(RESOURCE.key, config("a"))
    store.put(RESOURCE.key, config("elsewhere", "other", x="1"))
    store.put(RESOURCE.key, config("a", x="1"))
    store.put(RESOURCE.key, config("a", x="1", y="2"))
    store.put(RESOURCE.key, config("a", x="2"))
    store.remove(RESOURCE.key, "default", "a")
    store.put(RESOURCE.key, config("end", x="1"))
    assert await next_events(events, 4) == [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
        ("ADDED", "end"),
    ]


async def test_initial_events_end_with_a_bookmark_that_says_so() -> None:
    store = Store()
    store.put(RESOURCE.key, config("a"))
    query = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    events = watching(store, **query).events()
    assert await next_events(events, 1) == [("ADDED", "a")]
    bookmark = await anext(events)
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert bookmark["object"]["metadata"]["resourceVersion"] == str(store.revision)


async def test_a_watch_ends_in_time_with_a_bookmark() -> None:
    store = Store()
    watch = watching(store, allowWatchBookmarks="true")
    events = watch.events()
    store.put(("", "secrets"), config("other"))
    waiting = asyncio.create_task(next_event(events))
    await asyncio.sleep(0)
    watch.close()
    bookmark = await asyncio.wait_for(waiting, 5)
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["resourceVersion"] == str(store.revision)
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_a_forgotten_version_is_an_error_event() -> None:
    store = Store(history=2)
    for name in "abcde":
        store.put(RESOURCE.key, config(name))
    (event,) = [event async for event in watching(store, resourceVersion="2").events()]
    assert event["type"] == "ERROR"
    assert event["object"]["code"] == 410
    assert event["object"]["reason"] == "Expired"


def test_initial_events_need_their_match() -> None:
    with pytest.raises(ApiError, match="sendInitialEvents requires setting resourceVersionMatch") as refused:
        ListOptions.from_query(RESOURCE, {"sendInitialEvents": "true"}, watch=True)
    assert refused.value.code == 422
