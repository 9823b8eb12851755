"""An admitted command on its way to the chain: sealed for the executor, then a transaction of the gateway."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from chalicelib.bodies import seal_request
from chalicelib.chain import CommandState
from chalicelib.http_request import GatewayRequest
from chalicelib.settings import GatewaySettings
from k3s_daas.attributes import RequestAttributes
from k3s_daas.bearer import BearerToken
from k3s_daas.blobs.store import BlobStore
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.calls import Command, execute_command
from k3s_daas.contract.usage import command_deposit, kept_ms
from k3s_daas.deadlines import Deadlines
from k3s_daas.envelope import RequestEnvelope
from k3s_daas.ids import new_request_id
from k3s_daas.long_running import bounded_watch, is_long_running
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPrivateKey, SealingPublicKey
from k3s_daas.status import StatusError
from k3s_daas.sui.ledger import EpochInfo
from k3s_daas.sui.transactions import AddressBalanceGas, PtbBuilder

# A reply is complete or absent, so a watch is cut into short ones (decision 0015). The listener, which closes
# most of them earlier, has a maximum of its own.
LONGEST_WATCH_S = 20


@dataclass(frozen=True)
class AdmittedCommand:
    """A command that the contract would accept as far as the gateway knows.

    With a `refusal` (429) it would accept no new one now; one that is parked was counted when it came.
    """

    request: GatewayRequest
    headers: tuple[tuple[str, str], ...]
    attributes: RequestAttributes
    on_chain: OnChainAttributes
    token: BearerToken
    state: CommandState
    executor_key: SealingPublicKey
    refusal: StatusError | None = None

    @property
    def seal(self) -> bytes:
        """The id of the seal that commands."""
        return self.token.claims.seal

    @property
    def stays_open(self) -> bool:
        """A watch or a followed log."""
        return is_long_running(self.attributes, self.request.query)

    @property
    def deposit(self) -> int:
        """MIST that the contract counts against the seal's day."""
        assert self.state.seal is not None, "admission refuses a token without a seal"
        return command_deposit(self.state.seal.role, self.on_chain)

    @property
    def kept_ms(self) -> int:
        """How long the request stays on chain after its answer, at most."""
        assert self.state.seal is not None, "admission refuses a token without a seal"
        cluster = self.state.cluster
        priority = cluster.roles[self.state.seal.role].priority
        return kept_ms(cluster.policy, priority, is_read=self.attributes.is_read)


@dataclass(frozen=True)
class SealedCommand:
    """A command ready for the chain, and the only key that opens its answer."""

    request_id: bytes
    deadlines: Deadlines
    payload: list[bytes]
    reply_key: SealingPrivateKey


def seal_command(
    admitted: AdmittedCommand, settings: GatewaySettings, now_ms: int, blobs: BlobStore | None
) -> SealedCommand:
    """Seals what kubectl sent for the executor, under a new request id; a large body goes to `blobs`.

    Raises what `seal_request` raises.
    """
    request = admitted.request
    query = request.query
    if admitted.attributes.verb == "watch":
        query = bounded_watch(query, LONGEST_WATCH_S)
    reply_key = SealingPrivateKey.generate()
    envelope = RequestEnvelope(
        method=request.method,
        path=admitted.attributes.path,
        query=query,
        headers=admitted.headers,
        body=request.body,
        reply_key=reply_key.public_bytes(),
    )
    request_id = new_request_id(now_ms)
    deadlines = Deadlines.at(request.arrival_ms, settings.deadlines)
    payload = seal_request(
        envelope,
        admitted.executor_key,
        admitted.state.cluster,
        seal=admitted.seal,
        request_id=request_id,
        deadlines=deadlines,
        now_ms=now_ms,
        blobs=blobs,
    )
    return SealedCommand(request_id, deadlines, payload, reply_key)


def command_transaction(
    admitted: AdmittedCommand,
    sealed: SealedCommand,
    settings: GatewaySettings,
    roots: TrustRoots,
    *,
    sender: bytes,
    terms: EpochInfo,
) -> bytes:
    """The BCS of the transaction that asks the contract for this command."""
    state = admitted.state
    assert state.seal is not None, "admission refuses a token without a seal"
    command = Command.of(
        admitted.token,
        sealed.deadlines,
        request_id=sealed.request_id,
        attributes=admitted.on_chain,
        executor=settings.executor,
        payload=sealed.payload,
    )
    builder = PtbBuilder()
    execute_command(builder, roots.package_latest, state.cluster.ref, state.seal.ref, command)
    gas = AddressBalanceGas(
        budget=settings.gas_budget,
        price=terms.reference_gas_price,
        epoch=terms.epoch,
        chain_id=roots.chain_id,
        nonce=_nonce(sealed.request_id),
    )
    return builder.build(sender, gas=gas)


def _nonce(request_id: bytes) -> int:
    """Tells transactions of one sender apart; the same request gives the same one again."""
    return int.from_bytes(hashlib.sha256(request_id).digest()[:4], "big")
