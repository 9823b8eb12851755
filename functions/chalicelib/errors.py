"""Errors that only the gateway knows. The rest of the tree is in `k3s_daas.errors`."""

from __future__ import annotations

from k3s_daas.errors import DaasError


class GatewayUnavailableError(DaasError):
    """Something that the gateway needs does not answer; nothing was submitted, so try again."""


class RequestStoreUnavailableError(GatewayUnavailableError):
    """The request store did not take the write: nothing may be submitted on it."""


class RequestAlreadyReservedError(GatewayUnavailableError):
    """Somebody else has reserved this request id."""


class FenceLostError(GatewayUnavailableError):
    """The record has moved on without this writer: whoever holds the newer fence decides."""


class PlaceTakenError(GatewayUnavailableError):
    """Another record is parked for the same request: this one cannot be found again by its retry."""


class AdoptionFailedError(GatewayUnavailableError):
    """A parked command was being taken up again, and the store failed: nobody may submit it anew."""

    def __init__(self) -> None:
        super().__init__(
            "this command was sent before, and taking it up again failed: it may have run. "
            "Look at the cluster before you repeat it"
        )


class RecordUnknownError(GatewayUnavailableError):
    """Nobody knows whether the signed bytes are on record. If they are, the sweeper sends them."""

    def __init__(self) -> None:
        super().__init__(
            "the gateway's request store did not answer while the command was put on record: it may still "
            "run. Look at the cluster before you repeat it"
        )


class SigningUnavailableError(GatewayUnavailableError):
    """The signing service did not sign."""


class ParametersUnavailableError(GatewayUnavailableError):
    """SSM's Parameter Store did not answer, and it has the roots of trust."""


class NotConfiguredError(GatewayUnavailableError):
    """A setting or a root of trust is missing or wrong; the gateway's log has the sentence that names it."""
