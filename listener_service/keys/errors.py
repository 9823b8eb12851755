"""What can go wrong about keys. No message carries key bytes.

::

    DaasError
    ├── KeyServiceAwayError     the key service gave no usable answer: it may later
    │   └── KeyServiceRefusesError  … when a person has changed a right, credentials, a setting or a key
    ├── KeyUnusableError        a wrapped key does not open here, and never will as things are
    └── LedgerUnavailableError
        └── SignatureMissingError   the key service did not sign: the transaction was not sent
"""

from __future__ import annotations

from k3s_daas.errors import DaasError, LedgerUnavailableError


class KeyServiceAwayError(DaasError):
    """The key service gave no usable answer. Nothing is known about the key."""


class KeyServiceRefusesError(KeyServiceAwayError):
    """The key service says no until a person has done what the message says. The key itself is as it was."""


class KeyUnusableError(DaasError):
    """A wrapped key cannot be opened: another wrapping key, another place, or altered."""


class SignatureMissingError(LedgerUnavailableError):
    """The transaction could not be signed, so it was not sent; whoever sends it tries again."""
