"""What goes on beside the commands never ends unheard."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.stack.kubeconfigs import token_kubeconfig
from k3s_daas.sui.signers import FileSigner
from listener_service import __main__ as process
from listener_service import chain_tip, logs
from listener_service.chores import kept_up
from listener_service.claim_removal import ClaimRemoval
from listener_service.vitals import Vitals
from tests.unit.listener_world import NAMESPACE, FrozenClock, World, until
from tests.unit.running_listener import listener
from tests.unit.scripted_api_server import ScriptedApiServer

FAILED = "a chore failed, beginning it again"


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.getMessage() == FAILED]


async def test_a_chore_that_fails_is_told_with_its_trace_and_begun_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults = [ValueError("one"), KeyError("two")]

    async def chore() -> int:
        if faults:
            raise faults.pop()
        return 7

    assert await kept_up("count", chore, FrozenClock()) == 7
    assert [vars(record)["chore"] for record in told(caplog)] == ["count", "count"]
    assert [record.exc_info is not None for record in told(caplog)] == [True, True]


async def test_the_chains_tip_is_watched_again_after_a_reply_that_nobody_thought_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world, vitals = World(), Vitals(15, 30)
    sound, replies = world.ledger.service_info, [TypeError("no number")]

    async def service_info() -> object:
        if replies:
            raise replies.pop()
        return await sound()

    monkeypatch.setattr(world.ledger, "service_info", service_info)
    watching = asyncio.create_task(
        kept_up("watch", lambda: chain_tip.watch(world.ledger, vitals.chain, world.clock), world.clock)
    )
    await until(lambda: vitals.chain.checkpoint is not None)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert len(told(caplog)) == 1


async def test_a_defect_in_a_chore_of_the_term_does_not_end_the_term(
    api: ScriptedApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world, sound, defects = World(), ClaimRemoval.run, [ValueError("a defect")]

    async def run(removal: ClaimRemoval) -> None:
        if defects:
            raise defects.pop()
        await sound(removal)

    monkeypatch.setattr(ClaimRemoval, "run", run)
    async with listener(world, api) as running:
        await until(lambda: bool(told(caplog)))
        requested, event = world.command()
        world.ledger.publish(event)
        await until(lambda: requested.request_id in world.answers())
        assert running.term.is_current()
    [record] = told(caplog)
    assert vars(record)["chore"] == "remove claims"


def private(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_a_process_that_fails_inside_says_so_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = bytes(range(32))
    world = World(executor=FileSigner(Ed25519PrivateKey.from_private_bytes(seed)))
    roots, kubeconfig = tmp_path / "roots.json", tmp_path / "kubeconfig"
    world.roots.dump(roots)
    kubeconfig.write_text(token_kubeconfig({"server": "http://127.0.0.1:9"}, "listener", "token"))

    async def run(*_: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(process, "_run", run)
    monkeypatch.setattr(logs, "configure", lambda _: None)
    environment = {
        "DAAS_TRUST_ROOTS_FILE": str(roots),
        "DAAS_SUI_ENDPOINT": "http://127.0.0.1:9",
        "DAAS_SINGLE_ENDPOINT": "development",
        "DAAS_EXECUTOR_KEY_FILE": private(tmp_path / "executor.key", seed.hex()),
        "DAAS_PLAIN_EXECUTOR_KEY": "development",
        "DAAS_KEY_PASSPHRASE_FILE": private(tmp_path / "passphrase", "correct horse battery staple"),
        "DAAS_LISTENER_NAMESPACE": NAMESPACE,
        "KUBECONFIG": str(kubeconfig),
    }
    assert process.main(environment) == 1
    assert capsys.readouterr().err == "listener: it failed inside, see its log\n"
