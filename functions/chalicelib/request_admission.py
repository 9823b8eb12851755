"""Admission of a request: headers, attributes, token and the chain's state, before anything costs gas.

What the contract would say is decided by `admission`, on what the chain said up to a second ago; nobody is
refused on that alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from chalicelib.admission import admit
from chalicelib.chain import ChainView, CommandState
from chalicelib.command import AdmittedCommand
from chalicelib.http_request import GatewayRequest
from chalicelib.journey import Journey
from chalicelib.loop import EventLoopThread
from chalicelib.sealing_keys import SealingKeys
from chalicelib.settings import GatewaySettings
from chalicelib.tally import CommandTally
from chalicelib.unsupported import refuse_unsupported
from k3s_daas.attributes import RequestAttributes, parse_attributes
from k3s_daas.bearer import BearerToken, verify
from k3s_daas.errors import DaasError, TokenError
from k3s_daas.headers import admit_request_headers
from k3s_daas.roots import TrustRoots
from k3s_daas.status import StatusError

T = TypeVar("T")

# The contract decides by the chain's clock, and a moment later. What begins or ends within this time could be
# refused there, and a refusal on chain costs gas.
CLOCK_MARGIN_MS = 5_000


class RequestAdmission:
    """Used by many request threads at once. `gateway` is this gateway's address."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        roots: TrustRoots,
        gateway: bytes,
        loop: EventLoopThread,
        chain: ChainView,
        keys: SealingKeys,
        tally: CommandTally,
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._roots = roots
        self._gateway = gateway
        self._loop = loop
        self._chain = chain
        self._keys = keys
        self._tally = tally
        self._now_ms = now_ms

    def admit(self, request: GatewayRequest, journey: Journey) -> AdmittedCommand:
        """The command that the request asks for. Whoever is only too quick is admitted with his refusal.

        Raises the refusals as DaasError: StatusError, TokenError, MalformedRequestError; LedgerError if the
        chain's state is not to be had; ConfigurationError if the times do not fit the cluster's policy.
        """
        headers = tuple(admit_request_headers(request.headers))
        attributes = parse_attributes(request.method, request.path, request.query)
        journey.attributes = attributes
        token = _bearer_token(request)
        verify(
            token,
            cluster=self._roots.cluster,
            gateway=self._gateway,
            now_ms=self._now_ms(),
            margin_ms=CLOCK_MARGIN_MS,
        )
        journey.seal = token.claims.seal
        refuse_unsupported(request, attributes)

        def decide(state: CommandState, *, counted: bool = False) -> AdmittedCommand:
            return self._decide(request, headers, attributes, token, state, counted=counted)

        until_ms = self._settings.deadlines.wait_until_ms(request.arrival_ms)
        began_s = time.monotonic()
        try:
            return decide(self._ask(self._chain.state(token.claims.seal), until_ms))
        except DaasError:
            # Nobody is refused on what was true a second ago: a session may have been opened since.
            state = self._ask(self._chain.state_since(token.claims.seal, began_s), until_ms)
        try:
            return decide(state)
        except StatusError as error:
            if error.code != 429:
                raise
            return replace(decide(state, counted=True), refusal=error)

    def _decide(
        self,
        request: GatewayRequest,
        headers: tuple[tuple[str, str], ...],
        attributes: RequestAttributes,
        token: BearerToken,
        state: CommandState,
        *,
        counted: bool,
    ) -> AdmittedCommand:
        """`counted`: the command is one that was counted when it came."""
        policy = state.cluster.policy
        self._settings.deadlines.check_policy(
            max_start_ms=policy.max_start_ms,
            max_finish_ms=policy.max_finish_ms,
            max_answer_ms=policy.max_answer_ms,
            clock_margin_ms=CLOCK_MARGIN_MS,
        )
        on_chain = admit(
            state,
            token,
            attributes,
            gateway=self._gateway,
            executor=self._settings.executor,
            sent=None if counted else self._tally.since(token.claims.seal, state.seal_read_s),
            now_ms=self._now_ms(),
            margin_ms=CLOCK_MARGIN_MS,
        )
        executor_key = self._keys.current(state.cluster.executors[self._settings.executor])
        return AdmittedCommand(request, headers, attributes, on_chain, token, state, executor_key)

    def _ask(self, work: Coroutine[Any, Any, T], until_ms: int) -> T:
        return self._loop.ask(
            work,
            timeout_s=max(0, until_ms - self._now_ms()) / 1000,
            late="the Sui endpoint did not answer while the caller waited",
        )


def _bearer_token(request: GatewayRequest) -> BearerToken:
    scheme, _, credentials = (request.header("Authorization") or "").strip().partition(" ")
    if scheme.lower() != "bearer":
        raise TokenError("no bearer token came: use a kubeconfig whose user runs kubectl-daas")
    return BearerToken.decode(credentials.strip())
