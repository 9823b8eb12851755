"""An HTTP proxy that knows CONNECT only."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class ConnectProxy:
    """`asked` has the target (`host:port`) and the header lines of each request; every tunnel leads to `port`
    of this machine, whatever host was asked for. A `status` other than 200 refuses."""

    def __init__(self, port: int) -> None:
        self.leads_to = port
        self.status = 200
        self.asked: list[tuple[str, list[str]]] = []
        self.tunnelled = bytearray()
        self.port = 0

    def headers(self, name: str) -> list[str]:
        found = [line.partition(":") for _, lines in self.asked for line in lines]
        return [value.strip() for key, _, value in found if key.lower() == name.lower()]


@contextmanager
def connect_proxy(leads_to: int) -> Iterator[ConnectProxy]:
    proxy = ConnectProxy(leads_to)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            lines = []
            while line := self.rfile.readline().decode().strip():
                lines.append(line)
            method, target, _ = lines[0].split(" ")
            assert method == "CONNECT"
            proxy.asked.append((target, lines[1:]))
            self.wfile.write(f"HTTP/1.1 {proxy.status} It\r\n\r\n".encode())
            if proxy.status == 200:
                with socket.create_connection(("127.0.0.1", proxy.leads_to)) as inner:
                    there = threading.Thread(target=self._pump, args=(self.connection, inner, True))
                    there.start()
                    self._pump(inner, self.connection, False)
                    there.join()

        def _pump(self, source: socket.socket, target: socket.socket, outbound: bool) -> None:
            with suppress(OSError):
                while data := source.recv(65_536):
                    if outbound:
                        proxy.tunnelled += data
                    target.sendall(data)
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
