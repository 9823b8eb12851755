"""How a command is turned down: with a Status for its caller where there is a way back, else only in the
log.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from k3s_daas.errors import DaasError
from k3s_daas.payload import MAX_CIPHERTEXT_BYTES
from k3s_daas.status import StatusError


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """All that an answer needs: which request, the HPKE public key to seal it for, and until when (Unix ms).

    A body that does not fit goes to `upload_url` (presigned, a secret, or `OWN_IPFS_NODE`), if there is one;
    `max_inline_bytes` is what the cluster takes.

    Without `reply_key` (its request cannot be opened) the answer is public: nothing but a sentence of ours.
    """

    seal: bytes
    request_id: bytes
    reply_key: bytes | None
    answer_by_ms: int
    upload_url: str = field(default="", repr=False)
    max_inline_bytes: int = MAX_CIPHERTEXT_BYTES


class UnbelievableError(DaasError):
    """An event that is not what the pinned gateway signed, or cannot be opened. Logged; there is no way back.

    `reason` is a short word for logs and metrics.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotForUsError(DaasError):
    """An event for another executor or another kind of event. Not worth more than a debug line."""


class UnconfirmedError(DaasError):
    """Too few endpoints show the event's transaction yet: it is invented, or they lag. To be asked again."""


class RefusedCommandError(DaasError):
    """A genuine request that must not run; its caller is told why. `reason` as in `UnbelievableError`."""

    def __init__(self, reason: str, status: StatusError, reply_to: ReplyTo) -> None:
        super().__init__(str(status))
        self.reason = reason
        self.status = status
        self.reply_to = reply_to
