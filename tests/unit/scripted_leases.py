"""Leases and the Secret for a scripted API server: what a listener needs to lead, to claim and to open
requests, and nothing more."""

from __future__ import annotations

import json
import threading
from typing import Any

from tests.unit.scripted_api_server import ScriptedReply, SeenRequest

_MISSING = ScriptedReply(404, body=b'{"kind":"Status"}')


class ScriptedLeases:
    """Stores what is written, without asking for versions. No list finds anything."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.secret: dict[str, Any] = {"metadata": {"name": "daas-listener-keys", "resourceVersion": "1"}}
        self._lock = threading.Lock()

    @property
    def lead(self) -> dict[str, Any] | None:
        """The leader Lease."""
        return next((lease for name, lease in self.stored.items() if name.startswith("daas-listener-")), None)

    def reply(self, request: SeenRequest) -> ScriptedReply | None:
        """None for what is about neither."""
        if request.target.endswith("/secrets/daas-listener-keys"):
            with self._lock:
                if request.method == "PUT":
                    self.secret = json.loads(request.body)
                return ScriptedReply(body=json.dumps(self.secret).encode())
        if "/leases" not in request.target:
            return None
        if "labelSelector" in request.target:
            return ScriptedReply(body=b'{"metadata":{},"items":[]}')
        with self._lock:
            if request.method in ("POST", "PUT"):
                lease = json.loads(request.body)
                lease["metadata"] |= {"resourceVersion": "1", "creationTimestamp": "2026-01-02T03:04:05Z"}
                self.stored[lease["metadata"]["name"]] = lease
                return ScriptedReply(body=json.dumps(lease).encode())
            found = self.stored.get(request.target.rpartition("/")[2])
        return _MISSING if found is None else ScriptedReply(body=json.dumps(found).encode())
