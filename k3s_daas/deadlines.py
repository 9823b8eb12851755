"""The three times of a command and the timeouts around it, from one settings object.

::

    arrival ── start_by ─────────────── finish_by ─────────────── answer_by
    │   the listener may start │  … and may still be running │ … only its answer is still accepted
    │
    ├─ gateway's wait ─┤
    ├─ Lambda timeout ───┤
    └─ API Gateway timeout ─┤

The three times are absolute Unix ms in the signed transaction, so nobody can revive a command later. Arrival
is when API Gateway received the request, so that a cold start eats into the time and does not add to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from k3s_daas.bearer import DEFAULT_LIFETIME_MS
from k3s_daas.errors import ConfigurationError

MOST_PARKINGS = 10
"""How often one command is parked: kubectl repeats a request that often, and no more."""

RETRY_AFTER_S = 1
"""What the caller of a parked command is told to wait; HTTP knows whole seconds only."""


@dataclass(frozen=True, slots=True)
class DeadlineSettings:
    """All durations, in ms. Call ``validate()`` once at start."""

    start_within_ms: int = 24_000
    """From arrival until the listener's last start. Below the gateway's wait: the caller hears of it."""

    finish_within_ms: int = 240_000
    """From arrival until which the API server's reply is expected."""

    answer_after_finish_ms: int = 600_000
    """From finish_by until which an answer is accepted on chain; covers a listener that restarts."""

    gateway_wait_ms: int = 25_000
    """How long the gateway holds one HTTP exchange open, from arrival."""

    lambda_timeout_ms: int = 28_000
    """Lambda's own limit; what is left after the wait writes the answer and the record."""

    api_gateway_timeout_ms: int = 29_000
    """API Gateway's limit, which AWS does not raise without a quota request."""

    parked_life_ms: int = 360_000
    """From arrival until which a parked command can be adopted: all retries and the pauses between them."""

    token_lifetime_ms: int = DEFAULT_LIFETIME_MS
    """How long a bearer token lives."""

    token_renewal_margin_ms: int = 360_000
    """How long before its end kubectl is told that a token expires: it must outlive a request's retries."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> DeadlineSettings:
        """Defaults, overridden by ``DAAS_<FIELD>`` (for example ``DAAS_GATEWAY_WAIT_MS``), validated."""
        values: dict[str, int] = {}
        for field in fields(cls):
            name = _variable(field.name)
            text = environment.get(name)
            if text is None:
                continue
            if not (text.isascii() and text.isdecimal()):
                raise ConfigurationError(f"{name} is {text!r}: give whole milliseconds")
            values[field.name] = int(text)
        settings = cls(**values)
        settings.validate()
        return settings

    @classmethod
    def variables(cls) -> tuple[str, ...]:
        """The names that ``from_environment`` reads."""
        return tuple(_variable(field.name) for field in fields(cls))

    def scaled(self, divisor: int) -> DeadlineSettings:
        """The same chain of times, each divided: for tests and demonstrations that wait for a timeout."""
        return DeadlineSettings(
            **{field.name: getattr(self, field.name) // divisor for field in fields(self)}
        )

    def wait_until_ms(self, arrival_ms: int) -> int:
        """Until when the gateway holds the exchange of a request open that arrived then."""
        return arrival_ms + self.gateway_wait_ms

    def validate(self) -> None:
        """``ConfigurationError`` naming the settings that contradict each other."""
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ConfigurationError(f"{_variable(field.name)} must be positive")
        self._require_order("start_within_ms", "gateway_wait_ms")
        self._require_order("gateway_wait_ms", "lambda_timeout_ms")
        self._require_order("lambda_timeout_ms", "api_gateway_timeout_ms")
        self._require_order("start_within_ms", "finish_within_ms")
        self._require_order("token_renewal_margin_ms", "token_lifetime_ms")
        # A token that is valid when a request arrives must still be so at the last moment it may start.
        self._require_order("start_within_ms", "token_renewal_margin_ms")
        exchanges_ms = (MOST_PARKINGS + 1) * self.api_gateway_timeout_ms
        if self.parked_life_ms < exchanges_ms:
            raise ConfigurationError(
                f"{_variable('parked_life_ms')} ({self.parked_life_ms}) must be at least "
                f"{MOST_PARKINGS + 1} times {_variable('api_gateway_timeout_ms')} ({exchanges_ms})"
            )
        if self.token_renewal_margin_ms < self.parked_life_ms:
            raise ConfigurationError(
                f"{_variable('token_renewal_margin_ms')} ({self.token_renewal_margin_ms}) must be at least "
                f"{_variable('parked_life_ms')} "
                f"({self.parked_life_ms}): a token must outlive the retries of its request"
            )

    def check_policy(
        self, *, max_start_ms: int, max_finish_ms: int, max_answer_ms: int, clock_margin_ms: int
    ) -> None:
        """``ConfigurationError`` if the cluster's policy on chain would refuse these times.

        They count from API Gateway's clock, the contract's limits from the chain's, which may be behind it by
        ``clock_margin_ms``: without that room in the policy, every command may be refused on chain.
        """
        answer_within_ms = self.finish_within_ms + self.answer_after_finish_ms
        for name, value, limit in (
            (_variable("start_within_ms"), self.start_within_ms, max_start_ms),
            (_variable("finish_within_ms"), self.finish_within_ms, max_finish_ms),
            ("DAAS_FINISH_WITHIN_MS + DAAS_ANSWER_AFTER_FINISH_MS", answer_within_ms, max_answer_ms),
        ):
            if value + clock_margin_ms > limit:
                raise ConfigurationError(
                    f"{name} is {value}, and the cluster's policy allows {limit}: it must allow "
                    f"{clock_margin_ms} ms more, by which clocks may differ"
                )

    def _require_order(self, shorter: str, longer: str) -> None:
        short, long = getattr(self, shorter), getattr(self, longer)
        if short >= long:
            raise ConfigurationError(
                f"{_variable(shorter)} ({short}) must be less than {_variable(longer)} ({long})"
            )


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The three times of one command, Unix ms."""

    start_by_ms: int
    finish_by_ms: int
    answer_by_ms: int

    @classmethod
    def at(cls, arrival_ms: int, settings: DeadlineSettings) -> Deadlines:
        """Those of a request that arrived at ``arrival_ms``."""
        finish_by_ms = arrival_ms + settings.finish_within_ms
        return cls(
            start_by_ms=arrival_ms + settings.start_within_ms,
            finish_by_ms=finish_by_ms,
            answer_by_ms=finish_by_ms + settings.answer_after_finish_ms,
        )


def _variable(name: str) -> str:
    """The environment variable of a setting: messages name what the operator can change."""
    return f"DAAS_{name.upper()}"
