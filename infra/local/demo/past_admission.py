"""Submit a command as a gateway without admission would: only the contract stands in the way.

The gateway's key signs (it never leaves KMS), the claims are the holder's own; nothing else is special.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from infra.local import aws
from infra.local.stack.stack import RunningStack
from k3s_daas.cli.holder import Holder
from k3s_daas.contract import calls
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.keys import announced_key
from k3s_daas.contract.objects import ExecutorState
from k3s_daas.contract.reader import ContractReader
from k3s_daas.deadlines import Deadlines, DeadlineSettings
from k3s_daas.envelope import RequestEnvelope
from k3s_daas.errors import LedgerError, MoveAbortError
from k3s_daas.ids import new_request_id
from k3s_daas.payload import split
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey, request_info
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.ledger import Ledger
from k3s_daas.sui.wallet import Wallet


def submit_past_admission(
    stack: RunningStack, settings: Path, attributes: OnChainAttributes, method: str, path: str
) -> MoveAbortError | None:
    """Submit one command for the holder; returns the contract's abort, or None if it was accepted.

    Raises:
        LedgerError: the endpoint is away or refuses the transaction itself.
    """
    return asyncio.run(_submit(stack, Holder.load(settings), attributes, method, path))


async def _submit(
    stack: RunningStack, holder: Holder, attributes: OnChainAttributes, method: str, path: str
) -> MoveAbortError | None:
    roots = stack.chain.roots
    ledger = GrpcLedger(stack.endpoints.sui)
    try:
        gateway = Wallet(ledger, KmsSigner(aws.kms_client(stack.endpoints.aws), stack.endpoints.kms_key_id))
        cluster = await _shared(ledger, holder.cluster)
        seal = await _shared(ledger, holder.seal)
        [executor] = (await ContractReader(ledger, roots).cluster()).executors.values()
        command = _command(roots, holder, executor, attributes, method=method, path=path)
        await gateway.run(
            lambda builder: calls.execute_command(builder, roots.package_latest, cluster, seal, command)
        )
    except MoveAbortError as abort:
        return abort
    finally:
        await ledger.close()
    return None


def _command(
    roots: TrustRoots,
    holder: Holder,
    executor: ExecutorState,
    attributes: OnChainAttributes,
    *,
    method: str,
    path: str,
) -> calls.Command:
    now_ms = time.time_ns() // 1_000_000
    request_id = new_request_id(now_ms)
    reply_key = SealingPrivateKey.generate().public_bytes()
    envelope = RequestEnvelope(method, path, "", (), b"", reply_key)
    info = request_info(holder.cluster, holder.seal, request_id)
    sealed = announced_key(executor, roots).seal(envelope.encode(), info)
    return calls.Command.of(
        holder.token(now_ms),
        Deadlines.at(now_ms, DeadlineSettings()),
        request_id=request_id,
        attributes=attributes,
        executor=executor.address,
        payload=split(sealed),
    )


async def _shared(ledger: Ledger, object_id: bytes) -> SharedRef:
    found = await ledger.get_object(object_id)
    if found is None:
        raise LedgerError("the endpoint does not know the cluster or the seal")
    return SharedRef.of(found)
