"""Would the contract accept this command? Asked before a transaction is made, so that a no costs no gas.

The order of the checks is the contract's, and every refusal is the one that its abort would give. The
contract decides again; this decides on what was read up to a second ago.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from chalicelib.chain import CommandState
from chalicelib.tally import Sent
from k3s_daas.aborts import CODES
from k3s_daas.attributes import RequestAttributes
from k3s_daas.bearer import BearerToken
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.objects import ClusterState, SealState, SessionState
from k3s_daas.contract.usage import command_deposit, commands_left, deposit_left
from k3s_daas.errors import TokenError
from k3s_daas.rbac import Role
from k3s_daas.status import from_abort


def admit(
    state: CommandState,
    token: BearerToken,
    attributes: RequestAttributes,
    *,
    gateway: bytes,
    executor: bytes,
    sent: Sent | None,
    now_ms: int,
    margin_ms: int = 0,
) -> OnChainAttributes:
    """The attributes that go on chain. `token` is verified already; `sent` is not in `state` yet, and None
    for a command that is counted already.

    What ends within `margin_ms` counts as ended: the contract decides a moment later, by another clock. That
    one may be behind, too: a minute and a day that ended within `margin_ms` count as present.

    Raises StatusError as the contract's abort would be answered, and TokenError if there is no such seal.
    """
    cluster, seal = state.cluster, state.seal
    if seal is None:
        raise TokenError(
            "the seal that the token names does not exist on this chain: use the right kubeconfig"
        )
    if seal.cluster != cluster.ref.id:
        _refuse("EWrongCluster")
    if gateway not in cluster.gateways:
        _refuse("EUnknownGateway")
    if cluster.paused:
        _refuse("EClusterPaused")
    then_ms = now_ms + margin_ms
    _check_seal(seal, then_ms)
    session = _live_session(seal, token, then_ms)
    role = cluster.roles.get(seal.role)
    if role is None:
        _refuse("EUnknownRole")
    _check_grant(state, role, then_ms)
    decision = role.admits(attributes, cluster.listener_namespace)
    if not decision.allowed:
        _refuse(
            decision.abort or "EForbiddenByRole",
            role=role.name,
            verb=attributes.verb,
            resource=attributes.combined_resource or "a path outside the API groups",
        )
    if not session.reaches(attributes):
        _refuse("ESessionNamespace", namespaces=", ".join(session.namespaces))
    if not attributes.is_read:
        _check_write(cluster, seal, session, role)
    _check_executor(cluster, executor)
    on_chain = OnChainAttributes.of(attributes, decision.non_resource_url)
    if sent is not None:
        _check_usage(cluster, seal, on_chain, sent, (now_ms, now_ms - margin_ms))
    return on_chain


def check_payload(cluster: ClusterState, chunks: Sequence[bytes]) -> None:
    """Raises StatusError if the cluster takes no sealed request of this size."""
    if sum(map(len, chunks)) > cluster.policy.max_inline_bytes:
        _refuse("EPayloadTooLarge")


def _check_seal(seal: SealState, now_ms: int) -> None:
    if seal.revoked:
        _refuse("ESealRevoked")
    if now_ms >= seal.expires_at_ms:
        _refuse("ESealExpired")


def _live_session(seal: SealState, token: BearerToken, now_ms: int) -> SessionState:
    session = seal.sessions.get(token.session_key)
    if session is None:
        _refuse("EUnknownSession")
    if now_ms >= session.expires_at_ms:
        _refuse("ESessionExpired")
    return session


def _check_write(cluster: ClusterState, seal: SealState, session: SessionState, role: Role) -> None:
    if session.read_only:
        _refuse("ESessionReadOnly")
    required = max(cluster.policy.min_write_stake, role.stake)
    if seal.stake < required:
        _refuse("EStakeTooLow", stake_mist=seal.stake, required_mist=required)


def _check_executor(cluster: ClusterState, executor: bytes) -> None:
    registered = cluster.executors.get(executor)
    if registered is None:
        _refuse("EUnknownExecutor")
    if registered.generation == 0:
        _refuse("EExecutorHasNoKey")


def _check_grant(state: CommandState, role: Role, now_ms: int) -> None:
    if role.open:
        return
    if state.grant is None:
        _refuse("ENotGranted")
    if now_ms >= state.grant.expires_at_ms:
        _refuse("EGrantExpired")


def _check_usage(
    cluster: ClusterState, seal: SealState, on_chain: OnChainAttributes, sent: Sent, times_ms: tuple[int, int]
) -> None:
    """Both at the latest and at the earliest time that the chain's clock may show."""
    usage, policy = seal.usage, cluster.policy
    if min(commands_left(usage, policy, ms) for ms in times_ms) <= sent.commands:
        # Whoever came again at the very start of a minute could be refused on chain, where it costs gas.
        _refuse("ERateExceeded", now_ms=min(times_ms))
    deposit = sent.deposit + command_deposit(seal.role, on_chain)
    if min(deposit_left(usage, policy, ms) for ms in times_ms) < deposit:
        _refuse("EDepositExceeded")


def _refuse(abort: str, **context: object) -> NoReturn:
    module, code = CODES[abort]
    raise from_abort(module, code, **context)
