"""The local TLS server: framing, keep-alive, threads, and clients that misbehave."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from infra.local.certificates import LocalAuthority
from infra.local.gateway.messages import HttpReply, HttpRequest
from infra.local.gateway.server import GatewayServer


class Served:
    """A server that answers with what it got, and how to reach it."""

    def __init__(self, directory: Path) -> None:
        authority = LocalAuthority(directory)
        issued = authority.issue("gateway")
        self.tls = ssl.create_default_context(cafile=str(authority.certificate_file))
        self.seen: list[HttpRequest] = []
        self.server = GatewayServer(0, issued.certificate, issued.key, self.answer)

    def answer(self, request: HttpRequest) -> HttpReply:
        self.seen.append(request)
        status = int(request.target.rpartition("/")[2] or 200)
        return HttpReply(status, (("Content-Type", "application/json"),), request.body or b"no body")

    def connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.server.server_port, context=self.tls, timeout=20)

    def exchange(self, data: bytes) -> bytes:
        """Send raw bytes; everything that comes back until the server closes."""
        with (
            socket.create_connection(("127.0.0.1", self.server.server_port), timeout=20) as plain,
            self.tls.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            secured.sendall(data)
            received = bytearray()
            with contextlib.suppress(ssl.SSLEOFError):
                while part := secured.recv(65536):
                    received += part
            return bytes(received)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()


def head_and_body(raw: bytes) -> tuple[str, bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    return head.decode(), body


def test_one_connection_serves_many_requests_quickly(served: Served) -> None:
    connection = served.connection()
    took_s = []
    for count in range(50):
        started = time.perf_counter()
        connection.request("POST", "/200", body=b"x" * count)
        reply = connection.getresponse()
        assert (reply.status, reply.read()) == (200, b"x" * count or b"no body")
        took_s.append(time.perf_counter() - started)
    # With Nagle's algorithm most exchanges would take 40 ms; a busy machine slows down some.
    assert median(took_s) < 0.03
    connection.close()


def test_chunked_request_bodies_arrive_whole(served: Served) -> None:
    connection = served.connection()
    connection.request("PUT", "/200", body=iter([b"part one ", b"part two"]), encode_chunked=True)
    assert connection.getresponse().read() == b"part one part two"
    connection.request("GET", "/200")
    assert connection.getresponse().read() == b"no body"
    connection.close()


@pytest.mark.parametrize("status", [200, 404])
def test_a_head_reply_has_the_length_and_no_body(served: Served, status: int) -> None:
    raw = served.exchange(f"HEAD /{status} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, body = head_and_body(raw)
    assert "Content-Length: 7" in head
    assert body == b""


def test_a_304_has_no_body(served: Served) -> None:
    head, body = head_and_body(served.exchange(b"GET /304 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    assert "304" in head
    assert "Content-Length" not in head
    assert body == b""


@pytest.mark.parametrize(
    ("framing", "code"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n\r\n-5\r\n", 400),
        (b"Content-Length: -1\r\n\r\n", 400),
        (b"Content-Length: 1, 2\r\n\r\n", 400),
        (b"Content-Length: 99999999999\r\n\r\n", 413),
        (b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", 413),
    ],
)
def test_unreadable_bodies_get_a_status_and_an_end(served: Served, framing: bytes, code: int) -> None:
    head, body = head_and_body(served.exchange(b"POST /200 HTTP/1.1\r\nHost: x\r\n" + framing))
    assert f" {code} " in head.partition("\r\n")[0] + " "
    assert json.loads(body)["code"] == code
    assert "Connection: close" in head
    assert served.seen == []


def test_a_request_line_that_is_none_gets_a_status_that_echoes_nothing(served: Served) -> None:
    raw = served.exchange(b"GET /secret-token HTTP/9.9 nonsense\r\n\r\n")
    assert b"secret-token" not in raw
    assert b'"kind": "Status"' in raw


@pytest.mark.parametrize(
    ("request_line", "headers", "code"),
    [(b"GET /200", b"X-Y: z\r\n" * 300, 431), (b"GET /" + b"a" * 70_000, b"", 414)],
)
def test_a_head_that_is_too_large_is_a_status_that_says_so(
    served: Served, request_line: bytes, headers: bytes, code: int
) -> None:
    raw = served.exchange(request_line + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
    parsed = json.loads(head_and_body(raw)[1])
    assert (parsed["code"], parsed["reason"]) == (code, "BadRequest")
    assert "Too" in parsed["message"]
    assert served.seen == []


def test_unknown_methods_reach_the_app(served: Served) -> None:
    served.exchange(b"PROPFIND /200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert [request.method for request in served.seen] == ["PROPFIND"]


def test_the_target_reaches_the_app_as_it_was_sent(served: Served) -> None:
    served.exchange(b"GET //api/../200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert [request.target for request in served.seen] == ["//api/../200"]


def test_repeated_headers_are_all_passed_on(served: Served) -> None:
    served.exchange(
        b"GET /200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n"
    )
    pairs = served.seen[0].headers
    assert [value for name, value in pairs if name == "Authorization"] == ["a", "b"]


def test_a_client_that_never_shakes_hands_holds_nobody_up(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.server.server_port)):
        connection = served.connection()
        connection.request("GET", "/200")
        assert connection.getresponse().status == 200
        connection.close()


def test_plain_http_is_not_served(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.server.server_port), timeout=20) as plain:
        plain.sendall(b"GET /200 HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while received := plain.recv(4096):
                assert not received.startswith(b"HTTP")
    assert served.seen == []


def test_a_second_server_on_the_port_is_refused(served: Served, tmp_path: Path) -> None:
    issued = LocalAuthority(tmp_path / "other").issue("gateway")
    with pytest.raises(OSError, match="in use"):
        GatewayServer(served.server.server_port, issued.certificate, issued.key, served.answer)
