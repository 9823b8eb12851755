"""A name that the settings allow may stand for an address that they did not mean."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from k3s_daas.blobs.store import BlobUnavailableError, reference_to
from listener_service.blobs import BlobClient, BlobPlaces
from listener_service.checked_addresses import AddressRefusedError, is_admissible

HOST = "blobs.example"
REFERENCE = reference_to(f"https://{HOST}/requests/1", b"sealed")

NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "fe80::1",
    "fd00:ec2::254",
    "168.63.129.16",
    "100.100.100.200",
    "0.0.0.0",  # noqa: S104  nothing is bound
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
]
PRIVATE = [
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.1",
    "100.64.0.1",
    "127.0.0.1",
    "::1",
    "fd00::1",
    "::ffff:10.0.0.1",
]
PUBLIC = ["52.216.0.1", "2600:1f00::1", "::ffff:52.216.0.1", "64:ff9b::34d8:1"]


@pytest.mark.parametrize(
    ("address", "by_default", "if_allowed"),
    [
        *((address, False, False) for address in NEVER),
        *((address, False, True) for address in PRIVATE),
        *((address, True, True) for address in PUBLIC),
    ],
)
def test_where_a_store_may_be(address: str, by_default: bool, if_allowed: bool) -> None:
    assert is_admissible(ip_address(address), private=False) is by_default
    assert is_admissible(ip_address(address), private=True) is if_allowed


class Resolver:
    """Answers with the next list of addresses at each look-up; connections are noted and fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.connected: list[str] = []
        monkeypatch.setattr(socket, "getaddrinfo", self.resolve)
        monkeypatch.setattr("listener_service.checked_addresses.create_connection", self.connect)

    def resolve(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    def connect(self, place: tuple[str, int], *_: Any, **__: Any) -> Callable[[], None]:
        self.connected.append(place[0])
        raise ConnectionRefusedError


async def fetch(*, private: bool = False) -> None:
    client = BlobClient(BlobPlaces(frozenset({f"{HOST}:443"}), private_addresses=private))
    try:
        await client.fetch(REFERENCE, timeout_s=5)
    finally:
        client.close()


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "127.0.0.1", "::1"])
async def test_a_name_for_an_address_inside_is_not_connected_to(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(monkeypatch, [address])
    with pytest.raises(AddressRefusedError, match="DAAS_BLOB_PRIVATE_ADDRESSES") as caught:
        await fetch()
    assert resolver.connected == []
    assert address not in str(caught.value)


async def test_one_address_inside_among_others_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch, ["52.216.0.1", "169.254.169.254"])
    with pytest.raises(AddressRefusedError):
        await fetch(private=True)
    assert resolver.connected == []


async def test_the_address_that_was_judged_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that changes between two look-ups: there is one look-up for each connection."""
    resolver = Resolver(monkeypatch, ["52.216.0.1", "52.216.0.2"], ["169.254.169.254"])
    with pytest.raises(AddressRefusedError):
        await fetch()
    assert resolver.asked == [HOST, HOST], "once for the first attempt, once for the second"
    assert resolver.connected == ["52.216.0.1", "52.216.0.2"]


async def test_a_private_store_is_reached_if_the_settings_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch, ["10.0.0.1"])
    with pytest.raises(BlobUnavailableError):
        await fetch(private=True)
    assert set(resolver.connected) == {"10.0.0.1"}
