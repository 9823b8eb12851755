"""The scene: what is done, what must come of it, and what a person is shown."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.certificates import LocalAuthority
from infra.local.demo.commands import Kubectl, Result
from infra.local.demo.past_admission import submit_past_admission
from infra.local.demo.trail import Trail
from infra.local.kubectl import find_kubectl
from infra.local.stack.kubeconfigs import client_certificate_kubeconfig
from infra.local.stack.stack import RunningStack
from k3s_daas.aborts import abort_name
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.audit import AuditRecord
from k3s_daas.ids import request_id_text, to_hex

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: nginx, image: "nginx:1.27"}]
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One kubectl command and what its output must contain; ``refused`` wants a failure."""

    title: str
    arguments: tuple[str, ...]
    expected: str
    stdin: str = ""
    refused: bool = False


class Scene:
    """Plays the steps on a running stack and counts what did not come out as it should."""

    def __init__(self, stack: RunningStack, state: Path) -> None:
        self._stack = stack
        self._state = state
        self._kubectl = Kubectl(find_kubectl(), stack.kubeconfig, state / "home")
        self._trail = Trail(stack.endpoints.sui, stack.chain.roots)
        self._failures: list[str] = []

    def play(self) -> list[str]:
        """Play everything; returns one sentence for each thing that went wrong."""
        password = secrets.token_hex(12)
        for step in _steps(password):
            self._step(step)
        _heading("the audit trail, read back from the chain")
        records = self._trail.all()
        self._show_audit(records)
        self._search_secret(records, password)
        _heading("three refusals")
        self._refuse_without_token()
        self._refuse_twice(
            Step(
                "a viewer deletes",
                ("--context", "viewer", "delete", "configmap", "kube-root-ca.crt"),
                "forbidden",
                refused=True,
            ),
            "viewer",
            OnChainAttributes("delete", "", "v1", "configmaps", "", "default", "kube-root-ca.crt"),
            ("DELETE", "/api/v1/namespaces/default/configmaps/kube-root-ca.crt"),
            "EForbiddenByRole",
        )
        self._refuse_twice(
            Step(
                "a seal below the minimum stake creates",
                ("--context", "small-stake", "create", "configmap", "note"),
                "stake",
                refused=True,
            ),
            "small-stake",
            OnChainAttributes("create", "", "v1", "configmaps", "", "default", ""),
            ("POST", "/api/v1/namespaces/default/configmaps"),
            "EStakeTooLow",
        )
        return self._failures

    def _step(self, step: Step) -> None:
        result = self._kubectl.run(*step.arguments, stdin=step.stdin)
        self._show(step, result)
        for record in self._trail.new():
            print(f"    on chain: {_describe(record)}")
            print(f"      request  {record.request_digest}")
            print(f"      response {record.response_digest or 'none'}")
            self._check(record.processed is not None, f"{step.title}: a command was not answered")

    def _show(self, step: Step, result: Result) -> None:
        print(f"\n$ kubectl {' '.join(_shown(argument) for argument in step.arguments)}")
        print(_indented(result.output + result.errors))
        print(f"    {result.seconds * 1000:.0f} ms")
        said = (result.output + result.errors).lower()
        self._check((result.code != 0) == step.refused, f"{step.title}: kubectl ended with {result.code}")
        self._check(step.expected.lower() in said, f"{step.title}: {step.expected!r} was not printed")

    def _show_audit(self, records: Sequence[AuditRecord]) -> None:
        print(f"{'who':12}  {'request':12}  {'status':6}  what")
        names = {address: name for name, address in self._stack.chain.addresses.items()}
        for record in records:
            who = names.get(record.requested.requester, to_hex(record.requested.requester))
            status = str(record.processed.status_code) if record.processed else "none"
            short = request_id_text(record.requested.request_id)[-12:]
            print(f"{who:12}  {short}  {status:6}  {_what(record)}")
        self._check(len(records) > 0, "the audit trail is empty")
        self._check(all(record.processed for record in records), "a command has no answer on chain")

    def _search_secret(self, records: Sequence[AuditRecord], password: str) -> None:
        public = self._trail.holding(records, b"db-password")
        self._check(bool(public), "the search finds nothing, not even what is public")
        plain = self._trail.holding(records, password.encode())
        encoded = self._trail.holding(records, base64.b64encode(password.encode()))
        self._check(not plain and not encoded, f"the Secret's value is on chain: {plain + encoded}")
        print(
            f"\nThe Secret's name stands in {len(public)} transactions (names are public); "
            f"its value, plain or base64, in {len(plain) + len(encoded)}."
        )

    def _refuse_without_token(self) -> None:
        """A client certificate keeps kubectl from asking for a password; it is no token."""
        files = LocalAuthority(self._state / "stranger").issue("stranger")
        kubeconfig = self._state / "stranger" / "kubeconfig"
        kubeconfig.write_text(client_certificate_kubeconfig(self._stack.kubeconfig, files))
        stranger = Kubectl(find_kubectl(), kubeconfig, self._state / "home")
        before = len(self._trail.all())
        step = Step("no token", ("get", "pods"), "Unauthorized", refused=True)
        self._show(step, stranger.run(*step.arguments))
        self._check(len(self._trail.all()) == before, "no token: a command reached the chain")

    def _refuse_twice(
        self,
        step: Step,
        holder: str,
        attributes: OnChainAttributes,
        target: tuple[str, str],
        expected_abort: str,
    ) -> None:
        """As a user meets it at the gateway, and past the gateway's admission, where the contract refuses."""
        self._show(step, self._kubectl.run(*step.arguments))
        # kubectl may have asked for the version or for discovery on the way: those are the holder's to ask.
        submitted = [found for found in self._trail.new() if found.requested.attributes == attributes]
        self._check(not submitted, f"{step.title}: it cost a transaction")
        method, path = target
        settings = self._stack.chain.holders[holder]
        abort = submit_past_admission(self._stack, settings, attributes, method, path)
        if abort is None:
            self._check(False, f"{step.title}: the contract accepted it")
            return
        name = abort_name(abort.module, abort.code)
        print(f"    past the admission: the contract aborts with {name}\n      transaction {abort.digest}")
        self._check(name == expected_abort, f"{step.title}: the contract said {name}, not {expected_abort}")

    def _check(self, holds: bool, failure: str) -> None:
        if not holds:
            print(f"    FAILED: {failure}")
            self._failures.append(failure)


