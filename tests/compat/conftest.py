"""One stack for each API server; the first test that asks for the real one may wait for the compiler."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from infra.local.apiserver.errors import UnsupportedPlatformError
from tests.compat.stages import Stage, in_memory, real


@pytest.fixture(scope="session")
def memory_stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage, None, None]:
    with in_memory(tmp_path_factory.mktemp("memory")) as stage:
        yield stage


@pytest.fixture(scope="session")
def real_stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage, None, None]:
    try:
        with real(tmp_path_factory.mktemp("real")) as stage:
            yield stage
    except UnsupportedPlatformError as error:
        pytest.skip(str(error))
