"""Logs of pods without containers: what somebody wrote into an annotation, followed as it grows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.kube.errors import ApiError, Json
from infra.local.kube.pod_logs import ANNOTATION, PodLog
from infra.local.kube.registry import Registry
from infra.local.kube.store import Store

PODS = Registry().builtin("", "pods")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def pod(log: str | None, uid: str = "1") -> Json:
    annotations = {} if log is None else {ANNOTATION: log}
    metadata = {"name": "p", "namespace": "default", "uid": uid, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "c"}]}}


async def read(store: Store, **query: str) -> str:
    found = store.get(PODS.key, "default", "p")
    assert found is not None
    log = PodLog.of(store, PODS, found, query, lambda: NOW)
    assert log is not None
    return b"".join([chunk async for chunk in log.text()]).decode()


def said(seconds_ago: int, what: str) -> str:
    return f"{(NOW - timedelta(seconds=seconds_ago)).isoformat()} {what}\n"


async def test_it_is_the_annotations_text_and_its_options_choose_lines() -> None:
    store = Store()
    store.put(PODS.key, pod(said(90, "old") + said(5, "new") + "untimed"))
    assert (await read(store)).splitlines()[1:] == [said(5, "new").strip(), "untimed"]
    assert await read(store, tailLines="1") == "untimed\n"
    assert await read(store, sinceSeconds="60") == said(5, "new") + "untimed\n"
    assert await read(store, sinceTime="2026-11-23T11:59:58Z") == "untimed\n"
    assert await read(store, limitBytes="4") == said(90, "old")[:4]


async def test_followed_it_brings_what_is_appended_until_the_pod_is_gone() -> None:
    store = Store()
    store.put(PODS.key, pod("a"))
    found = store.get(PODS.key, "default", "p")
    assert found is not None
    log = PodLog.of(store, PODS, found, {"follow": "true"}, lambda: NOW)
    assert log is not None
    chunks = log.text()
    assert await anext(chunks) == b"a\n"
    store.put(PODS.key, pod("a\nb"))
    assert await asyncio.wait_for(anext(chunks), 5) == b"b\n"
    store.remove(PODS.key, "default", "p")
    assert [chunk async for chunk in chunks] == []


@pytest.mark.parametrize("query", [{"tailLines": "x"}, {"sinceTime": "yesterday"}, {"container": "other"}])
def test_nonsense_is_a_400(query: dict[str, str]) -> None:
    with pytest.raises(ApiError) as caught:
        PodLog.of(Store(), PODS, pod("a"), query, lambda: NOW)
    assert caught.value.code == 400


def test_a_pod_that_nobody_wrote_for_has_no_log() -> None:
    assert PodLog.of(Store(), PODS, pod(None), {}, lambda: NOW) is None
