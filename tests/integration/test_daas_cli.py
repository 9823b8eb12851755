"""`daas` as an operator types it, against the contract in the local Sui."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from infra.local.stack.stack import compiled_contract
from infra.local.sui.compiler import compile_sources, read_sources
from infra.local.sui.server import LocalSui
from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.paying import Payer
from k3s_daas.cli.daas import main
from k3s_daas.contract.announcing import Announcement
from k3s_daas.contract.keys import announced_key
from k3s_daas.contract.objects import ClusterState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.signers import FileSigner

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

SUI = 1_000_000_000
SOURCES = Path(__file__).parents[2] / "move"
PACKAGES = Path(__file__).parent / "packages"
ROLES = """
roles:
  - name: viewer
    priority: 3
    stake: 0
    open: false
    rules:
      - {verbs: [get, list, watch], apiGroups: ["", apps], resources: ["*"]}
      - {verbs: [get], nonResourceURLs: [/api, /api/*, /version]}
  - name: developer
    priority: 5
    stake: 1.5 SUI
    open: true
    rules:
      - {verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: [shop]}
"""


@dataclass
class Desk:
    """An operator's directory, and the chain he works on."""

    sui: LocalSui
    ledger: GrpcLedger
    directory: Path
    capture: pytest.CaptureFixture[str] | None = None
    keys: dict[str, FileSigner] = field(default_factory=dict)

    async def key(self, name: str, *, funded: bool = True) -> FileSigner:
        if name not in self.keys:
            self.keys[name] = FileSigner.generate(self.file(f"{name}.key"))
            if funded:
                await self.sui.faucet(self.keys[name].address, 100 * SUI, coins=0)
        return self.keys[name]

    def file(self, name: str) -> Path:
        return self.directory / name

    async def run(self, *arguments: str, key: str = "admin", code: int = 0) -> str:
        """Runs `daas` in a thread of its own (it has its own event loop); returns what it printed."""
        words = list(arguments)
        if words[0] != "key":
            words += ["--endpoint", f"http://127.0.0.1:{self.sui.grpc_ports[0]}"]
            if "--deployment" not in words:
                words += ["--deployment", str(self.file("daas.json"))]
            if words[:2] not in (["cluster", "show"], ["grant", "list"]) and words[0] != "roots":
                words += ["--key", str(self.file(f"{key}.key"))]
        assert self.capture is not None
        self.capture.readouterr()
        ended = await asyncio.to_thread(main, words)
        printed = self.capture.readouterr()
        assert ended == code, printed.out + printed.err
        if code:
            assert printed.err.startswith("daas: ")
            assert printed.err.count("\n") == 1, printed.err
        for signer_file in self.directory.glob("*.key"):
            assert signer_file.read_text().strip() not in printed.out + printed.err
        return printed.err if code else printed.out

    def deployment(self, name: str = "daas.json") -> Deployment:
        return Deployment.load(self.file(name))

    async def cluster(self, name: str = "daas.json") -> ClusterState:
        return await ContractReader(self.ledger, self.deployment(name).roots()).cluster()

    @property
    def transactions(self) -> int:
        return int(self.sui.counters()["transactions"]["executed"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with LocalSui(finality_ms=0, checkpoint_ms=20) as sui:
        ledger = GrpcLedger(f"http://127.0.0.1:{sui.grpc_ports[0]}")
        desk = Desk(sui, ledger, tmp_path_factory.mktemp("desk"))
        await desk.key("admin")
        code = compiled_contract()
        desk.file("bytecode.json").write_text(code.to_json())
        try:
            yield desk
        finally:
            await ledger.close()


@pytest.fixture
def desk(chain: Desk, capsys: pytest.CaptureFixture[str]) -> Desk:
    chain.capture = capsys
    return chain


@pytest_asyncio.fixture(loop_scope="module")
async def served(desk: Desk) -> Desk:
    """With a package and a cluster; the first test that needs it makes it."""
    if not desk.file("daas.json").exists():
        await desk.run("publish", "--bytecode", str(desk.file("bytecode.json")), "--yes")
        await desk.run("cluster", "create", "--name", "shop", "--yes")
    return desk


async def test_publishing_and_creating_a_cluster_write_the_deployment_file(desk: Desk) -> None:
    before = desk.transactions
    shown = await desk.run("publish", "--package", str(PACKAGES / "counter"), "--dry-run")
    assert "publish 1 modules" in shown
    said = await desk.run("publish", "--package", str(PACKAGES), "--dry-run", code=1)
    assert "Move.toml" in said
    shown = await desk.run("publish", "--bytecode", str(desk.file("bytecode.json")), "--dry-run")
    assert "modules" in shown
    assert desk.transactions == before
    assert not desk.file("daas.json").exists()

    await desk.run("publish", "--bytecode", str(desk.file("bytecode.json")), "--yes")
    published = desk.deployment()
    assert published.package_original == published.package_latest
    assert published.cluster is None
    refused = await desk.run("publish", "--bytecode", str(desk.file("bytecode.json")), "--yes", code=1)
    assert "already" in refused

    assert "1 SUI" in await desk.run("cluster", "create", "--name", "shop", "--dry-run")
    assert desk.deployment() == published
    pauser = await desk.key("pauser")
    await desk.run("cluster", "create", "--name", "shop", "--yes", "--pause-to", to_hex(pauser.address))

    created = desk.deployment()
    assert set(created.capabilities) == {"cluster", "pause", "member", "access"}
    cluster = await desk.cluster()
    assert (cluster.name, cluster.listener_namespace, cluster.paused) == ("shop", "daas-system", False)
    assert cluster.capabilities == {created.capabilities[duty] for duty in ("pause", "member", "access")}
    assert "another file" not in await desk.run("cluster", "show")
    again = await desk.run("cluster", "create", "--name", "second", "--yes", code=1)
    assert "--out" in again
    await desk.run("cluster", "create", "--name", "second", "--yes", "--out", str(desk.file("second.json")))
    assert (await desk.cluster("second.json")).name == "second"
    assert desk.deployment() == created


async def test_roles_of_a_file_are_applied_once(served: Desk) -> None:
    roles = served.file("roles.yaml")
    roles.write_text(ROLES)
    apply = ("role", "apply", "-f", str(roles))

    before = served.transactions
    shown = await served.run(*apply, "--dry-run")
    assert "create the role viewer" in shown
    assert "create the role developer" in shown
    assert served.transactions == before
    assert not (await served.cluster()).roles

    await served.run(*apply, "--yes")
    assert served.transactions == before + 1
    cluster = await served.cluster()
    assert cluster.roles["developer"].stake == SUI * 3 // 2
    assert cluster.roles["developer"].rules[0].namespaces == ("shop",)
    assert "nothing to do" in await served.run(*apply, "--yes")
    assert served.transactions == before + 1

    roles.write_text(ROLES.replace("priority: 3", "priority: 4").replace("/version", "/healthz"))
    shown = await served.run(*apply, "--yes")
    assert "priority 3 -> 4" in shown
    assert "developer" not in shown
    assert (await served.cluster()).roles["viewer"].rules[1].non_resource_urls[-1] == "/healthz"

    roles.write_text(ROLES.split("  - name: developer", maxsplit=1)[0])
    assert "developer" in await served.run(*apply, "--dry-run")
    assert "remove the role developer" in await served.run(*apply, "--prune", "--yes")
    assert set((await served.cluster()).roles) == {"viewer"}


async def test_what_the_file_may_say_the_contract_takes(served: Desk) -> None:
    """The longest and oddest of everything."""
    long = "x" * 63
    rules = [
        {
            "verbs": ["*", "v" * 32],
            "apiGroups": ["", "*", "g" * 253],
            "resources": ["*", long, f"{long}/{long}", f"*/{long}", *(f"r{n}" for n in range(28))],
            "namespaces": ["*", "n" * 63, "-"],
            "resourceNames": ["o" * 253, "*", "system:node proxier", "é" * 126],
        },
        {"verbs": ["get"], "nonResourceURLs": ["*", "/", "/*", "/" + "u" * 251 + "*"]},
    ]
    roles = [
        {"name": name, "priority": 9, "stake": "18446744073709551615 MIST", "open": True, "rules": rules}
        for name in ("l" * 63, "-")
    ]
    large = served.file("large.yaml")
    large.write_text(json.dumps({"roles": roles}))
    apply = ("role", "apply", "-f", str(large), "--yes")
    assert "--gas-budget" in await served.run(*apply, "--gas-budget", "0.01 SUI", code=1)
    assert "-" not in (await served.cluster()).roles
    await served.run(*apply)
    assert (await served.cluster()).roles["-"].stake == 2**64 - 1
    assert "nothing to do" in await served.run("role", "apply", "-f", str(large), "--yes")
    large.write_text("roles: []\n")
    await served.run(*apply, "--prune")
    assert not (await served.cluster()).roles


