"""``StateService``: who owns what now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..bytecode.types import Datatype, TypeTextError, canonical
from ..ledger.bcs import BcsError, Reader
from ..ledger.coins import coin_balance
from ..ledger.datatypes import UnknownTypeError
from ..ledger.digests import hex_address
from ..ledger.objects import StoredObject
from ..ledger.type_tags import (
    FIELD_PREFIX,
    OBJECT_FIELD_WRAPPER_PREFIX,
    SUI,
    canonical_type,
    coin_type,
    parsed,
)
from .endpoint import Method
from .ledger_service import LedgerService, address_field, mask_of
from .masks import Tree, apply_mask, subtree, wants
from .messages import bcs_message
from .view import NodeView

DEFAULT_PAGE, MAX_PAGE = 50, 1000
OWNED_DEFAULT = ("object_id", "version", "object_type")
FIELD_DEFAULT = ("parent", "field_id")


def page(
    items: Sequence[Any], page_size: int | None, token: bytes | None
) -> tuple[Sequence[Any], bytes | None]:
    """A page of ``items`` (objects in order of id, or names) and the token of the next."""
    size = min(page_size or DEFAULT_PAGE, MAX_PAGE)
    try:
        start = int(token) if token else 0
    except ValueError as error:
        raise GRPCError(Status.INVALID_ARGUMENT, "the page token is not one that this server gave") from error
    following = start + size
    return items[start:following], str(following).encode() if following < len(items) else None


class StateService:
    def __init__(self, view: NodeView, reads: LedgerService) -> None:
        self._view = view
        self._reads = reads
        self._types = view.ledger.datatypes

    def methods(self) -> list[Method]:
        return [
            Method("StateService/GetBalance", self.get_balance),
            Method("StateService/ListBalances", self.list_balances),
            Method("StateService/ListOwnedObjects", self.list_owned_objects),
            Method("StateService/ListDynamicFields", self.list_dynamic_fields),
            Method("StateService/GetCoinInfo", self.get_coin_info),
        ]

    async def get_balance(self, request: Any) -> Any:
        owner = address_field(request.owner, "owner")
        currency = _type_field(request.coin_type)
        return v2.GetBalanceResponse(balance=self._balances(owner).get(currency) or _balance(currency, 0, 0))

    async def list_balances(self, request: Any) -> Any:
        owner = address_field(request.owner, "owner")
        balances = self._balances(owner)
        found, following = page(sorted(balances), request.page_size, request.page_token)
        return v2.ListBalancesResponse(
            balances=[balances[currency] for currency in found], next_page_token=following
        )

    def _balances(self, owner: bytes) -> dict[str, Any]:
        in_coins: dict[str, int] = {}
        for stored in self._view.owned_by(owner):
            currency = coin_type(stored.type_tag)
            if currency is not None:
                in_coins[currency] = in_coins.get(currency, 0) + coin_balance(stored.contents)
        # A lagging port shows old coins but present address balances: those have no history here.
        at_address = self._view.ledger.final.balances_of(owner)
        return {
            currency: _balance(currency, at_address.get(currency, 0), in_coins.get(currency, 0))
            for currency in in_coins.keys() | at_address.keys()
        }

    async def list_owned_objects(self, request: Any) -> Any:
        mask = mask_of(v2.Object, request.read_mask, OWNED_DEFAULT)
        owned = self._view.owned_by(address_field(request.owner, "owner"))
        if request.object_type:
            wanted = _type_field(request.object_type)
            owned = [s for s in owned if s.type_tag == wanted or s.type_tag.startswith(f"{wanted}<")]
        found, following = page(owned, request.page_size, request.page_token)
        return v2.ListOwnedObjectsResponse(
            objects=[self._reads.object_message(stored, mask) for stored in found], next_page_token=following
        )

    async def list_dynamic_fields(self, request: Any) -> Any:
        mask = mask_of(v2.DynamicField, request.read_mask, FIELD_DEFAULT)
        parent = address_field(request.parent, "parent")
        children = sorted(self._view.children_of(parent), key=lambda stored: stored.id)
        found, following = page(children, request.page_size, request.page_token)
        return v2.ListDynamicFieldsResponse(
            dynamic_fields=[self._field(parent, stored, mask) for stored in found], next_page_token=following
        )

    def _field(self, parent: bytes, stored: StoredObject, mask: Tree) -> Any:
        kinds = v2.DynamicFieldDynamicFieldKind
        message = v2.DynamicField(
            parent=hex_address(parent), field_id=hex_address(stored.id), kind=kinds.FIELD
        )
        if wants(mask, "field_object"):
            message.field_object = self._reads.object_message(stored, subtree(mask, "field_object"))
        field_type = parsed(stored.type_tag)
        if not stored.type_tag.startswith(FIELD_PREFIX) or not isinstance(field_type, Datatype):
            return apply_mask(message, mask)
        name_type, value_type = map(canonical, field_type.arguments)
        split = self._split(name_type, stored.contents)
        message.value_type = value_type
        if split is not None:
            name, value = split
            message.name, message.value = bcs_message(name_type, name), bcs_message(value_type, value)
        if name_type.startswith(OBJECT_FIELD_WRAPPER_PREFIX):
            child = self._view.object(stored.contents[-32:])
            message.kind, message.child_id = kinds.OBJECT, hex_address(stored.contents[-32:])
            if child is not None:
                message.value_type = child.type_tag
                if wants(mask, "child_object"):
                    message.child_object = self._reads.object_message(child, subtree(mask, "child_object"))
        return apply_mask(message, mask)

    def _split(self, name_type: str, contents: bytes) -> tuple[bytes, bytes] | None:
        """Name and value of a field's contents (id, name, value); None if the name's type is not known."""
        reader = Reader(contents)
        reader.address()
        try:
            self._types.walk(parsed(name_type), reader)
        except (BcsError, UnknownTypeError):
            return None
        return contents[32 : reader.position], contents[reader.position :]

    async def get_coin_info(self, request: Any) -> Any:
        if _type_field(request.coin_type) != SUI:
            raise GRPCError(Status.NOT_FOUND, f"no coin metadata of {request.coin_type} is kept here")
        metadata = v2.CoinMetadata(decimals=9, name="Sui", symbol="SUI", description="")
        return v2.GetCoinInfoResponse(coin_type=SUI, metadata=metadata)


def _balance(currency: str, at_address: int, in_coins: int) -> Any:
    return v2.Balance(
        coin_type=currency, balance=at_address + in_coins, address_balance=at_address, coin_balance=in_coins
    )


def _type_field(text: str | None) -> str:
    if not text:
        raise GRPCError(Status.INVALID_ARGUMENT, "missing type")
    try:
        return canonical_type(text)
    except TypeTextError as error:
        raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
