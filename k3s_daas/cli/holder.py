"""What a holder's machine knows: which seal it speaks for, through which gateway, with which session key."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas.bearer import DEFAULT_LIFETIME_MS, BearerToken, mint
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import from_hex, to_hex
from k3s_daas.private_files import read_private_file

_PRIVATE = stat.S_IRUSR | stat.S_IWUSR


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder's settings: 32-byte ids and the path of the session key (never the key of the stake)."""

    cluster: bytes
    seal: bytes
    gateway: bytes
    session_key_file: Path

    def session_key(self) -> Ed25519PrivateKey:
        """Read the session key.

        Raises:
            ConfigurationError: the file is missing, readable by others, or is not 32 bytes of hex.
        """
        path = self.session_key_file
        try:
            content = read_private_file(path, "the session key file")
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}, or open a new session") from None
        try:
            return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(content.decode("ascii")))
        except ValueError:
            raise ConfigurationError(
                f"the session key file {path} is not 32 bytes of hex: open a new session"
            ) from None

    def token(self, now_ms: int, lifetime_ms: int = DEFAULT_LIFETIME_MS) -> BearerToken:
        """A fresh token for the holder's gateway.

        Raises:
            ConfigurationError: the session key cannot be used.
        """
        return mint(
            self.session_key(),
            cluster=self.cluster,
            seal=self.seal,
            gateway=self.gateway,
            now_ms=now_ms,
            lifetime_ms=lifetime_ms,
        )

    def save(self, path: Path) -> None:
        """Write the settings as JSON; the session key stays in its own file."""
        fields = {
            "cluster": to_hex(self.cluster),
            "seal": to_hex(self.seal),
            "gateway": to_hex(self.gateway),
            "session_key_file": str(self.session_key_file),
        }
        path.write_text(json.dumps(fields, indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Holder:
        """Read the settings.

        Raises:
            ConfigurationError: the file is missing or a field is missing or malformed; names which.
        """
        try:
            fields = json.loads(path.read_text())
        except OSError as error:
            raise ConfigurationError(f"holder settings {path} cannot be read: {error.strerror}") from None
        except ValueError:
            raise ConfigurationError(f"holder settings {path} are not JSON") from None
        return cls(
            cluster=_object_id(fields, "cluster", path),
            seal=_object_id(fields, "seal", path),
            gateway=_object_id(fields, "gateway", path),
            session_key_file=path.parent / _text(fields, "session_key_file", path),
        )


def write_session_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Store a session key so that only its owner can read it."""
    path.touch(mode=_PRIVATE, exist_ok=True)
    path.chmod(_PRIVATE)
    path.write_text(key.private_bytes_raw().hex() + "\n")


def _text(fields: object, name: str, path: Path) -> str:
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"holder settings {path}: {name!r} is missing")
    return value


def _object_id(fields: object, name: str, path: Path) -> bytes:
    try:
        return from_hex(_text(fields, name, path))
    except ValueError:
        raise ConfigurationError(f"holder settings {path}: {name!r} must be 0x and 64 hex digits") from None
