"""What most tests of the gateway, and of the listener's way to an API server, begin with. Tests of other
things make their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from infra.local.certificates import LocalAuthority
from tests.unit.gateway_world import LocalAws, MakeWorld, World
from tests.unit.kubeconfig_place import Place, place_with
from tests.unit.scripted_api_server import ScriptedApiServer, scripted_api_server


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    """The tests of a file share it."""
    with mock_aws():
        yield LocalAws()


@pytest.fixture
def make(aws: LocalAws) -> Iterator[MakeWorld]:
    """Makes gateways, by the arguments of `World`, and closes them after the test."""
    made: list[World] = []

    def build(**arguments: Any) -> World:
        made.append(World(aws, **arguments))
        return made[-1]

    yield build
    for world in made:
        world.close()


@pytest.fixture
def world(make: MakeWorld) -> World:
    """One gateway, as it is without settings."""
    return make()


@pytest.fixture
def api() -> Iterator[ScriptedApiServer]:
    with scripted_api_server() as script:
        yield script


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LocalAuthority:
    """The tests of a file share it."""
    return LocalAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def place(tmp_path: Path, authority: LocalAuthority) -> Iterator[Place]:
    """An API server over TLS, with the kubeconfig that leads to it."""
    with place_with(tmp_path, authority) as made:
        yield made


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment of this machine says."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
