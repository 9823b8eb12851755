"""Who works: one replica per executor, the holder of a Lease.

A *term* begins when the Lease is taken and ends when it was not renewed in time, given back, or lost. Its
holder counts from before it asked for the renewal, the others from when they saw it, both on a clock that
runs through suspension; so the holder has stopped before anybody else may begin::

    holder   asks for renewal ─────────────────── may start commands ──┤ 2/3
    others           see it ── nobody else may take the lease ───────────────┤ 5/6
    duration ┼────────────────────────────────────────────────────────────────────┤

A holder that is stopped, and continued later, knows by that clock that its term is over. What it may
already have done is what claims are for.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from k3s_daas.errors import ConfigurationError
from k3s_daas.roots import TrustRoots
from listener_service import finishing
from listener_service.api_call import ApiServerError
from listener_service.clock import Clock, boot_s
from listener_service.kube_objects import (
    KubeError,
    KubeForbiddenError,
    KubeRefusedError,
    KubeUnavailableError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
)
from listener_service.leases import Lease, Leases

_log = logging.getLogger(__name__)

WATERMARK = "daas.io/watermark"

_HOLDER_MAY_START = 2 / 3
_OTHERS_WAIT = 5 / 6
_RENEW_EVERY = 1 / 3
_RETRY_EVERY = 1 / 15
# A lease that is given back is seen within this time.
_LOOK_EVERY_S = 0.5
_LOOKS_PER_DURATION = 10
_WATERMARK_EVERY_S = 1.0
# Of a checkpoint, which is a u64.
_MOST_DIGITS = 20
_DECLINE_WITHIN_S = 5.0
# An API server that restarts refuses everybody until it has read who may do what.
_REFUSED_IN_PASSING_S = 60.0


class NotLeadingError(ApiServerError):
    """The term is over, so nothing was sent: whoever leads now does it."""

    sent = False


def lease_name(roots: TrustRoots, executor: bytes) -> str:
    """One lease for each executor of a cluster on a chain: positions and requests mean nothing elsewhere."""
    whose = hashlib.sha256(roots.chain_id.encode() + b"\0" + roots.cluster + executor)
    return f"daas-listener-{whose.hexdigest()[:16]}"


class Term:
    """One time of leading. `number` is the Lease's `leaseTransitions`: a later term has a higher one."""

    def __init__(self, lease: Lease, until_s: float, boot_s: Callable[[], float]) -> None:
        self.number = lease.transitions
        self.holder = lease.holder
        self.lease = lease
        self.finishing = finishing.read(lease.annotations)
        """Predecessors that may still answer what they claimed, and until when (Unix ms)."""
        self._until_s = until_s
        self._boot_s = boot_s
        self._watermark_written_s = boot_s()

    def is_current(self) -> bool:
        """Whether commands may be started. Thread-safe; the last question before the bytes leave."""
        return self._boot_s() < self._until_s

    def confirm(self) -> None:
        """Raises `NotLeadingError` if the term is over."""
        if not self.is_current():
            raise NotLeadingError("another replica may be leading by now")

    def renewed(self, lease: Lease, until_s: float) -> None:
        """The Lease was written again. A term that is over stays over."""
        if lease.annotations.get(WATERMARK) != self.lease.annotations.get(WATERMARK):
            self._watermark_written_s = self._boot_s()
        self.lease = lease
        if self.is_current():
            self._until_s = until_s

    def end(self) -> None:
        """Nothing may be started any more."""
        self._until_s = float("-inf")

    @property
    def watermark(self) -> int | None:
        """As the Lease has it. What is no number was edited by hand, and counts as none."""
        text = self.lease.annotations.get(WATERMARK)
        if text is None:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
            _log.error("the watermark in the Lease is no number, replaying", extra={"lease": self.lease.name})
            return None
        return int(text)

    def annotations(self, watermark: int | None, *, at_once: bool = False) -> dict[str, str]:
        """Those to write next: the watermark moves forward only, and at most once a second."""
        found = dict(self.lease.annotations)
        stored = self.watermark
        waited_s = self._boot_s() - self._watermark_written_s
        is_due = at_once or stored is None or waited_s >= _WATERMARK_EVERY_S
        if watermark is not None and (stored is None or watermark > stored) and is_due:
            found[WATERMARK] = str(watermark)
        return found


