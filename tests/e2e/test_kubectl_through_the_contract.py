"""What the README promises: a real kubectl, the whole chain of parts, one machine."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import secrets
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from k3s_daas.contract.audit import AuditRecord, read_audit
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.grpc import GrpcLedger

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: applied, labels: {app: applied}}
spec:
  replicas: 1
  selector: {matchLabels: {app: applied}}
  template:
    metadata: {labels: {app: applied}}
    spec:
      containers: [{name: nginx, image: "nginx:1.27"}]
"""

pytestmark = pytest.mark.timeout(180)


def audit(stack: Any) -> list[AuditRecord]:
    """The commands on chain, as an auditor reads them."""

    async def read() -> list[AuditRecord]:
        ledger = GrpcLedger(stack.endpoints["sui"])
        try:
            return await read_audit(ledger, TrustRoots.load(stack.state / "roots.json"), 0)
        finally:
            await ledger.close()

    return asyncio.run(read())


def test_the_ready_line_names_a_kubeconfig_without_insecure_flags(shared_stack: Any) -> None:
    kubeconfig = shared_stack.state / "kubeconfig"
    assert shared_stack.ready == f"ready: export KUBECONFIG={kubeconfig}"
    fields = yaml.safe_load(kubeconfig.read_text())
    cluster = fields["clusters"][0]["cluster"]
    assert cluster["server"].startswith("https://")
    assert "certificate-authority-data" in cluster
    assert "insecure" not in kubeconfig.read_text()
    assert fields["users"][0]["user"]["exec"]["args"][0] == "token"


def test_the_parts_are_processes_of_their_own(shared_stack: Any) -> None:
    pids = shared_stack.pids
    assert set(pids) == {"aws", "sui", "kubernetes", "listener", "gateway"}
    assert len(set(pids.values()) | {shared_stack.process.pid}) == 6


def test_the_listener_knows_aws_only_for_its_own_keys(shared_stack: Any) -> None:
    """It wraps its sealing keys with KMS; the gateway's tables, bucket and keys are none of its business."""
    environment = Path(f"/proc/{shared_stack.pids['listener']}/environ").read_bytes().split(b"\0")
    assert any(entry.startswith(b"DAAS_TRUST_ROOTS_FILE=") for entry in environment)
    assert any(entry.startswith(b"DAAS_WRAPPING_KMS_KEY_ID=") for entry in environment)
    gateways = (b"DAAS_REQUEST_TABLE=", b"DAAS_BLOB_BUCKET=", b"DAAS_KMS_KEY_ID=", b"DAAS_PARKING_KEY_ID=")
    assert not [entry for entry in environment if entry.startswith(gateways)]


def test_the_listeners_metrics_count_a_command(shared_stack: Any) -> None:
    listener = urlsplit(shared_stack.endpoints["listener"]).netloc

    def page(path: str) -> str:
        connection = http.client.HTTPConnection(listener, timeout=10)
        connection.request("GET", path)
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def answers() -> float:
        name = 'daas_listener_answers_total{code="2xx"} '
        return sum(float(line.removeprefix(name)) for line in page("/metrics").splitlines() if name in line)

    assert page("/readyz") == "ok"
    before, kubectl = answers(), shared_stack.kubectl()
    # When the second one is answered, the first one is counted.
    for resource in ("configmaps", "secrets"):
        assert kubectl.run("get", resource).code == 0
    assert answers() > before


def test_a_newcomer_creates_reads_and_deletes_a_deployment(shared_stack: Any) -> None:
    kubectl = shared_stack.kubectl()
    assert "default" in kubectl.run("get", "ns").output
    assert "created" in kubectl.run("create", "deployment", "web", "--image=nginx").output
    found = yaml.safe_load(kubectl.run("get", "deploy", "web", "-o", "yaml").output)
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx"
    assert "deleted" in kubectl.run("delete", "deploy", "web").output
    assert "NotFound" in kubectl.run("get", "deploy", "web").errors


def test_apply_patch_scale_rollout_and_watch_work(shared_stack: Any) -> None:
    kubectl = shared_stack.kubectl()
    assert "created" in kubectl.run("apply", "-f", "-", stdin=DEPLOYMENT).output
    assert "unchanged" in kubectl.run("apply", "-f", "-", stdin=DEPLOYMENT).output
    assert (
        "patched"
        in kubectl.run("patch", "deploy", "applied", "-p", '{"metadata":{"labels":{"a":"b"}}}').output
    )
    assert "scaled" in kubectl.run("scale", "deploy/applied", "--replicas=3").output
    assert "successfully rolled out" in kubectl.run("rollout", "status", "deploy/applied").output
    assert "condition met" in kubectl.run("wait", "--for=condition=Available", "deploy/applied").output
    pods = kubectl.run("get", "pods", "-l", "app=applied", "-o", "name").output.split()
    assert len(pods) == 3
    assert "deleted" in kubectl.run("delete", "deploy", "applied").output


