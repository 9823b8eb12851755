"""Twenty holders at once: every reply belongs to its request, and everything happened once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from k3s_daas.cli.holder import Holder
from k3s_daas.contract.audit import AuditRecord, read_audit
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.grpc import GrpcLedger
from tests.e2e.crowd import CROWD, Administrator, Crowd, Reply, Request

pytestmark = pytest.mark.timeout(240)

READS, WRITES = 200, 100
NAMESPACES = "/api/v1/namespaces"
CONFIG_MAPS = f"{NAMESPACES}/crowded/configmaps"
MERGE_PATCH = "application/merge-patch+json"


@pytest.fixture
def administrator(shared_stack: Any) -> Iterator[Administrator]:
    administrator = Administrator(shared_stack.state)
    yield administrator
    administrator.close()


@pytest.fixture
def crowd(shared_stack: Any) -> Iterator[Crowd]:
    crowd = Crowd(shared_stack.state, shared_stack.endpoints["gateway"])
    yield crowd
    crowd.close()


def holder(number: int) -> str:
    return f"crowd-{1 + number % CROWD}"


def config_map(about: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"labels": {"about": about}, **metadata},
        "data": {"about": about},
    }


def read(number: int) -> Request:
    """By name, by label, and of something that is not there."""
    about = f"read-{number}"
    targets = {
        0: f"{CONFIG_MAPS}/{about}",
        1: f"{CONFIG_MAPS}/{about}",
        2: f"{CONFIG_MAPS}?labelSelector=about%3D{about}",
        3: f"{CONFIG_MAPS}/missing-{number}",
    }
    return Request(holder(number), "GET", targets[number % 4], about)


def write(number: int) -> Request:
    """Creates with a name and with a generated one, changes, deletes."""
    about = f"write-{number}"
    who = holder(number)
    if number % 4 == 0:
        return Request(who, "POST", CONFIG_MAPS, about, encode(config_map(about, name=about)))
    if number % 4 == 1:
        return Request(who, "POST", CONFIG_MAPS, about, encode(config_map(about, generateName="any-")))
    if number % 4 == 2:
        change = encode({"data": {"changed": about}})
        return Request(who, "PATCH", f"{CONFIG_MAPS}/{about}", about, change, MERGE_PATCH)
    return Request(who, "DELETE", f"{CONFIG_MAPS}/{about}", about)


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


def check_read(number: int, reply: Reply) -> None:
    about = f"read-{number}"
    if number % 4 == 3:
        assert (reply.status, reply.body["details"]["name"]) == (404, f"missing-{number}")
        return
    assert reply.status == 200
    [found] = reply.body["items"] if number % 4 == 2 else [reply.body]
    assert (found["metadata"]["name"], found["data"]) == (about, {"about": about})


def check_write(number: int, reply: Reply) -> None:
    about = f"write-{number}"
    if number % 4 == 3:
        assert (reply.status, reply.body["status"], reply.body["details"]["name"]) == (200, "Success", about)
        return
    assert reply.status == (200 if number % 4 == 2 else 201)
    assert reply.body["data"]["about"] == about
    if number % 4 == 1:
        assert reply.body["metadata"]["name"].startswith("any-")
    else:
        assert reply.body["metadata"]["name"] == about
    if number % 4 == 2:
        assert reply.body["data"]["changed"] == about


def check_cluster(administrator: Administrator, replies: list[Reply]) -> None:
    found = {item["metadata"]["name"]: item for item in administrator.items(CONFIG_MAPS)}
    generated = {name: item["data"]["about"] for name, item in found.items() if name.startswith("any-")}
    # Nothing was made twice, and everybody was told the name of his own.
    assert generated == {
        replies[number].body["metadata"]["name"]: f"write-{number}" for number in range(1, WRITES, 4)
    }
    expected = {f"read-{number}": {"about": f"read-{number}"} for number in range(READS) if number % 4 != 3}
    for number in range(WRITES):
        about = f"write-{number}"
        if number % 4 == 0:
            expected[about] = {"about": about}
        elif number % 4 == 2:
            expected[about] = {"about": about, "changed": about}
    ours = {name: item["data"] for name, item in found.items() if name.startswith(("read-", "write-"))}
    assert ours == expected


def audit(stack: Any) -> list[AuditRecord]:
    """What the chain says that the crowd has done."""
    files = [stack.state / "keys" / f"{holder(number)}.json" for number in range(CROWD)]
    seals = {Holder.load(file).seal for file in files}

    async def read_all() -> list[AuditRecord]:
        ledger = GrpcLedger(stack.endpoints["sui"])
        try:
            return await read_audit(ledger, TrustRoots.load(stack.state / "roots.json"), 0)
        finally:
            await ledger.close()

    return [record for record in asyncio.run(read_all()) if record.requested.seal in seals]


def check_chain(stack: Any) -> None:
    records = audit(stack)
    verbs = Counter(record.requested.attributes.verb for record in records)
    assert verbs == {"get": 150, "list": 50, "create": 50, "patch": 25, "delete": 25}
    assert len({record.requested.seal for record in records}) == CROWD
    codes = Counter(record.processed.status_code for record in records if record.processed is not None)
    assert codes == {200: 150 + 25 + 25, 404: 50, 201: 50}
    # Answers shared transactions; how many depends on the machine.
    assert len({record.response_digest for record in records}) < len(records)


def test_200_reads_and_100_writes_at_once(
    shared_stack: Any, crowd: Crowd, administrator: Administrator
) -> None:
    administrator.create(
        NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "crowded"}}
    )
    for number in range(READS):
        if number % 4 != 3:
            administrator.create(CONFIG_MAPS, config_map(f"read-{number}", name=f"read-{number}"))
    for number in range(WRITES):
        if number % 4 > 1:
            administrator.create(CONFIG_MAPS, config_map(f"write-{number}", name=f"write-{number}"))
    requests = [read(number) for number in range(READS)] + [write(number) for number in range(WRITES)]
    replies = crowd.all_at_once(requests)
    print(  # noqa: T201  what `pytest -s` or a failure shows
        Counter((reply.status, reply.sendings) for reply in replies),
        round(max(reply.seconds for reply in replies), 1),
        "s",
    )
    for number, reply in enumerate(replies[:READS]):
        check_read(number, reply)
    for number, reply in enumerate(replies[READS:]):
        check_write(number, reply)
    check_cluster(administrator, replies[READS:])
    check_chain(shared_stack)