async def test_a_file_that_is_wrong_names_the_place(served: Desk) -> None:
    broken = served.file("broken.yaml")
    broken.write_text(ROLES.replace("verbs: [get]", "verbs: [get, '']"))
    said = await served.run("role", "apply", "-f", str(broken), "--yes", code=1)
    assert "roles[0].rules[1].verbs[1]" in said


async def test_without_a_terminal_nothing_happens_unasked(served: Desk) -> None:
    said = await served.run("gateway", "add", to_hex(b"\x09" * 32), code=1)
    assert "--yes" in said
    assert b"\x09" * 32 not in (await served.cluster()).gateways


async def test_members_keys_and_pins(served: Desk) -> None:
    executor, gateway = await served.key("executor"), await served.key("gateway", funded=False)
    await served.run("executor", "add", to_hex(executor.address), "--yes")
    await served.run("gateway", "add", to_hex(gateway.address), "--yes")
    assert "nothing to do" in await served.run("gateway", "add", to_hex(gateway.address), "--yes")
    assert "no sealing key yet" in await served.run("cluster", "show")

    keys = {
        name: re.findall(
            r"public key (0x\w+)", await served.run("key", "show", str(served.file(f"{name}.key")))
        )
        for name in ("executor", "gateway", "admin")
    }
    roots_file = served.file("roots.json")
    pins = ("roots", "--gateway", keys["gateway"][0], "--out", str(roots_file), "--yes")
    said = await served.run(*pins, "--executor", keys["admin"][0], code=1)
    assert "no registered executor" in said
    assert "not pinned" not in await served.run(*pins, "--executor", keys["executor"][0])
    assert "nothing to do" in await served.run(*pins, "--executor", keys["executor"][0])
    roots = TrustRoots.load(roots_file)

    private = SealingPrivateKey.generate()
    state = await served.cluster()
    announcement = Announcement.following(state, executor.address)
    signature = announcement.signature(state, executor, private.public_key)
    package = served.deployment().package_latest
    await Payer(served.ledger, executor).run(
        lambda builder: announcement.add_to(
            builder, package, state, key=private.public_key, signature=signature
        )
    )
    announced = (await served.cluster()).executors[executor.address]
    assert announced.generation == 1
    assert announced_key(announced, roots).to_bytes() == private.public_bytes()
    assert "generation 1, sealing key" in await served.run("cluster", "show")

    await served.run("gateway", "remove", to_hex(gateway.address), "--yes")
    assert gateway.address not in (await served.cluster()).gateways


