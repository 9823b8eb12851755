"""The versioned store: revisions, the log, and looking back."""

from __future__ import annotations

import pytest

from infra.local.kube.errors import ApiError, Json
from infra.local.kube.store import Change, Store

MAPS = ("", "configmaps")


def config(name: str, namespace: str = "default", **data: str) -> Json:
    return {"metadata": {"name": name, "namespace": namespace}, "data": data}


def names(objects: list[Json]) -> list[str]:
    return [obj["metadata"]["name"] for obj in objects]


def test_each_change_gets_its_own_growing_revision() -> None:
    store = Store()
    revisions = [int(store.put(MAPS, config(n))["metadata"]["resourceVersion"]) for n in ("a", "b", "a")]
    assert revisions[0] < revisions[1]
    assert revisions[2] == revisions[0], "the same content again changes nothing"
    assert int(store.put(MAPS, config("a", x="1"))["metadata"]["resourceVersion"]) > revisions[1]


def test_objects_come_in_the_order_of_namespace_and_name() -> None:
    store = Store()
    for name, namespace in (("b", "x"), ("a", "y"), ("a", "x")):
        store.put(MAPS, config(name, namespace))
    assert names(store.objects(MAPS)) == ["a", "b", "a"]
    assert names(store.objects(MAPS, "x")) == ["a", "b"]


def test_the_state_at_an_earlier_revision_is_that_before_later_changes() -> None:
    store = Store()
    store.put(MAPS, config("kept"))
    store.put(MAPS, config("changed", v="old"))
    revision = store.revision
    store.put(MAPS, config("changed", v="new"))
    store.remove(MAPS, "default", "kept")
    store.put(MAPS, config("added"))
    then = store.objects(MAPS, at=revision)
    assert names(then) == ["changed", "kept"]
    assert then[0]["data"] == {"v": "old"}
    assert names(store.objects(MAPS)) == ["added", "changed"]


def test_changes_say_what_was_before() -> None:
    store, seen = Store(), list[Change]()
    unsubscribe = store.subscribe(seen.append)
    store.put(MAPS, config("a", v="1"))
    store.put(MAPS, config("a", v="2"))
    store.remove(MAPS, "default", "a")
    unsubscribe()
    store.put(MAPS, config("unseen"))
    assert [change.type for change in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert seen[0].previous is None
    assert seen[1].previous is not None
    assert seen[1].previous["data"] == {"v": "1"}
    assert seen[2].object["metadata"]["resourceVersion"] == str(seen[2].revision)
    assert [c.revision for c in store.changes_since(seen[0].revision, MAPS)][:2] == [
        seen[1].revision,
        seen[2].revision,
    ]


def test_a_forgotten_revision_is_expired_and_a_future_one_is_refused() -> None:
    store = Store(history=3)
    for number in range(6):
        store.put(MAPS, config("a", v=str(number)))
    with pytest.raises(ApiError) as gone:
        store.objects(MAPS, at=2)
    assert (gone.value.code, gone.value.reason) == (410, "Expired")
    with pytest.raises(ApiError) as future:
        store.changes_since(store.revision + 1)
    assert (future.value.code, future.value.reason) == (504, "Timeout")
    assert list(store.changes_since(store.revision)) == []


def test_what_is_older_than_the_start_is_forgotten_and_the_present_is_not() -> None:
    store = Store()
    store.put(MAPS, config("a", v="1"))
    start = store.put(MAPS, config("a", v="2"))
    store.forget()
    with pytest.raises(ApiError) as gone:
        store.changes_since(store.revision - 1)
    assert gone.value.code == 410
    assert store.objects(MAPS) == [start]
    store.put(MAPS, config("a", v="3"))
    assert [change.type for change in store.changes_since(store.revision - 1)] == ["MODIFIED"]
