"""Reading the contract's state, and ciphertexts back out of transactions.

Objects are the endpoint's word: their types and ids are checked here, their truth is not. A ciphertext is
proven by its hash, whoever delivered it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from k3s_daas.bcs import Reader, Writer
from k3s_daas.contract.addresses import GATEWAY_MODULE, dynamic_field_id, request_object_id
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.contract.calls_command import (
    EXECUTE_FUNCTION,
    EXECUTE_PAYLOAD,
    EXECUTE_REQUEST_ID,
    STORE_FUNCTION,
    STORE_REQUEST_ID,
    STORE_RESPONSE,
)
from k3s_daas.contract.objects import ClusterState, GrantState, RequestState, SealState
from k3s_daas.errors import ConfigurationError, LedgerUnavailableError, WireFormatError
from k3s_daas.ids import to_hex
from k3s_daas.payload import payload_hash
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.ledger import ChainObject, ForgedReplyError, ServiceInfo, SignedTransaction
from k3s_daas.sui.transactions import DecodedTransaction, MoveCall, decode_transaction
from k3s_daas.sui.type_tags import StructTag, TypeTag, parse_type_tag

T = TypeVar("T")

_SUI_FRAMEWORK = (2).to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class _PayloadCall:
    """A function that carries a payload, and the positions of two of its arguments."""

    function: str
    request_id: int
    payload: int


_EXECUTE = _PayloadCall(EXECUTE_FUNCTION, EXECUTE_REQUEST_ID, EXECUTE_PAYLOAD)
_STORE = _PayloadCall(STORE_FUNCTION, STORE_REQUEST_ID, STORE_RESPONSE)


class ObjectReads(Protocol):
    """The part of the `Ledger` port that reading takes, with that port's guarantees."""

    async def service_info(self) -> ServiceInfo:
        """See `Ledger.service_info`."""
        ...

    async def get_object(self, object_id: bytes) -> ChainObject | None:
        """See `Ledger.get_object`."""
        ...

    async def get_objects(self, object_ids: Sequence[bytes]) -> list[ChainObject | None]:
        """See `Ledger.get_objects`."""
        ...


class ContractReader:
    """Reads one cluster's part of the contract through one ledger. Every method may raise `LedgerError`."""

    def __init__(self, ledger: ObjectReads, roots: TrustRoots) -> None:
        self._ledger = ledger
        self._roots = roots

    async def confirm_chain(self) -> None:
        """Raises `ConfigurationError` unless the endpoint is on the pinned chain."""
        info = await self._ledger.service_info()
        if info.chain_id != self._roots.chain_id:
            raise ConfigurationError(
                f"the endpoint is on chain {info.chain_id}, but the trust roots pin {self._roots.chain_id}"
            )

    async def cluster(self) -> ClusterState:
        """The pinned cluster. `LedgerUnavailableError` if the endpoint does not have it."""
        found = await self._ledger.get_object(self._roots.cluster)
        if found is None:
            raise LedgerUnavailableError(
                f"the endpoint has no cluster {to_hex(self._roots.cluster)}: it lags, or is on another chain"
            )
        if not _has_type(found, self._type("cluster", "Cluster")):
            raise ForgedReplyError(f"the object {to_hex(found.id)} is not a cluster of the pinned package")
        return _decoded(ClusterState.decode, found)

    async def seal(self, seal: bytes) -> SealState | None:
        """A seal, or None if no seal of the contract has this id. It may belong to another cluster:
        compare."""
        return self._seal(await self._ledger.get_object(seal))

    async def seals(self, wanted: Sequence[bytes]) -> list[SealState | None]:
        """`seal` for several ids in one call, in their order."""
        return [self._seal(found) for found in await self._ledger.get_objects(wanted)]

    async def grant(self, cluster: ClusterState, holder: bytes, role: str) -> GrantState | None:
        """The grant of a role to an address, or None."""
        found = await self._ledger.get_object(self._grant_id(cluster, holder, role))
        return self._grant(found, cluster, holder, role)

    async def seal_and_grant(
        self, seal: bytes, cluster: ClusterState, holder: bytes, role: str
    ) -> tuple[SealState | None, GrantState | None]:
        """`seal` and `grant` in one call."""
        ids = [seal, self._grant_id(cluster, holder, role)]
        found_seal, found_grant = await self._ledger.get_objects(ids)
        return self._seal(found_seal), self._grant(found_grant, cluster, holder, role)

    async def request(self, seal: bytes, request_id: bytes) -> RequestState | None:
        """A request of a seal, or None if the chain (as this endpoint knows it) has none."""
        object_id = request_object_id(self._roots.package_original, seal, request_id)
        key_type, value_type = self._type(GATEWAY_MODULE, "RequestKey"), self._type(GATEWAY_MODULE, "Request")
        return _request(await self._field(object_id, key_type, value_type, seal), request_id)

    async def requests(self, wanted: Sequence[tuple[bytes, bytes]]) -> list[RequestState | None]:
        """`request` for several pairs of seal and request id in one call, in their order."""
        key_type, value_type = self._type(GATEWAY_MODULE, "RequestKey"), self._type(GATEWAY_MODULE, "Request")
        found = await self._ledger.get_objects(
            [request_object_id(self._roots.package_original, *pair) for pair in wanted]
        )
        return [
            _request(_checked_field(one, key_type, value_type, seal), request_id)
            for one, (seal, request_id) in zip(found, wanted, strict=True)
        ]

    async def shared(self, object_ids: Sequence[bytes]) -> list[SharedRef]:
        """How transactions name these shared objects. `LedgerUnavailableError` if one of them is missing."""
        found = await self._ledger.get_objects(object_ids)
        for object_id, one in zip(object_ids, found, strict=True):
            if one is None:
                raise LedgerUnavailableError(f"the endpoint has no object {to_hex(object_id)}: it lags")
        return [SharedRef.of(one) for one in found if one is not None]

    def request_payload(
        self, transaction: SignedTransaction, request_id: bytes, expected_hash: bytes
    ) -> list[bytes]:
        """The chunks of the sealed request that this transaction submitted.

        `expected_hash` is the event's `payload_hash` or the object's `request_hash`. Raises `WireFormatError`
        if no call in the transaction carries this request with this hash.
        """
        return _payload(transaction, _EXECUTE, request_id, expected_hash)

    def response_payload(
        self, transaction: SignedTransaction, request_id: bytes, expected_hash: bytes
    ) -> list[bytes]:
        """The chunks of the sealed response that this transaction stored, possibly among others.

        `expected_hash` is the `response_hash` of event or object. Raises `WireFormatError` as above.
        """
        return _payload(transaction, _STORE, request_id, expected_hash)

    def _seal(self, found: ChainObject | None) -> SealState | None:
        if found is None or not _has_type(found, self._type("seal", "SealToken")):
            return None
        return _decoded(SealState.decode, found)

    def _grant_id(self, cluster: ClusterState, holder: bytes, role: str) -> bytes:
        key = Writer().address(holder).string(role).finish()
        return dynamic_field_id(cluster.grants, self._type("cluster", "GrantKey"), key)

    def _grant(
        self, found: ChainObject | None, cluster: ClusterState, holder: bytes, role: str
    ) -> GrantState | None:
        types = self._type("cluster", "GrantKey"), self._type("cluster", "Grant")
        found = _checked_field(found, *types, cluster.grants)
        if found is None:
            return None
        grant = _decoded(GrantState.decode, found)
        if (grant.holder, grant.role) != (holder, role):
            raise ForgedReplyError("the endpoint sent another grant than the one asked for")
        return grant

    async def _field(
        self, object_id: bytes, key_type: StructTag, value_type: StructTag, parent: bytes
    ) -> ChainObject | None:
        """The dynamic field at this id, checked to be a field of these types of `parent`."""
        return _checked_field(await self._ledger.get_object(object_id), key_type, value_type, parent)

    def _type(self, module: str, name: str) -> StructTag:
        return StructTag(self._roots.package_original, module, name)


