"""An operator written with kopf, through the gateway and the chain, on both API servers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from kubernetes.watch import Watch

from infra.local.kubectl import find_kubectl
from tests.compat.clients import PATIENCE_S, Place, fading, place_on
from tests.compat.kopf_operator import GROUP, PLURAL, VERSION
from tests.compat.stages import Stage
from tests.e2e.parking_stage import SecondGateway

# The first test of a server may wait for the compiler.
pytestmark = pytest.mark.timeout(1800)
OPERATOR = Path(__file__).with_name("kopf_operator.py")
FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"
DEFINITION = {
    "metadata": {"name": f"{PLURAL}.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": PLURAL, "singular": "shop", "kind": "Shop"},
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}
SHOP = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Shop", "metadata": {"name": "corner"}}


class Shops:
    """What a person does to a shop, past the gateway, and what becomes of it."""

    def __init__(self, place: Place) -> None:
        self._api = client.CustomObjectsApi(place.admin)
        self._where = (GROUP, VERSION, place.namespace, PLURAL)
        definitions = client.ApiextensionsV1Api(place.admin)
        try:
            definitions.create_custom_resource_definition(DEFINITION)
        except client.ApiException as error:
            if error.status != 409:
                raise

    def opens(self, hours: str) -> None:
        """A shop is made; a definition takes a moment until it is served."""
        body = {**SHOP, "spec": {"hours": hours}}
        until_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._api.create_namespaced_custom_object(*self._where, body)
            except client.ApiException as error:
                if error.status != 404 or time.monotonic() > until_s:
                    raise
                time.sleep(0.1)
            else:
                return

    def moves(self, hours: str) -> None:
        """It is changed."""
        self._api.patch_namespaced_custom_object(*self._where, "corner", {"spec": {"hours": hours}})

    def closes(self) -> None:
        """It is deleted, as far as finalizers let it."""
        self._api.delete_namespaced_custom_object(*self._where, "corner")

    def until(self, holds: Callable[[str, dict[str, Any]], bool]) -> dict[str, Any]:
        """The shop, from when something holds of an event's type and object."""
        seen = []
        for event in Watch().stream(
            self._api.list_namespaced_custom_object, *self._where, timeout_seconds=int(PATIENCE_S)
        ):
            seen.append((event["type"], event["object"]))
            if holds(*seen[-1]):
                return dict(event["object"])
        pytest.fail(f"the operator did nothing: {seen}")


@contextmanager
def operator(place: Place, kubeconfig: Path, log: Path) -> Generator[subprocess.Popen[str], None, None]:
    """A running operator; what it prints and complains about goes to `log`."""
    command = [sys.executable, "-m", "kopf", "run", "--namespace", place.namespace, str(OPERATOR)]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def serves(place: Place, kubeconfig: Path, log: Path, meanwhile: Callable[[], None] = lambda: None) -> str:
    """A shop's life under an operator; returns the operator's log. `meanwhile` happens while it starts."""
    shops = Shops(place)
    with operator(place, kubeconfig, log) as process:
        meanwhile()
        shops.opens("9-17")
        shop = shops.until(lambda _, shop: shop.get("status", {}).get("open") == "9-17")
        assert shop["metadata"]["finalizers"] == [FINALIZER]
        shops.moves("10-18")
        shops.until(lambda _, shop: shop.get("status", {}).get("open") == "10-18")
        shops.closes()
        shops.until(lambda kind, _: kind == "DELETED")
        assert process.poll() is None, log.read_text()
    lines = log.read_text().splitlines()
    told = [line for line in lines if line.startswith(("opened", "moved", "closed"))]
    assert told == ["opened corner", "moved corner", "closed corner"]
    return "\n".join(lines)


@pytest.fixture(scope="module", params=["memory", "real"])
def place(request: pytest.FixtureRequest) -> Place:
    return place_on(request.getfixturevalue(f"{request.param}_stage"))


def test_an_operator_handles_each_change_once_and_writes_status_and_finalizers(
    place: Place, tmp_path: Path
) -> None:
    said = serves(place, place.stage.chain, tmp_path / "operator.log")
    assert "Request attempt" not in said


def test_an_operator_whose_token_ended_logs_in_again(memory_stage: Stage, tmp_path: Path) -> None:
    # Its way of reading a kubeconfig asks the plugin twice.
    tokens = fading(memory_stage, tmp_path, dead=2)
    serves(place_on(memory_stage), tokens.kubeconfig, tmp_path / "operator.log")
    assert tokens.runs > 2


def test_an_operator_that_is_told_to_come_again_does(memory_stage: Stage, tmp_path: Path) -> None:
    """It has three watches, there are three places, and somebody else has one until the operator met that."""
    place, places = place_on(memory_stage), {"DAAS_OPEN_REQUESTS": "3"}
    gateway = SecondGateway(memory_stage.state, tmp_path, find_kubectl(), settings=places)
    kubeconfig = tmp_path / "kubeconfig"
    core = client.CoreV1Api(place.chain(kubeconfig))
    version = core.list_namespaced_config_map(place.namespace).metadata.resource_version
    watching = Watch().stream(core.list_namespaced_config_map, place.namespace, resource_version=version)

    def leave_once_it_was_refused() -> None:
        until_s = time.monotonic() + PATIENCE_S
        while ("watch", 429) not in [
            answer
            for resource in ("customresourcedefinitions", "namespaces", PLURAL)
            for answer in gateway.answers(resource)
        ]:
            assert time.monotonic() < until_s, "nothing was refused"
            time.sleep(0.2)
        place.happens("enough")

    with ThreadPoolExecutor(1) as pool:
        try:
            other = pool.submit(next, watching)
            serves(place, kubeconfig, tmp_path / "operator.log", leave_once_it_was_refused)
            assert other.result(PATIENCE_S)["object"].metadata.name == "enough"
        finally:
            watching.close()
            gateway.close()