def _steps(password: str) -> list[Step]:
    shop = ("-n", "shop")
    return [
        Step("namespaces", ("get", "namespaces"), "default"),
        Step("new namespace", ("create", "namespace", "shop"), "created"),
        Step("apply", ("apply", "-f", "-"), "deployment.apps/web created", stdin=DEPLOYMENT),
        Step("pods", ("get", "pods", *shop), "web-"),
        Step("scale", ("scale", "deployment/web", "--replicas=3", *shop), "scaled"),
        Step("rollout", ("rollout", "status", "deployment/web", *shop), "successfully rolled out"),
        Step(
            "create a Secret",
            ("create", "secret", "generic", "db-password", f"--from-literal=value={password}", *shop),
            "created",
        ),
        Step(
            "read the Secret",
            ("get", "secret", "db-password", "-o", "jsonpath={.data.value}", *shop),
            base64.b64encode(password.encode()).decode(),
        ),
        Step("delete", ("delete", "deployment", "web", *shop), "deleted"),
    ]


def _describe(record: AuditRecord) -> str:
    status = record.processed.status_code if record.processed else "no answer"
    return f"{_what(record)} -> {status}"


def _what(record: AuditRecord) -> str:
    asked = record.requested.attributes
    if asked.non_resource_url:
        return f"{asked.verb} {asked.non_resource_url}"
    resource = asked.resource + (f".{asked.api_group}" if asked.api_group else "")
    subresource = f"/{asked.subresource}" if asked.subresource else ""
    name = f" {asked.name}" if asked.name else ""
    where = f" in {asked.namespace}" if asked.namespace and asked.resource != "namespaces" else ""
    return f"{asked.verb} {resource}{subresource}{name}{where}"


def _heading(text: str) -> None:
    print(f"\n== {text} ==")


def _shown(argument: str) -> str:
    """A Secret's value does not belong on a screen either."""
    name, separator, _ = argument.partition("--from-literal=value=")
    return f"{name}{separator}..." if separator else argument


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
