"""A cluster's policy as a file: any of its fields, over defaults that suit a cluster with a few dozen people.

::

    minWriteStake: 1 SUI       # least stake of a seal that writes; a role may ask for more
    unbonding: 7d              # from unstaking or revocation until the stake may be withdrawn
    maxSlash: 1000             # share of what was staked and not withdrawn, in hundredths of a percent
    maxSeal: 30d               # longest life of a seal
    maxStart: 60s              # how far ahead start_by, finish_by and answer_by may lie
    maxFinish: 10m
    maxAnswer: 30m
    readTtl: 1h                # how long an answered read or write is kept,
    writeTtl: 1d               # plus so much per step of the role's priority, and at most maxTtl
    ttlPerPriority: 1h
    maxTtl: 7d
    commandsPerMinute: 600     # of one seal
    depositPerDay: 20 SUI      # storage deposit that the payers advance for one seal
    maxInlineBytes: 98304      # largest ciphertext in a transaction, each way

The contract bounds the values; it refuses a policy outside its bounds as a whole (`EInvalidPolicy`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from k3s_daas.admin.amounts import (
    MAX_U64,
    MIST_PER_SUI,
    format_amount,
    format_duration,
    parse_amount,
    parse_duration,
)
from k3s_daas.admin.documents import Node, parse_yaml, read_yaml
from k3s_daas.contract.calls import Policy

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS

DEFAULT_POLICY = Policy(
    min_write_stake=MIST_PER_SUI,
    unbonding_ms=7 * _DAY_MS,
    max_slash_bps=1_000,
    max_seal_ms=30 * _DAY_MS,
    max_start_ms=60_000,
    max_finish_ms=600_000,
    max_answer_ms=1_800_000,
    read_ttl_ms=_HOUR_MS,
    write_ttl_ms=_DAY_MS,
    ttl_per_priority_ms=_HOUR_MS,
    max_ttl_ms=7 * _DAY_MS,
    commands_per_minute=600,
    deposit_per_day=20 * MIST_PER_SUI,
    max_inline_bytes=96 * 1024,
)


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the file: the contract's name of it, how it is read and how it is written."""

    name: str
    read: Callable[[Node], int]
    show: Callable[[int], str] = str


def _duration(name: str) -> _Field:
    return _Field(name, lambda node: node.parsed(parse_duration), format_duration)


def _amount(name: str) -> _Field:
    return _Field(name, lambda node: node.parsed(parse_amount), format_amount)


def _number(name: str) -> _Field:
    return _Field(name, lambda node: node.integer(0, MAX_U64))


_FIELDS: dict[str, _Field] = {
    "minWriteStake": _amount("min_write_stake"),
    "unbonding": _duration("unbonding_ms"),
    "maxSlash": _number("max_slash_bps"),
    "maxSeal": _duration("max_seal_ms"),
    "maxStart": _duration("max_start_ms"),
    "maxFinish": _duration("max_finish_ms"),
    "maxAnswer": _duration("max_answer_ms"),
    "readTtl": _duration("read_ttl_ms"),
    "writeTtl": _duration("write_ttl_ms"),
    "ttlPerPriority": _duration("ttl_per_priority_ms"),
    "maxTtl": _duration("max_ttl_ms"),
    "commandsPerMinute": _number("commands_per_minute"),
    "depositPerDay": _amount("deposit_per_day"),
    "maxInlineBytes": _number("max_inline_bytes"),
}


def load_policy(path: Path, base: Policy = DEFAULT_POLICY) -> Policy:
    """The policy in a file, `base` for what it leaves out. Raises `ConfigurationError` naming the place."""
    return _policy(read_yaml(path), base)


def parse_policy(text: str, name: str = "policy.yaml", base: Policy = DEFAULT_POLICY) -> Policy:
    """The same for text."""
    return _policy(parse_yaml(text, name), base)


def show_policy(policy: Policy) -> dict[str, str]:
    """Every field of the file with its value, as one may write it there."""
    values = asdict(policy)
    return {key: field.show(values[field.name]) for key, field in _FIELDS.items()}


def policy_differences(before: Policy, after: Policy) -> list[str]:
    """One line for each field that changes."""
    old, new = show_policy(before), show_policy(after)
    return [f"{key}: {old[key]} -> {new[key]}" for key in _FIELDS if old[key] != new[key]]


def _policy(document: Node, base: Policy) -> Policy:
    nodes = document.fields((), tuple(_FIELDS))
    return replace(base, **{_FIELDS[key].name: _FIELDS[key].read(node) for key, node in nodes.items()})
