"""What every port of the local Sui has, whatever it speaks: a view of the chain, and its own misbehaviour."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any

from ..ledger.ledger import Ledger
from .misbehaviour import Misbehaviour
from .view import NodeView


class Port(ABC):
    """A port that can be told to misbehave while it is open."""

    def __init__(self, ledger: Ledger) -> None:
        self.misbehaviour = Misbehaviour()
        self.view = NodeView(ledger, self.misbehaviour)
        self.port = 0
        self._thaw = asyncio.Event()
        self._thaw.set()

    async def start(self, port: int, tls: ssl.SSLContext | None) -> None:
        """Listen on 127.0.0.1; port 0 takes a free one."""
        self.port = await self._listen(port, tls)

    async def restart(self, away_ms: float) -> None:
        """Cut every connection, and hang up on whoever connects for a while."""
        self.misbehave({"away": True})
        self.drop_connections()
        await asyncio.sleep(away_ms / 1000)
        self.misbehave({"away": False})

    def misbehave(self, changes: dict[str, Any]) -> None:
        """Change the port's misbehaviour; see :class:`Misbehaviour`.

        Raises:
            ValueError: an unknown setting.
        """
        self.misbehaviour.update(changes)
        if self.misbehaviour.frozen:
            self._thaw.clear()
        else:
            self._thaw.set()
        self._freeze_connections(self.misbehaviour.frozen)

    def reform(self) -> None:
        """Be honest again."""
        self.misbehave(
            {setting.name: getattr(Misbehaviour(), setting.name) for setting in fields(Misbehaviour)}
        )

    async def _before_sending(self) -> None:
        await self.misbehaviour.hesitate()
        await self._thaw.wait()

    @abstractmethod
    async def close(self) -> None:
        """Cut the connections and listen no more."""

    @abstractmethod
    def drop_connections(self) -> None:
        """Cut every connection, and with it every stream, without a word."""

    @abstractmethod
    async def _listen(self, port: int, tls: ssl.SSLContext | None) -> int:
        """Open the port; returns its number."""

    @abstractmethod
    def _freeze_connections(self, frozen: bool) -> None:
        """Stop reading from connections, or go on."""