def _decoded(decode: Callable[[ChainObject], T], found: ChainObject) -> T:
    """What nobody can read is the endpoint's word, like all else that it says: another one may say better."""
    try:
        return decode(found)
    except WireFormatError as error:
        raise ForgedReplyError(
            f"the contents of the object {to_hex(found.id)} cannot be read: {error}"
        ) from error


def _has_type(found: ChainObject, expected: TypeTag) -> bool:
    # As fullnodes write it, with or without spaces; parsing, for all other ways, takes as long as decoding.
    if found.type_tag.replace(", ", ",") == str(expected).replace(", ", ","):
        return True
    try:
        return parse_type_tag(found.type_tag) == expected
    except ValueError:
        return False


def _checked_field(
    found: ChainObject | None, key_type: StructTag, value_type: StructTag, parent: bytes
) -> ChainObject | None:
    if found is None:
        return None
    field_type = StructTag(_SUI_FRAMEWORK, "dynamic_field", "Field", (key_type, value_type))
    if not _has_type(found, field_type) or found.owner.address != parent:
        raise ForgedReplyError(f"the object {to_hex(found.id)} is not the field that has this id")
    return found


def _request(found: ChainObject | None, request_id: bytes) -> RequestState | None:
    if found is None:
        return None
    request = _decoded(RequestState.decode, found)
    if request.request_id != request_id:
        raise ForgedReplyError("the endpoint sent another request than the one asked for")
    return request


def _payload(
    transaction: SignedTransaction, kind: _PayloadCall, request_id: bytes, expected_hash: bytes
) -> list[bytes]:
    """Looks at calls of any package: upgrades change the id, and only the hash decides what is believed."""
    decoded = decode_transaction(transaction.bcs)
    for call in decoded.move_calls:
        if (call.module, call.function) != (GATEWAY_MODULE, kind.function):
            continue
        chunks = _chunks(decoded, call, kind, request_id)
        if chunks is not None and payload_hash(chunks) == expected_hash:
            return chunks
    raise WireFormatError(
        f"the transaction {transaction.digest} does not carry the payload of request {request_id.hex()}"
    )


def _chunks(
    decoded: DecodedTransaction, call: MoveCall, kind: _PayloadCall, request_id: bytes
) -> list[bytes] | None:
    """The payload of a call, or None if it is about another request or not what it seems to be."""
    if len(call.arguments) <= max(kind.request_id, kind.payload):
        return None
    try:
        reader = Reader(decoded.resolve_pure(call.arguments[kind.request_id]))
        found = reader.byte_vector()
        reader.finish()
        return decoded.resolve_chunks(call.arguments[kind.payload]) if found == request_id else None
    except WireFormatError:
        # A call of some other package: it must not hide ours in the same transaction.
        return None
