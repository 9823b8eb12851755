"""A way to a server on this machine that can be cut, or fall silent, while the server goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

_PIECE = 65_536


class TcpProxy:
    """Made by `tcp_proxy`. `port` is where clients find it."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._silent = False
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Serves, at the same port as ever."""
        self._silent = False
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Cuts every connection, and refuses further ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._cut()

    async def fall_silent(self) -> None:
        """Takes connections and says nothing, as a host does whose process hangs."""
        await self.refuse()
        await self.open()
        self._silent = True

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._silent:
                await reader.read()
                return
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(to_writer)
            await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))
            self._writers.discard(to_writer)
        except OSError:
            pass  # whoever is connected sees that it is over
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until either end goes, and then both go."""
    try:
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # as above
    finally:
        writer.transport.abort()


@asynccontextmanager
async def tcp_proxy(target: int) -> AsyncGenerator[TcpProxy, None]:
    """An open proxy on a free port, in front of the server at `target`."""
    proxy = TcpProxy(target)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.refuse()