async def test_pausing_takes_one_capability_and_resuming_another(served: Desk) -> None:
    watcher = await served.key("watcher")
    issued = await served.run("capability", "issue", "pause", "--to", to_hex(watcher.address), "--yes")
    assert "pause capability" in issued

    await served.run("cluster", "pause", "--yes", key="watcher")
    assert (await served.cluster()).paused
    assert "PAUSED" in await served.run("cluster", "show")
    said = await served.run("cluster", "resume", "--yes", key="watcher", code=1)
    assert "ClusterCap" in said
    assert (await served.cluster()).paused
    await served.run("cluster", "resume", "--yes")
    assert "nothing to do" in await served.run("cluster", "resume", "--yes")

    await served.run("capability", "revoke", to_hex(served.deployment().capabilities["pause"]), "--yes")
    said = await served.run("cluster", "pause", "--yes", key="watcher", code=1)
    assert "PauseCap" in said
    assert not (await served.cluster()).paused


async def test_grants_are_listed_moved_and_taken_away(served: Desk) -> None:
    served.file("roles.yaml").write_text(ROLES)
    await served.run("role", "apply", "-f", str(served.file("roles.yaml")), "--yes")
    alice, bob = "0x" + "a1" * 32, "0x" + "b0" * 32

    assert await served.run("grant", "list") == "no grants\n"
    said = await served.run("grant", "add", alice, "nobody", "--for", "30d", "--yes", code=1)
    assert "developer, viewer" in said
    until = ("--until", "2031-01-31T00:00:00Z", "--yes")
    await served.run("grant", "add", alice, "viewer", *until)
    await served.run("grant", "add", bob, "viewer", "--for", "30d", "--yes")
    assert "nothing to do" in await served.run("grant", "add", alice, "viewer", *until)
    listed = await served.run("grant", "list")
    assert f"{alice}  until 2031-01-31T00:00:00Z" in listed
    assert bob in listed

    moved = await served.run("grant", "add", alice, "viewer", "--until", "2032-01-31T00:00:00Z", "--yes")
    assert "instead of 2031-01-31T00:00:00Z" in moved
    await served.run("grant", "remove", bob, "viewer", "--yes")
    assert "nothing to do" in await served.run("grant", "remove", bob, "viewer", "--yes")
    assert bob not in await served.run("grant", "list")
    said = await served.run("grant", "add", bob, "viewer", "--until", "2020-01-01T00:00:00Z", "--yes", code=1)
    assert "ended already" in said


