"""Label and field selectors."""

from __future__ import annotations

import pytest

from infra.local.kube.errors import ApiError, Json
from infra.local.kube.selectors import field_selector, label_selector, match_label_selector

POD: Json = {
    "metadata": {"name": "p", "namespace": "n", "labels": {"app": "web", "tier": "front"}},
    "spec": {"nodeName": "local"},
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier!=back", True),
        ("app!=web", False),
        ("absent!=x", True),
        ("app in (api, web)", True),
        ("app notin (api,web)", False),
        ("absent notin (x)", True),
        ("app", True),
        ("!app", False),
        ("!absent", True),
        ("app in (web),tier=back", False),
    ],
)
def test_labels(selector: str, expected: bool) -> None:
    assert label_selector(selector)(POD) is expected


@pytest.mark.parametrize("selector", ["app in (a", "a b", "=x", "app in"])
def test_a_label_selector_that_does_not_parse_is_a_bad_request(selector: str) -> None:
    with pytest.raises(ApiError) as refused:
        label_selector(selector)
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("metadata.name=p", True),
        ("metadata.name!=p", False),
        ("status.phase=Running,spec.nodeName==local", True),
        ("status.phase=Pending", False),
    ],
)
def test_fields(selector: str, expected: bool) -> None:
    assert field_selector(selector, ("", "pods"))(POD) is expected


def test_a_field_that_is_not_selectable_is_refused_by_name() -> None:
    with pytest.raises(ApiError, match=r'field label not supported: "spec\.image"') as refused:
        field_selector("spec.image=x", ("", "pods"))
    assert refused.value.code == 400


def test_selector_objects() -> None:
    labels = {"app": "web"}
    expressions: Json = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}
    assert match_label_selector(expressions, labels)
    assert match_label_selector({}, labels)
    assert not match_label_selector(None, labels)
    assert not match_label_selector(
        {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, labels
    )