@dataclass(slots=True)
class Leadership:
    """One replica's part in the election. `identity` is unique to this process."""

    leases: Leases
    name: str
    identity: str
    duration_s: int
    clock: Clock
    boot_s: Callable[[], float] = boot_s
    on_standby: Callable[[], None] = lambda: None
    _finishing: dict[str, int] = field(default_factory=dict)
    _seen: str | None = None
    _seen_s: float = field(default=0.0)
    _allowed_s: float | None = None

    async def acquire(self) -> Term:
        """Waits until the Lease is free, and takes it.

        Raises `ConfigurationError` if the API server refuses, and did not allow it within the last minute:
        then a person is needed.
        """
        announced = away = False
        while True:
            try:
                term = await self._try()
                away, self._allowed_s = False, self.boot_s()
            except (ObjectExistsError, ObjectChangedError, ObjectMissingError):
                term = None  # somebody was faster
            except (KubeRefusedError, KubeUnavailableError) as error:
                self._check_refusal(error)
                if not away:
                    _log.warning("the leader Lease cannot be read or taken", extra={"error": str(error)})
                term, away = None, True
            if term is not None:
                _log.info("leading", extra={"term": term.number, "watermark": term.watermark})
                return term
            if self._seen and not announced:
                announced = True
                _log.info("standing by", extra={"lease": self.name})
                self.on_standby()
            await self.clock.sleep(min(self.duration_s / _LOOKS_PER_DURATION, _LOOK_EVERY_S))

    async def keep(self, term: Term, watermark: Callable[[], int | None]) -> None:
        """Renews, with the watermark at that moment. Returns when the term is over."""
        pause_s = self.duration_s * _RENEW_EVERY
        while term.is_current():
            await self.clock.sleep(pause_s)
            if not term.is_current():
                break
            try:
                await self._while_ours(term, partial(self._write, term, watermark()))
                pause_s = self.duration_s * _RENEW_EVERY
            except (KubeUnavailableError, KubeForbiddenError) as error:
                _log.warning("the leader Lease was not renewed, trying again", extra={"error": str(error)})
                pause_s = self.duration_s * _RETRY_EVERY
            except KubeRefusedError as error:
                _log.error("the leader Lease is lost", extra={"error": str(error)})
                break
        term.end()
        _log.warning("the term is over", extra={"term": term.number})

    def finishes(self, within_s: float) -> None:
        """This process may still answer what it claimed, for so long: whoever leads next shall know."""
        self._finishing[self.identity] = self.clock.now_ms() + math.ceil(within_s * 1000)

    async def release(self, term: Term, watermark: int | None) -> None:
        """Ends the term and gives the Lease back, so that a standby need not wait for it to run out."""
        was_current = term.is_current()
        term.end()
        if not was_current:
            return

        async def give_back() -> None:
            now_ms = self.clock.now_ms()
            annotations = self._annotations(term.annotations(watermark, at_once=True))
            await self.leases.replace(
                replace(term.lease, holder="", renewed_ms=now_ms, annotations=annotations)
            )

        try:
            await self._while_ours(term, give_back)
        except KubeError as error:
            _log.warning("the leader Lease was not given back, it runs out", extra={"error": str(error)})

    async def _try(self) -> Term | None:
        found = await self.leases.get(self.name)
        if found is not None and not self._is_free(found):
            return None
        self._seen = None
        sent_s, now_ms = self.boot_s(), self.clock.now_ms()
        wanted = replace(
            found or Lease(self.name),
            holder=self.identity,
            duration_s=self.duration_s,
            acquired_ms=now_ms,
            renewed_ms=now_ms,
            transitions=found.transitions + 1 if found is not None else 0,
            annotations=self._annotations({} if found is None else found.annotations),
        )
        taking = asyncio.ensure_future(self._create(wanted) if found is None else self.leases.replace(wanted))
        try:
            taken = await asyncio.shield(taking)
        except asyncio.CancelledError:
            await self._decline(taking)
            raise
        return Term(taken, self._until_s(sent_s), self.boot_s)

    async def _decline(self, taking: asyncio.Future[Lease]) -> None:
        """For who was told to end while it asked for the lead: it may get it, and would be gone."""
        try:
            async with asyncio.timeout(_DECLINE_WITHIN_S):
                try:
                    taken: Lease | None = await taking
                except KubeUnavailableError:
                    taken = await self.leases.get(self.name)
                if taken is not None and taken.holder == self.identity:
                    await self.leases.replace(replace(taken, holder=""))
        except KubeRefusedError:
            return  # somebody was faster
        except (KubeUnavailableError, TimeoutError) as error:
            _log.warning("the leader Lease may be ours, it runs out", extra={"error": str(error)})

    def _annotations(self, known: Mapping[str, str]) -> dict[str, str]:
        return finishing.written(known, self._finishing, self.clock.now_ms())

    async def _create(self, wanted: Lease) -> Lease:
        try:
            return await self.leases.create(wanted)
        except ObjectMissingError as error:
            # Not that somebody was faster: what is missing is the namespace.
            raise KubeRefusedError(error.status, "the Lease cannot be made") from error

    def _is_free(self, found: Lease) -> bool:
        """Nobody's, our own from an attempt whose reply was lost, or not renewed while we looked on."""
        if found.holder in ("", self.identity):
            return True
        now = self.boot_s()
        if found.version != self._seen:
            self._seen, self._seen_s = found.version, now
        return now - self._seen_s >= (found.duration_s or self.duration_s) * _OTHERS_WAIT

    def _check_refusal(self, error: KubeRefusedError | KubeUnavailableError) -> None:
        since_s = None if self._allowed_s is None else self.boot_s() - self._allowed_s
        if isinstance(error, KubeRefusedError) and (since_s is None or since_s > _REFUSED_IN_PASSING_S):
            raise ConfigurationError(
                f"the listener may not use Leases in its namespace ({error}): apply its RBAC manifests"
            ) from error

    async def _while_ours(self, term: Term, write: Callable[[], Awaitable[None]]) -> None:
        """Writes again what was written meanwhile, if the Lease is still this term's."""
        try:
            await write()
        except ObjectChangedError:
            # Our own renewal whose reply was lost or not waited for, or somebody else's annotation.
            stored = await self.leases.get(self.name)
            if stored is None or (stored.holder, stored.transitions) != (term.holder, term.number):
                raise
            term.lease = stored
            await write()

    async def _write(self, term: Term, watermark: int | None) -> None:
        sent_s = self.boot_s()
        renewed = await self.leases.replace(
            replace(term.lease, renewed_ms=self.clock.now_ms(), annotations=term.annotations(watermark))
        )
        self._allowed_s = self.boot_s()
        term.renewed(renewed, self._until_s(sent_s))

    def _until_s(self, sent_s: float) -> float:
        return sent_s + self.duration_s * _HOLDER_MAY_START