async def test_a_policy_changes_only_in_what_its_file_says(served: Desk) -> None:
    policy = served.file("policy.yaml")
    policy.write_text("commandsPerMinute: 30\nmaxSeal: 14d\n")
    before = (await served.cluster()).policy
    shown = await served.run("policy", "apply", "-f", str(policy), "--yes")
    assert "maxSeal: 30d -> 14d" in shown
    after = (await served.cluster()).policy
    assert (after.commands_per_minute, after.max_seal_ms) == (30, 14 * 86_400_000)
    assert after.min_write_stake == before.min_write_stake
    assert "nothing to do" in await served.run("policy", "apply", "-f", str(policy), "--yes")
    policy.write_text("maxStart: 2d\n")
    said = await served.run("policy", "apply", "-f", str(policy), "--yes", code=1)
    assert "EInvalidPolicy" in said


async def test_an_upgrade_is_checked_then_made_then_migrated_to(served: Desk) -> None:
    sources = read_sources(SOURCES)
    assert "const VERSION: u64 = 1;" in sources["sources/cluster.move"]
    roots = served.file("roots.json")
    old = served.deployment()

    code = served.file("bytecode.json")
    assert "this code already" in await served.run("upgrade", "--bytecode", str(code), "--yes")

    broken = {**sources}
    broken["sources/cluster.move"] = broken["sources/cluster.move"].replace(
        "public fun resume(", "public fun carry_on("
    )
    served.file("broken.json").write_text(compile_sources(broken).to_json())
    before = served.transactions
    said = await served.run("upgrade", "--bytecode", str(served.file("broken.json")), "--yes", code=1)
    assert "cluster::resume is missing" in said
    assert served.transactions == before
    assert served.deployment() == old

    newer = {**sources}
    newer["sources/cluster.move"] = newer["sources/cluster.move"].replace(
        "const VERSION: u64 = 1;", "const VERSION: u64 = 2;"
    )
    served.file("newer.json").write_text(compile_sources(newer).to_json())
    upgrade = ("upgrade", "--bytecode", str(served.file("newer.json")), "--yes", "--roots", str(roots))
    assert "changes cluster" in await served.run(*upgrade, "--dry-run")
    assert served.deployment() == old
    said = await served.run(*upgrade)
    assert "daas cluster migrate" in said
    new = served.deployment()
    assert new.package_original == old.package_original
    assert new.package_latest != old.package_latest
    assert TrustRoots.load(roots).package_latest == new.package_latest
    assert (await served.cluster()).version == 1
    # Not before it is migrated does the new code serve the cluster.
    said = await served.run("gateway", "add", to_hex(b"\x08" * 32), "--yes", code=1)
    assert "EUnsupportedVersion" in said
    assert "daas cluster migrate" in said

    await served.run("upgrade", "--bytecode", str(served.file("newer.json")), "--yes", "--migrate")
    assert (await served.cluster()).version == 2
    assert "already" in await served.run("cluster", "migrate", "--yes")
    assert "(version 2)" in await served.run("cluster", "show")
    await served.run("gateway", "add", to_hex(b"\x08" * 32), "--yes")
    behind = json.loads(served.file("daas.json").read_text()) | {"package_latest": to_hex(old.package_latest)}
    served.file("behind.json").write_text(json.dumps(behind))
    said = await served.run(
        "upgrade", "--bytecode", str(code), "--deployment", str(served.file("behind.json")), "--yes", code=1
    )
    assert to_hex(new.package_latest) in said


async def test_what_was_not_said_is_one_sentence(served: Desk) -> None:
    stranger = await served.key("stranger")
    said = await served.run("gateway", "add", to_hex(stranger.address), "--yes", key="stranger", code=1)
    assert "MemberCap" in said
    poor = await served.key("poor", funded=False)
    await served.run("capability", "issue", "member", "--to", to_hex(poor.address), "--yes")
    said = await served.run("gateway", "add", to_hex(poor.address), "--yes", key="poor", code=1)
    assert to_hex(poor.address) in said
    assert "gas" in said
    said = await served.run("cluster", "show", "--deployment", str(served.file("absent.json")), code=1)
    assert "absent.json" in said
