"""``daas up`` with what its default does without: events over JSON-RPC, and the executor's key in KMS."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path
from typing import Any

from infra.local import aws
from infra.local.demo.commands import Kubectl
from infra.local.kubectl import find_kubectl
from infra.local.stack.chain import LISTENER_NAMESPACE
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.sui.signers import SECP256K1_FLAG
from listener_service.keys.generations import decode
from listener_service.keys.secret import SECRET_NAME


def ask(stack: Any, path: str, *, method: str = "GET") -> Any:
    """The local ledger's control port."""
    request = urllib.request.Request(f"{stack.endpoints['control']}{path}", method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
        return json.loads(reply.read())


def test_commands_are_heard_also_after_the_connection_was_cut(other_stack: Any) -> None:
    kubectl = other_stack.kubectl()
    created = kubectl.run("create", "configmap", "heard", "--from-literal=over=websocket")
    assert created.code == 0, created.errors
    for port in ask(other_stack, "/ports")["ports"]:
        ask(other_stack, f"/ports/{port}/drop", method="POST")
    found = kubectl.run("get", "configmap", "heard", "-o", "jsonpath={.data.over}")
    assert found.output == "websocket", found.errors
    calls = ask(other_stack, "/counters")["rpc"]
    assert calls["suix_subscribeEvent"] == 2
    assert "SubscribeEvents" not in calls


def test_answers_are_signed_in_kms(other_stack: Any) -> None:
    """The gateway believes only what the pinned key signed, and no file holds that one."""
    found = other_stack.kubectl().run("get", "namespace", "default", "-o", "name")
    assert found.output == "namespace/default\n", found.errors
    [public_key] = TrustRoots.load(other_stack.state / "roots.json").executors.values()
    assert public_key[0] == SECP256K1_FLAG
    assert not list(other_stack.state.rglob("executor*"))


def test_only_kms_opens_the_sealing_keys(other_stack: Any, tmp_path: Path) -> None:
    admin = Kubectl(
        find_kubectl(), other_stack.state / "keys" / "kubernetes-admin.kubeconfig", tmp_path / "home"
    )
    got = admin.run("-n", LISTENER_NAMESPACE, "get", "secret", SECRET_NAME, "-o", "json")
    [entry] = json.loads(got.output)["data"].values()
    [generation] = decode(base64.b64decode(entry)).items
    roots = TrustRoots.load(other_stack.state / "roots.json")
    [executor] = roots.executors
    opened = aws.kms_client(other_stack.endpoints["aws"]).decrypt(
        CiphertextBlob=generation.wrapped,
        EncryptionContext={
            "cluster": to_hex(roots.cluster),
            "executor": to_hex(executor),
            "generation": "1",
            "key": generation.key_id,
        },
    )
    key = SealingPrivateKey.from_private_bytes(opened["Plaintext"])
    assert key.public_key.key_id.hex() == generation.key_id
    assert opened["Plaintext"] not in generation.wrapped
