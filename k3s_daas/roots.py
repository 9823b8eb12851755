"""The roots of trust: pinned in a file, never learned from an endpoint.

A JSON object; every field is required and none may be added::

    {"chain_id": base58 digest of 32 bytes,
     "package_original": "0x…", "package_latest": "0x…", "cluster": "0x…",
     "gateways":  {"0x… address": "0x… scheme flag ‖ public key"},
     "executors": {"0x… address": "0x… scheme flag ‖ public key"}}

The key that bodies are sealed for is no root: executors announce it on chain and sign the announcement with
the key that is pinned here (``k3s_daas.contract.keys``).

``package_original`` names the types (it never changes), ``package_latest`` the code that is called.
A Sui address is the BLAKE2b-256 of scheme flag ‖ public key; ``load`` checks that each pair belongs together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import from_hex, to_hex

# Scheme flag -> length of the public key: ed25519, secp256k1, secp256r1.
_PUBLIC_KEY_BYTES = {0: 32, 1: 33, 2: 33}
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class TrustRoots:
    """What both halves believe without asking anybody.

    ``gateways`` and ``executors`` map addresses (32 bytes) to scheme flag ‖ public key.
    """

    chain_id: str
    package_original: bytes
    package_latest: bytes
    cluster: bytes
    gateways: Mapping[bytes, bytes]
    executors: Mapping[bytes, bytes]

    @classmethod
    def load(cls, path: Path) -> TrustRoots:
        """From a file that ``dump`` or an operator wrote; ``ConfigurationError`` names file and field."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"cannot read the trust roots {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"the trust roots {path} are not JSON: {error}") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, origin: str) -> TrustRoots:
        """From the text of such a file; ``ConfigurationError`` names ``origin`` and the field."""
        try:
            document = json.loads(text, object_pairs_hook=_unique_keys)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"the trust roots {origin} are not JSON: {error}") from error
        try:
            return cls._from_document(document)
        except ConfigurationError as error:
            raise ConfigurationError(f"the trust roots {origin}: {error}") from error

    def dump(self, path: Path) -> None:
        """Writes the file that ``load`` reads; stable order, so that it can be compared and reviewed."""
        document = {
            "chain_id": self.chain_id,
            "package_original": to_hex(self.package_original),
            "package_latest": to_hex(self.package_latest),
            "cluster": to_hex(self.cluster),
            "gateways": _dumped(self.gateways),
            "executors": _dumped(self.executors),
        }
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def _from_document(cls, document: object) -> TrustRoots:
        names = ("chain_id", "package_original", "package_latest", "cluster", "gateways", "executors")
        values = _object(document, "the document", names)
        return cls(
            chain_id=_chain_id(values["chain_id"]),
            package_original=_address(values["package_original"], "package_original"),
            package_latest=_address(values["package_latest"], "package_latest"),
            cluster=_address(values["cluster"], "cluster"),
            gateways=_by_address(values["gateways"], "gateways"),
            executors=_by_address(values["executors"], "executors"),
        )


def _dumped(keys: Mapping[bytes, bytes]) -> dict[str, str]:
    return {to_hex(address): _hex(key) for address, key in sorted(keys.items())}


def _by_address(value: object, name: str) -> dict[bytes, bytes]:
    if not isinstance(value, dict) or not value:
        raise ConfigurationError(f"{name} must be an object with at least one address")
    result: dict[bytes, bytes] = {}
    for key, entry in value.items():
        address = _address(key, f"{name}: the key {key!r}")
        if address in result:
            raise ConfigurationError(f"{name}: {key} comes twice")
        result[address] = _public_key(entry, address, f"{name}.{key}")
    return result


def _public_key(value: object, address: bytes, name: str) -> bytes:
    key = _bytes(value, name)
    if not key or _PUBLIC_KEY_BYTES.get(key[0]) != len(key) - 1:
        raise ConfigurationError(f"{name} is not a scheme flag (00, 01, 02) and its public key")
    if hashlib.blake2b(key, digest_size=32).digest() != address:
        raise ConfigurationError(f"{name} does not belong to the address {to_hex(address)}")
    return key


def _chain_id(value: object) -> str:
    if isinstance(value, str) and value and all(letter in _BASE58 for letter in value):
        number = 0
        for letter in value:
            number = number * 58 + _BASE58.index(letter)
        leading_zeros = len(value) - len(value.lstrip("1"))
        if leading_zeros + (number.bit_length() + 7) // 8 == 32:
            return value
    raise ConfigurationError("chain_id is not the base58 digest (32 bytes) of a genesis checkpoint")


def _address(value: object, name: str) -> bytes:
    try:
        return from_hex(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from error


def _bytes(value: object, name: str) -> bytes:
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return bytes.fromhex(value[2:])
        except ValueError:
            pass
    raise ConfigurationError(f"{name} is not 0x and hexadecimal digits")


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _object(value: object, name: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name} must be a JSON object")
    for missing in (key for key in keys if key not in value):
        raise ConfigurationError(f"{name} has no field {missing}")
    for unknown in (key for key in value if key not in keys):
        raise ConfigurationError(f"{name} has the unknown field {unknown}")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a field comes twice in one object")
    return result
