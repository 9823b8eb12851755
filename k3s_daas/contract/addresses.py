"""Where the contract's objects are, computed without an index.

Address of a dynamic field (`sui::dynamic_field`): BLAKE2b-256 of
`f0 ‖ parent ‖ u64le(length of the key's BCS) ‖ key's BCS ‖ BCS of the key's type tag`.
"""

from __future__ import annotations

from k3s_daas.bcs import Writer
from k3s_daas.ids import REQUEST_ID_BYTES
from k3s_daas.sui.digests import blake2b256
from k3s_daas.sui.type_tags import StructTag, TypeTag, type_tag_bytes

GATEWAY_MODULE = "k8s_gateway"
_CHILD_OBJECT_SCOPE = b"\xf0"


def dynamic_field_id(parent: bytes, key_type: TypeTag, key: bytes) -> bytes:
    """The object id of the dynamic field `key` (BCS) of `parent`."""
    length = Writer().u64(len(key)).finish()
    return blake2b256(_CHILD_OBJECT_SCOPE + parent + length + key + type_tag_bytes(key_type))


def request_key(request_id: bytes) -> bytes:
    """The BCS of `RequestKey { id }`."""
    if len(request_id) != REQUEST_ID_BYTES:
        raise ValueError(f"a request id has {REQUEST_ID_BYTES} bytes, got {len(request_id)}")
    return Writer().byte_vector(request_id).finish()


def request_object_id(package_original: bytes, seal: bytes, request_id: bytes) -> bytes:
    """The object id of a request. The type, and so the address, belongs to the *original* package id."""
    key_type = StructTag(package_original, GATEWAY_MODULE, "RequestKey")
    return dynamic_field_id(seal, key_type, request_key(request_id))
