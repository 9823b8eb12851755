"""Bodies larger than a transaction, by a real kubectl through the whole stack."""

from __future__ import annotations

import hashlib
import json

import pytest

from infra.local import aws
from infra.local.stack.stack import BLOB_BUCKET
from tests.e2e.conftest import DaasUp

KIB = 1024


def noise(size: int, seed: bytes = b"noise") -> str:
    """Text that compresses to half its size and no further."""
    return hashlib.shake_256(seed).hexdigest(size // 2)


def config_map(name: str, size: int) -> str:
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": {"noise": noise(size)},
    }
    return json.dumps(document)


@pytest.mark.timeout(240)
def test_a_large_object_goes_there_and_back_byte_for_byte(shared_stack: DaasUp) -> None:
    kubectl, name, size = shared_stack.kubectl(), "large", 1000 * KIB
    created = kubectl.run("create", "-f", "-", stdin=config_map(name, size))
    assert (created.code, created.output) == (0, f"configmap/{name} created\n"), created.errors
    got = kubectl.run("get", "configmap", name, "-o", "jsonpath={.data.noise}")
    assert got.code == 0, got.errors
    assert got.output == noise(size)
    as_yaml = kubectl.run("get", "configmap", name, "-o", "yaml")
    assert f"noise: {noise(size)}\n" in as_yaml.output
    # Both ways by the bucket, and nothing readable in it.
    bucket = aws.s3_client(shared_stack.endpoints["aws"])
    keys = [item["Key"] for item in bucket.list_objects_v2(Bucket=BLOB_BUCKET)["Contents"]]
    assert {key.split("/")[0] for key in keys} == {"requests", "replies"}
    for key in keys:
        assert noise(200).encode() not in bucket.get_object(Bucket=BLOB_BUCKET, Key=key)["Body"].read()


@pytest.mark.timeout(240)
def test_what_is_too_large_is_refused_with_a_hint(shared_stack: DaasUp) -> None:
    kubectl = shared_stack.kubectl()
    refused = kubectl.run("create", "-f", "-", stdin=config_map("huge", 3584 * KIB))
    assert refused.code == 1
    assert "larger than 3145728 bytes" in refused.errors
    assert kubectl.run("get", "configmap", "huge").code == 1


@pytest.mark.timeout(240)
def test_a_list_larger_than_lambda_carries_comes_compressed(shared_stack: DaasUp) -> None:
    kubectl = shared_stack.kubectl()
    for index in range(6):
        # Compresses well, as objects do.
        document = json.loads(config_map(f"list-{index}", 10 * KIB))
        document["metadata"]["labels"] = {"part-of": "list"}
        document["data"]["noise"] *= 90
        created = kubectl.run("create", "-f", "-", stdin=json.dumps(document))
        assert created.code == 0, created.errors
    listed = kubectl.run("get", "configmaps", "-l", "part-of=list", "-o", "json")
    assert listed.code == 0, listed.errors
    assert len(listed.output) > 5_000_000
    assert [len(item["data"]["noise"]) for item in json.loads(listed.output)["items"]] == [900 * KIB] * 6
