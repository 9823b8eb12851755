"""The control port: what tests and the local stack may change and count while the chain runs.

=========================================  ==========================================================
``GET /clock``, ``PUT /clock {"ms"}``       the chain's time; setting needs ``--clock-ms``
``POST /clock/advance {"ms"}``              move it on
``POST /epoch {"reference_gas_price"?}``    begin the next epoch
``PUT /congestion {"object", "times"}``     cancel the next transactions that would change a shared object
``GET /ports``                              gRPC and JSON-RPC ports
``GET|PUT /ports/<port> {setting: value}``  misbehaviour of a port (:class:`.rpc.misbehaviour.Misbehaviour`)
``POST /ports/<port>/drop``                 cut its connections
``POST /ports/<port>/restart {"away_ms"?}`` cut its connections, and be away for a while
``GET /counters``                           calls by method, transactions and what they cost, bytes stored
``GET /transactions/<digest>``              what a final transaction cost: bytes of objects and events, MIST
=========================================  ==========================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, fields
from http import HTTPStatus
from typing import Any

from .http_json import HttpError
from .ledger.clock import ManualClock
from .ledger.digests import hex_address, parse_address, parse_base58
from .ledger.ledger import Ledger
from .rpc.misbehaviour import Misbehaviour
from .rpc.port import Port


class Control:
    """Answers the control port's requests."""

    def __init__(self, ledger: Ledger, endpoints: Mapping[int, Port], calls: Counter[str]) -> None:
        self._ledger = ledger
        self._endpoints = endpoints
        self._calls = calls

    async def handle(  # noqa: PLR0911 - one case per request
        self, method: str, path: str, body: Any
    ) -> Any:
        match method, path.strip("/").split("/"):
            case "GET", ["clock"]:
                return {"ms": self._ledger.clock.now_ms()}
            case "PUT", ["clock"]:
                self._manual_clock().set(int(body["ms"]))
                return {"ms": self._ledger.clock.now_ms()}
            case "POST", ["clock", "advance"]:
                self._manual_clock().advance(int(body["ms"]))
                return {"ms": self._ledger.clock.now_ms()}
            case "POST", ["epoch"]:
                return {"epoch": self._ledger.advance_epoch((body or {}).get("reference_gas_price"))}
            case "PUT", ["congestion"]:
                self._ledger.congest(parse_address(body["object"]), int(body["times"]))
                return {}
            case "GET", ["ports"]:
                return {"ports": list(self._endpoints)}
            case "GET", ["ports", port]:
                return _settings(self._endpoint(port).misbehaviour)
            case "PUT", ["ports", port]:
                self._endpoint(port).misbehave(body)
                return _settings(self._endpoint(port).misbehaviour)
            case "POST", ["ports", port, "drop"]:
                self._endpoint(port).drop_connections()
                return {}
            case "POST", ["ports", port, "restart"]:
                await self._endpoint(port).restart(float((body or {}).get("away_ms", 0)))
                return {}
            case "GET", ["counters"]:
                return counters(self._ledger, self._calls)
            case "GET", ["transactions", digest]:
                return self._numbers(digest)
        raise HttpError(HTTPStatus.NOT_FOUND, f"{method} {path} is not known here")

    def _manual_clock(self) -> ManualClock:
        if not isinstance(self._ledger.clock, ManualClock):
            raise HttpError(
                HTTPStatus.CONFLICT,
                "the chain follows the system's clock; start it with --clock-ms to set it",
            )
        return self._ledger.clock

    def _numbers(self, digest: str) -> dict[str, Any]:
        try:
            executed = self._ledger.transactions.get(parse_base58(digest))
        except ValueError as error:
            raise HttpError(HTTPStatus.BAD_REQUEST, f"{digest} is no transaction digest") from error
        if executed is None or executed.numbers is None:
            raise HttpError(HTTPStatus.NOT_FOUND, f"no final transaction has the digest {digest}")
        numbers = executed.numbers
        return asdict(numbers) | {
            "objects": [asdict(one) | {"id": hex_address(one.id)} for one in numbers.objects],
            "stored_bytes": numbers.stored_bytes,
            "event_bytes": numbers.event_bytes,
        }

    def _endpoint(self, port: str) -> Port:
        endpoint = self._endpoints.get(int(port))
        if endpoint is None:
            raise HttpError(HTTPStatus.NOT_FOUND, f"there is no gRPC port {port}")
        return endpoint


def _settings(misbehaviour: Misbehaviour) -> dict[str, Any]:
    settings = {setting.name: getattr(misbehaviour, setting.name) for setting in fields(misbehaviour)}
    settings["fail"] = {method: asdict(failing) for method, failing in misbehaviour.fail.items()}
    settings["forge"] = {
        kind: "a function" if callable(forgery) else dict(forgery)
        for kind, forgery in misbehaviour.forge.items()
    }
    return settings


def counters(ledger: Ledger, calls: Counter[str]) -> dict[str, Any]:
    """What happened since the start, and what is stored now (metered bytes, as gas counts them)."""
    return {
        "rpc": dict(calls),
        "transactions": asdict(ledger.counters),
        "checkpoints": len(ledger.checkpoints.checkpoints),
        "events": len(ledger.checkpoints.events),
        "objects": len(ledger.final),
        "bytes_stored": ledger.final.metered_bytes,
    }
