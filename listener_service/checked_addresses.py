"""Connections only to addresses that a name may stand for: DNS is not asked twice, and not believed blindly.

Whoever controls a name that the settings allow, or the resolver, could let it point into this network (and to
something else at the second look-up). So a name is resolved once, every address is judged, and the connection
goes to the judged address. TLS still verifies the name.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import urllib3
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.util.connection import create_connection

from k3s_daas.blobs.store import BlobError

Address = IPv4Address | IPv6Address

# What serves a machine's own secrets at clouds, beside 169.254.0.0/16: Azure, Alibaba, AWS over IPv6.
_METADATA = frozenset(map(ip_address, ("168.63.129.16", "100.100.100.200", "fd00:ec2::254")))
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
# RFC 1918, RFC 6598, RFC 4193, and this machine.
_PRIVATE = tuple(
    map(
        ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "127.0.0.0/8", "::1"),
    )
)


class AddressRefusedError(BlobError):
    """The name stands for an address that nothing of ours is at. The message does not tell which."""


def is_admissible(address: Address, *, private: bool) -> bool:
    """Whether a blob store may be there. `private` also admits this network and this machine, never what is
    link-local, a metadata service, or no host at all."""
    address = _embedded(address)
    if address in _METADATA or address.is_multicast:
        return False
    return address.is_global or (private and any(address in network for network in _PRIVATE))


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, if it is only a way of writing it."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return address.sixtofour or address
    return address


def checked_pool(host: str, port: int, *, private: bool, tls: Any, connections: int) -> HTTPSConnectionPool:
    """A pool for one host whose connections go to admissible addresses only.

    Requests raise `AddressRefusedError` before anything is sent.
    """

    class Connection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, private=private)

    pool = HTTPSConnectionPool(host, port, maxsize=connections, ssl_context=tls)
    # The library's own way (see its SOCKS pools); a class of its own, because the rule is the pool's.
    pool.ConnectionCls = Connection
    return pool


def _connect(connection: HTTPSConnection, *, private: bool) -> socket.socket:
    try:
        found = socket.getaddrinfo(connection.host, connection.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise urllib3.exceptions.NewConnectionError(connection, "the name does not resolve") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses or not all(is_admissible(ip_address(one), private=private) for one in addresses):
        raise AddressRefusedError(
            "the blob store's name stands for an address inside this network or of this machine: "
            "DAAS_BLOB_PRIVATE_ADDRESSES=allow if it is meant to"
        )
    last: OSError | None = None
    for address in addresses:
        try:
            return create_connection(
                (address, connection.port), connection.timeout, socket_options=connection.socket_options
            )
        except OSError as error:
            last = error
    raise urllib3.exceptions.NewConnectionError(connection, "the host does not answer") from last
