"""The three times, and the order that all the timeouts must keep."""

from dataclasses import fields, replace

import pytest

from k3s_daas.deadlines import Deadlines, DeadlineSettings
from k3s_daas.errors import ConfigurationError


def test_the_defaults_are_in_order() -> None:
    DeadlineSettings().validate()
    assert Deadlines.at(1_000_000, DeadlineSettings()) == Deadlines(1_024_000, 1_240_000, 1_840_000)


@pytest.mark.parametrize("divisor", [8, 20, 100])
def test_the_chain_holds_when_all_waits_are_divided(divisor: int) -> None:
    scaled = DeadlineSettings().scaled(divisor)
    scaled.validate()
    assert scaled.gateway_wait_ms == 25_000 // divisor


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [
        ("start_within_ms", 25_000, "gateway_wait_ms"),
        ("gateway_wait_ms", 28_000, "lambda_timeout_ms"),
        ("lambda_timeout_ms", 29_000, "api_gateway_timeout_ms"),
        ("finish_within_ms", 24_000, "start_within_ms"),
        ("token_renewal_margin_ms", 600_000, "token_lifetime_ms"),
        ("token_renewal_margin_ms", 24_000, "start_within_ms"),
    ],
)
def test_settings_that_contradict_each_other_are_named(name: str, value: int, other: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        replace(DeadlineSettings(), **{name: value}).validate()
    assert f"DAAS_{name.upper()} " in str(caught.value)
    assert f"DAAS_{other.upper()} " in str(caught.value)


@pytest.mark.parametrize("name", [field.name for field in fields(DeadlineSettings)])
@pytest.mark.parametrize("value", [0, -1])
def test_every_duration_is_positive(name: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=f"DAAS_{name.upper()} must be positive"):
        replace(DeadlineSettings(), **{name: value}).validate()


def test_the_environment_overrides_single_settings() -> None:
    settings = DeadlineSettings.from_environment({"DAAS_GATEWAY_WAIT_MS": "24500", "HOME": "/"})
    assert settings == replace(DeadlineSettings(), gateway_wait_ms=24_500)


@pytest.mark.parametrize("text", ["", "25s", "-1", "2e4", "٢٥", " 25000"])
def test_a_setting_that_is_no_number_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"DAAS_GATEWAY_WAIT_MS.*milliseconds"):
        DeadlineSettings.from_environment({"DAAS_GATEWAY_WAIT_MS": text})


def test_contradictions_in_the_environment_stop_the_start() -> None:
    with pytest.raises(ConfigurationError, match="DAAS_START_WITHIN_MS"):
        DeadlineSettings.from_environment({"DAAS_START_WITHIN_MS": "26000"})


def test_the_cluster_policy_must_allow_the_times() -> None:
    settings = DeadlineSettings()
    settings.check_policy(
        max_start_ms=24_000, max_finish_ms=240_000, max_answer_ms=840_000, clock_margin_ms=0
    )
    with pytest.raises(ConfigurationError, match=r"ANSWER_AFTER_FINISH_MS is 840000.*839999"):
        settings.check_policy(
            max_start_ms=24_000, max_finish_ms=240_000, max_answer_ms=839_999, clock_margin_ms=0
        )


@pytest.mark.parametrize(
    ("short", "name"),
    [
        ("max_start_ms", "start_within_ms"),
        ("max_finish_ms", "finish_within_ms"),
        ("max_answer_ms", "answer_after_finish_ms"),
    ],
)
def test_the_policy_must_leave_room_for_clocks_that_differ(short: str, name: str) -> None:
    limits = {"max_start_ms": 29_000, "max_finish_ms": 245_000, "max_answer_ms": 845_000}
    DeadlineSettings().check_policy(**limits, clock_margin_ms=5_000)
    limits[short] -= 1
    with pytest.raises(ConfigurationError, match=rf"DAAS_{name.upper()} is .*5000 ms more"):
        DeadlineSettings().check_policy(**limits, clock_margin_ms=5_000)
