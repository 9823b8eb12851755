"""A Sui endpoint in one process that executes commands and answers at once, by the contract's rules.

The rules are those of the model that the contract's fuzz compares with the real Move VM, and arguments are
read by the signatures in the Move sources. In force: who signed, every rule about commands and answers, the
rates. Left out, and not to be tested here: gas and balances, object versions, epochs, checkpoints with time
between them, every other function of the contract, and payloads by reference.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from k3s_daas.aborts import CODES
from k3s_daas.contract.attributes import ATTRIBUTE_NAMES, OnChainAttributes
from k3s_daas.contract.calls_command import EXECUTE_FUNCTION, STORE_FUNCTION
from k3s_daas.contract.events import API_REQUEST, ApiRequested, event_type
from k3s_daas.contract.objects import ClusterState, RequestState, ResponseState, SealState, UsageState
from k3s_daas.contract.usage import DAY_MS, MINUTE_MS, command_deposit
from k3s_daas.errors import TransactionRefusedError, WireFormatError
from k3s_daas.payload import payload_hash
from k3s_daas.sui.digests import address_of
from k3s_daas.sui.ledger import Abort, ChainEvent, ExecutionOutcome, ServiceInfo, SignedTransaction
from k3s_daas.sui.signers import SIGNATURE_BYTES, verify_signature
from k3s_daas.sui.transactions import DecodedTransaction, MoveCall, decode_transaction, transaction_digest
from tests.fuzz.functions import public_functions
from tests.fuzz.model import Asked
from tests.fuzz.rules_gateway import RULES
from tests.fuzz.state import View
from tests.fuzz.values import Chunks, MalformedError, Pure, decode, encode
from tests.unit.contract_world import PACKAGE, cluster_object, request_object, seal_object
from tests.unit.listener_world import ScriptedLedger, encode_event

_MODULE = "k8s_gateway"
_FUNCTIONS = {
    path: function
    for path, function in public_functions().items()
    if path in (f"{_MODULE}::{EXECUTE_FUNCTION}", f"{_MODULE}::{STORE_FUNCTION}")
}
_OBJECTS = frozenset({"Cluster", "SealToken", "Clock"})


Execute = Callable[[], Awaitable[ExecutionOutcome]]
Around = Callable[[bytes, Execute], Awaitable[ExecutionOutcome]]
"""Given the sender, and what executes his transaction."""


async def _directly(_sender: bytes, execute: Execute) -> ExecutionOutcome:
    return await execute()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Execution:
    """One transaction that was executed: by whom, and which rules of the contract it broke."""

    sender: bytes
    broken: frozenset[str]
    commands: Sequence[ApiRequested]


@dataclass
class _State:
    cluster: ClusterState
    seals: dict[bytes, SealState] = field(default_factory=dict)
    requests: dict[tuple[bytes, bytes], RequestState] = field(default_factory=dict)


class _StateView(View):
    """What the model of the rules looks at, without a chain behind it."""

    def __init__(self, state: _State) -> None:
        self._state = state

    @property
    def now_ms(self) -> int:
        return _now_ms()

    def cluster(self, object_id: bytes) -> ClusterState:
        return self._state.cluster

    def seal(self, object_id: bytes) -> SealState:
        return self._state.seals[object_id]

    def request(self, seal: bytes, request_id: bytes) -> RequestState | None:
        return self._state.requests.get((seal, request_id))

    def grant_expiry(self, cluster: ClusterState, holder: bytes, role: str) -> int | None:
        return None


class InstantLedger(ScriptedLedger):
    """Everything that uses one runs on one event loop. `executions` tells what came of each transaction;
    `around` may lose or refuse one."""

    def __init__(self, cluster: ClusterState) -> None:
        super().__init__(timestamp_ms=_now_ms())
        self.executions: list[Execution] = []
        self.around: Around = _directly
        self._state = _State(cluster)
        self._view = _StateView(self._state)
        self.put(cluster_object(cluster))

    def put_seal(self, seal: SealState) -> None:
        self._state.seals[seal.ref.id] = seal
        self.put(seal_object(seal))

    def seal(self, object_id: bytes) -> SealState:
        """As it is now."""
        return self._state.seals[object_id]

    async def service_info(self) -> ServiceInfo:
        # Its clock goes on while nothing is executed, as a chain's does by empty checkpoints.
        self.timestamp_ms = _now_ms()
        return await super().service_info()

    async def execute(self, transaction: bytes, signature: bytes) -> ExecutionOutcome:
        self.asked("execute")
        decoded = decode_transaction(transaction)
        return await self.around(decoded.sender, lambda: self._execute(decoded, transaction, signature))

    async def _execute(
        self, decoded: DecodedTransaction, transaction: bytes, signature: bytes
    ) -> ExecutionOutcome:
        self.timestamp_ms = _now_ms()
        digest = transaction_digest(transaction)
        _check_signature(decoded, transaction, signature)
        if digest in self.transactions:
            return ExecutionOutcome(digest, success=self.transactions[digest].success)
        calls = [self._asked(decoded, call) for call in decoded.move_calls]
        broken = frozenset().union(*(RULES[path](asked) for path, asked in calls))
        self.transactions[digest] = SignedTransaction(digest, transaction, [signature], success=not broken)
        commands = [] if broken else [self._effect(path, asked, digest) for path, asked in calls]
        made = [command for command in commands if command is not None]
        self.executions.append(Execution(decoded.sender, broken, made))
        for index, command in enumerate(made):
            self._emit(command, digest, index)
        if not broken:
            return ExecutionOutcome(digest, success=True)
        module, code = CODES[min(broken)]
        return ExecutionOutcome(digest, success=False, abort=Abort(module, None, code, 0), failure="aborted")

    def _asked(self, decoded: DecodedTransaction, call: MoveCall) -> tuple[str, Asked]:
        path = f"{call.module}::{call.function}"
        function = _FUNCTIONS.get(path)
        if call.package != PACKAGE or function is None or len(function.parameters) != len(call.arguments):
            raise TransactionRefusedError("other", f"the instant ledger does not execute {path}")
        values: dict[str, Any] = {}
        for parameter, argument in zip(function.parameters, call.arguments, strict=True):
            if parameter.type in _OBJECTS:
                values[parameter.name] = decoded.resolve_object(argument)
                continue
            found = (
                Chunks(tuple(encode("vector<u8>", part) for part in decoded.resolve_chunks(argument)))
                if parameter.type == "vector<vector<u8>>"
                else Pure(decoded.resolve_pure(argument))
            )
            try:
                values[parameter.name] = decode(parameter.type, found)
            except MalformedError as error:
                raise TransactionRefusedError("other", str(error)) from error
        return path, Asked(self._view, decoded.sender, values)

    def _effect(self, path: str, asked: Asked, digest: str) -> ApiRequested | None:
        if path.endswith(STORE_FUNCTION):
            self._store(asked, digest)
            return None
        return self._accept(asked, digest)

    def _accept(self, asked: Asked, digest: str) -> ApiRequested:
        seal = self._state.seals[asked["seal"]]
        attributes = OnChainAttributes(*(asked[name] for name in ATTRIBUTE_NAMES))
        requested = ApiRequested(
            cluster=asked["cluster"],
            seal=asked["seal"],
            request_id=asked["request_id"],
            requester=seal.owner,
            role=seal.role,
            priority=0,
            gateway=asked.sender,
            executor=asked["executor"],
            session_key=asked["session_key"],
            attributes=attributes,
            payload_hash=payload_hash(asked["payload"]),
            payload_size=sum(map(len, asked["payload"])),
            payload_reference=b"",
            accepted_at_ms=asked.now_ms,
            start_by_ms=asked["start_by_ms"],
            finish_by_ms=asked["finish_by_ms"],
            answer_by_ms=asked["answer_by_ms"],
        )
        self._keep(_stored(requested, digest), requested.seal)
        self.put_seal(_charged(seal, attributes, asked.now_ms))
        return requested

    def _store(self, asked: Asked, digest: str) -> None:
        request = self._view.request(asked["seal"], asked["request_id"])
        if request is None or request.response is not None or asked.now_ms > request.answer_by_ms:
            return
        chunks = asked["response"]
        response = ResponseState(
            asked["status_code"], payload_hash(chunks), sum(map(len, chunks)), b"", asked.now_ms
        )
        self._keep(replace(request, response=response, previous_transaction=digest), asked["seal"])

    def _keep(self, request: RequestState, seal: bytes) -> None:
        self._state.requests[seal, request.request_id] = request
        self.put(request_object(request))

    def _emit(self, requested: ApiRequested, digest: str, index: int) -> None:
        self.publish(
            ChainEvent(
                package=PACKAGE,
                module=_MODULE,
                type_tag=event_type(PACKAGE, API_REQUEST),
                sender=requested.gateway,
                contents=encode_event(requested),
                transaction_digest=digest,
                event_index=index,
            )
        )


def _check_signature(decoded: DecodedTransaction, transaction: bytes, signature: bytes) -> None:
    public_key = signature[:1] + signature[1 + SIGNATURE_BYTES :]
    if address_of(public_key) != decoded.sender:
        raise TransactionRefusedError("other", "the sender did not sign")
    try:
        verify_signature(transaction, signature, public_key)
    except WireFormatError as error:
        raise TransactionRefusedError("other", str(error)) from error


def _stored(requested: ApiRequested, digest: str) -> RequestState:
    return RequestState(
        request_id=requested.request_id,
        previous_transaction=digest,
        executor=requested.executor,
        gateway=requested.gateway,
        requester=requested.requester,
        role=requested.role,
        attributes=requested.attributes,
        priority=requested.priority,
        request_hash=requested.payload_hash,
        request_size=requested.payload_size,
        accepted_at_ms=requested.accepted_at_ms,
        start_by_ms=requested.start_by_ms,
        finish_by_ms=requested.finish_by_ms,
        answer_by_ms=requested.answer_by_ms,
        expires_at_ms=requested.answer_by_ms,
        response=None,
    )


def _charged(seal: SealState, attributes: OnChainAttributes, now_ms: int) -> SealState:
    minute, day = now_ms // MINUTE_MS, now_ms // DAY_MS
    commands = seal.usage.commands if seal.usage.minute == minute else 0
    deposit = seal.usage.deposit if seal.usage.day == day else 0
    deposit += command_deposit(seal.role, attributes)
    return replace(seal, usage=UsageState(minute, commands + 1, day, deposit))
