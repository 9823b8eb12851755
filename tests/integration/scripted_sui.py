"""The adapter before an endpoint that says and does what a test scripts, lies and failures included."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from k3s_daas.sui.digests import to_base58
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.ledger import EventFilter
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder, transaction_digest

Script = Callable[[Any, Any], Awaitable[None]]
CHAIN = to_base58(bytes(range(32)))
ADDRESS = "0x" + "01" * 32
TRANSACTION = PtbBuilder().build(b"\x08" * 32, gas=AddressBalanceGas(1, 1, 1, CHAIN, 0))
DIGEST = transaction_digest(TRANSACTION)
SIGNATURE = b"\x00" + bytes(96)
FILTER = EventFilter((f"{ADDRESS}::events::Something",))
METHODS = {
    "LedgerService/GetServiceInfo": Cardinality.UNARY_UNARY,
    "LedgerService/GetObject": Cardinality.UNARY_UNARY,
    "LedgerService/BatchGetObjects": Cardinality.UNARY_UNARY,
    "LedgerService/GetTransaction": Cardinality.UNARY_UNARY,
    "LedgerService/ListEvents": Cardinality.UNARY_STREAM,
    "SubscriptionService/SubscribeEvents": Cardinality.UNARY_STREAM,
    "TransactionExecutionService/ExecuteTransaction": Cardinality.UNARY_UNARY,
}


class ScriptedEndpoint:
    """Every method runs `script(request, stream)`; requests are kept."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[Any] = []

    async def _serve(self, stream: Any) -> None:
        request = await stream.recv_message()
        self.requests.append(request)
        await self._script(request, stream)

    def __mapping__(self) -> dict[str, Handler]:
        return {
            f"/sui.rpc.v2.{path}": Handler(
                self._serve,
                cardinality,
                getattr(v2, path.partition("/")[2] + "Request"),
                getattr(v2, path.partition("/")[2] + "Response"),
            )
            for path, cardinality in METHODS.items()
        }


@asynccontextmanager
async def ledger_at(script: Script, **settings: Any) -> AsyncIterator[tuple[GrpcLedger, ScriptedEndpoint]]:
    endpoint = ScriptedEndpoint(script)
    server = Server([endpoint])
    await server.start("127.0.0.1", 0)
    port = server._server.sockets[0].getsockname()[1]
    ledger = GrpcLedger(f"http://127.0.0.1:{port}", **settings)
    try:
        yield ledger, endpoint
    finally:
        await ledger.close()
        server.close()
        await server.wait_closed()


def executed(digest: str = DIGEST, **status: Any) -> v2.ExecutedTransaction:
    return v2.ExecutedTransaction(
        digest=digest,
        effects=v2.TransactionEffects(
            status=v2.ExecutionStatus(**(status or {"success": True})),
            gas_used=v2.GasCostSummary(computation_cost=1000, storage_cost=500, storage_rebate=700),
            transaction_digest=digest,
        ),
    )


def replies(*messages: Any) -> Script:
    async def script(_: Any, stream: Any) -> None:
        for message in messages:
            await stream.send_message(message)

    return script


def fails(status: Status, message: str = "") -> Script:
    async def script(_: Any, __: Any) -> None:
        raise GRPCError(status, message)

    return script


def object_message(**changes: Any) -> v2.Object:
    values: dict[str, Any] = {
        "object_id": ADDRESS,
        "version": 7,
        "digest": CHAIN,
        "object_type": "0x2::m::T",
        "owner": v2.Owner(kind=v2.OwnerOwnerKind.SHARED, version=3),
        "contents": v2.Bcs(value=b"contents"),
        "previous_transaction": CHAIN,
    }
    return v2.Object(**(values | changes))