def test_every_command_is_on_chain_with_who_asked_and_how_it_ended(shared_stack: Any) -> None:
    before = len(audit(shared_stack))
    shared_stack.kubectl().run("create", "configmap", "audited", "--from-literal=a=b")
    shared_stack.kubectl().run("get", "configmap", "absent")

    new = audit(shared_stack)[before:]
    seen = [
        (record.requested.attributes.verb, record.requested.attributes.name, record.processed.status_code)
        for record in new
        if record.processed is not None and record.requested.attributes.resource == "configmaps"
    ]
    assert ("create", "", 201) in seen
    assert ("get", "absent", 404) in seen
    operator = json.loads((shared_stack.state / "keys" / "operator.json").read_text())
    assert {to_hex(record.requested.seal) for record in new} == {operator["seal"]}


def test_kubernetes_itself_knows_the_holder(shared_stack: Any) -> None:
    whoami = json.loads(shared_stack.kubectl().run("auth", "whoami", "-o", "json").output)
    user = whoami["status"]["userInfo"]
    [record] = [
        found for found in audit(shared_stack) if found.requested.attributes.resource == "selfsubjectreviews"
    ][:1]
    assert user["username"] == f"sui:{to_hex(record.requested.requester)}"
    assert "daas:role:operator" in user["groups"]
    assert "system:masters" not in user["groups"]


def test_a_secret_is_nowhere_on_chain(shared_stack: Any) -> None:
    password = secrets.token_hex(16)
    before = len(audit(shared_stack))
    kubectl = shared_stack.kubectl()
    kubectl.run("create", "secret", "generic", "hidden", f"--from-literal=value={password}")
    encoded = base64.b64encode(password.encode()).decode()
    assert kubectl.run("get", "secret", "hidden", "-o", "jsonpath={.data.value}").output == encoded

    records = audit(shared_stack)[before:]
    transactions = b"".join(asyncio.run(transactions_of(shared_stack, records)))
    assert b"hidden" in transactions
    for needle in (password.encode(), encoded.encode(), bytes.fromhex(password)):
        assert needle not in transactions


async def transactions_of(stack: Any, records: list[AuditRecord]) -> list[bytes]:
    """The bytes and the events of all transactions of the records."""
    ledger = GrpcLedger(stack.endpoints["sui"])
    try:
        found = []
        for record in records:
            for digest in (record.request_digest, record.response_digest):
                assert digest is not None
                transaction = await ledger.get_transaction(digest)
                assert transaction is not None
                found.append(transaction.bcs)
                found.extend(event.contents for event in transaction.events)
        return found
    finally:
        await ledger.close()


def test_a_wrong_token_is_unauthorized_and_reaches_no_chain(shared_stack: Any) -> None:
    kubectl = shared_stack.kubectl()
    kubectl.run("get", "pods")
    before = len(audit(shared_stack))
    refused = kubectl.run("get", "pods", "--token=x")
    assert refused.code != 0
    assert "Unauthorized" in refused.errors
    assert len(audit(shared_stack)) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--context", "viewer", "delete", "configmap", "kube-root-ca.crt"), "Forbidden"),
        (("--context", "small-stake", "create", "configmap", "x"), "stake"),
        (("delete", "lease", "x", "-n", "daas-system"), "Forbidden"),
        (("get", "pods", "--as", "system:admin"), "Impersonate"),
    ],
)
def test_who_may_not_is_told_why_and_costs_no_gas(
    shared_stack: Any, arguments: tuple[str, ...], sentence: str
) -> None:
    kubectl = shared_stack.kubectl()
    kubectl.run("--context", "viewer", "get", "configmaps")
    before = len(audit(shared_stack))
    refused = kubectl.run(*arguments)
    assert refused.code != 0
    assert sentence.lower() in refused.errors.lower()
    writes = [
        found
        for found in audit(shared_stack)[before:]
        if found.requested.attributes.verb not in ("get", "list")
    ]
    assert writes == []


def test_what_is_not_there_yet_says_so(shared_stack: Any) -> None:
    kubectl = shared_stack.kubectl()
    kubectl.run("run", "shell", "--image=busybox")
    refused = kubectl.run("exec", "shell", "--", "date")
    assert refused.code != 0
    assert "exec" in refused.errors


def test_nothing_goes_round_the_chain(own_stack: Any) -> None:
    stack = own_stack()
    kubectl = stack.kubectl()
    assert kubectl.run("get", "ns").code == 0
    # From now on the gateway could answer this from its cache: not to somebody whom it cannot check.
    assert kubectl.run("get", "--raw", "/version").code == 0
    os.kill(stack.pids["sui"], signal.SIGKILL)

    for arguments in (("get", "ns"), ("create", "namespace", "x"), ("get", "--raw", "/version")):
        refused = kubectl.run(*arguments, "--request-timeout=40s")
        assert refused.code != 0
        assert "sui" in refused.errors.lower() or "chain" in refused.errors.lower()
