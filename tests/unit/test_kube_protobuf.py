"""Protobuf request bodies, built here field by field."""

from __future__ import annotations

import base64

import pytest

from infra.local.kube.errors import ApiError
from infra.local.kube.protobuf import decode


def varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def text(number: int, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def entry(field: int, key: str, value: bytes) -> bytes:
    return text(field, text(1, key) + value)


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    return (
        b"k8s\x00" + text(1, text(1, api_version) + text(2, kind)) + text(2, raw) + text(3, "") + text(4, "")
    )


def test_a_secret_keeps_its_bytes_as_base64() -> None:
    raw = text(1, text(1, "s") + text(8, b"")) + entry(2, "k", text(2, b"\x00\xff")) + text(3, "Opaque")
    assert decode(body("v1", "Secret", raw)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {"k": base64.b64encode(b"\x00\xff").decode()},
        "type": "Opaque",
    }


def test_a_deployment_with_pointers_embedded_structs_and_quantities() -> None:
    limits = entry(1, "cpu", text(2, text(1, "500m")))
    container = text(1, "c") + text(2, "nginx") + text(3, "sleep") + text(3, "1") + text(8, limits)
    volume = text(1, "v") + text(2, text(2, text(1, "")))  # the embedded VolumeSource: 2 emptyDir
    pod_spec = text(2, container) + text(1, volume)
    template = text(1, entry(11, "app", text(2, "x"))) + text(2, pod_spec)
    surge = text(2, text(2, number(1, 1) + number(2, 0) + text(3, "25%")))
    spec = number(1, 0) + text(2, entry(1, "app", text(2, "x"))) + text(3, template) + text(4, surge)
    decoded = decode(body("apps/v1", "Deployment", text(1, text(1, "d")) + text(2, spec) + text(3, b"")))
    assert decoded["spec"]["replicas"] == 0, "a pointer's zero is a value"
    assert decoded["spec"]["selector"] == {"matchLabels": {"app": "x"}}
    assert decoded["spec"]["strategy"] == {"rollingUpdate": {"maxSurge": "25%"}}
    pod = decoded["spec"]["template"]["spec"]
    assert pod["containers"] == [
        {"name": "c", "image": "nginx", "command": ["sleep", "1"], "resources": {"limits": {"cpu": "500m"}}}
    ]
    assert pod["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert "status" not in decoded


def test_delete_options_of_any_group() -> None:
    raw = number(1, 0) + text(2, text(1, "uid-1")) + text(4, "Background")
    for api_version in ("v1", "apps/v1", "meta.k8s.io/v1"):
        decoded = decode(body(api_version, "DeleteOptions", raw))
        assert decoded["gracePeriodSeconds"] == 0
        assert decoded["preconditions"] == {"uid": "uid-1"}
        assert decoded["propagationPolicy"] == "Background"


def test_times_and_negative_numbers() -> None:
    spec = number(2, 30) + text(4, number(1, 1_700_000_000) + number(2, 5_000_000))
    lease = decode(body("coordination.k8s.io/v1", "Lease", text(1, text(1, "l")) + text(2, spec)))
    assert lease["spec"]["renewTime"] == "2023-11-14T22:13:20.005000Z"
    priority = decode(body("scheduling.k8s.io/v1", "PriorityClass", text(1, text(1, "p")) + number(2, -5)))
    assert priority["value"] == -5


def test_an_unknown_kind_is_not_supported() -> None:
    with pytest.raises(ApiError, match="no protobuf decoder for x/v1 Thing") as refused:
        decode(body("x/v1", "Thing", b""))
    assert refused.value.code == 415


@pytest.mark.parametrize(
    "malformed",
    [
        b"not protobuf",
        b"k8s\x00\xff",
        b"k8s\x00" + varint(2 << 3 | 2) + varint(100) + b"short",
        body("v1", "Secret", text(99, "x")),
        body("v1", "Secret", number(1, 1)),
        body("v1", "Secret", text(3, b"\xff\xfe")),
        body("v1", "Secret", b"\x0b"),
    ],
)
def test_what_does_not_decode_is_a_bad_request(malformed: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        decode(malformed)
    assert refused.value.code == 400
