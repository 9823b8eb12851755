"""The files of an operator: roles, policy, deployment; each complaint names file and place."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k3s_daas.admin import amounts, roles_file
from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.documents import parse_yaml
from k3s_daas.admin.files import write_new_secret, write_whole
from k3s_daas.admin.policy_file import (
    DEFAULT_POLICY,
    load_policy,
    parse_policy,
    policy_differences,
    show_policy,
)
from k3s_daas.admin.roles_file import load_roles, parse_roles
from k3s_daas.errors import ConfigurationError
from k3s_daas.rbac import Rule
from k3s_daas.sui.digests import to_base58

MOVE = Path(__file__).parents[2] / "move" / "sources"
ROLES = """
roles:
  - name: developer
    priority: 5
    stake: 1.5 SUI
    open: false
    clusterRole: edit
    rules:
      - verbs: [get, list]
        apiGroups: ["", apps]
        resources: [pods, pods/log, "*/scale"]
        namespaces: [shop, shop-2]
        resourceNames: [web, "system:x"]
      - {verbs: ["*"], nonResourceURLs: [/api, /api/*, "*"]}
"""
U64 = st.integers(0, 2**64 - 1)
DEPLOYMENT = Deployment(
    to_base58(bytes(range(32))),
    b"\x01" * 32,
    b"\x02" * 32,
    b"\x03" * 32,
    b"\x04" * 32,
    {"pause": b"\x05" * 32},
)


# === Amounts and times ===


@pytest.mark.parametrize(
    ("text", "mist"),
    [("0", 0), ("1 SUI", 10**9), ("1.5SUI", 1_500_000_000), ("0.000000001 SUI", 1), ("7 MIST", 7)],
)
def test_amounts_are_exact(text: str, mist: int) -> None:
    assert amounts.parse_amount(text) == mist


@pytest.mark.parametrize(
    "text",
    ["", "1", "-1 SUI", "1.5 MIST", "0.0000000001 SUI", "1e3 SUI", "1 sui", "٣ SUI", "99999999999 SUI"],
)
def test_an_amount_without_its_unit_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount|MIST|64 bits"):
        amounts.parse_amount(text)


@given(U64)
def test_what_is_shown_can_be_written(number: int) -> None:
    assert amounts.parse_amount(amounts.format_amount(number)) == number
    assert amounts.parse_duration(amounts.format_duration(number)) == number


@pytest.mark.parametrize("text", ["", "5", "1.5h", "-1d", "1 w", "999999999999999999d"])
def test_a_duration_without_its_unit_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|64 bits"):
        amounts.parse_duration(text)


def test_a_moment_needs_its_offset() -> None:
    assert amounts.parse_moment("1970-01-02T00:00:00+01:00") == 23 * 3_600_000
    assert amounts.format_moment(amounts.parse_moment("2031-01-31T12:30:00Z")) == "2031-01-31T12:30:00Z"
    assert "18446744073709551615" in amounts.format_moment(2**64 - 1)
    for text in ("2031-01-31T00:00:00", "tomorrow", "1960-01-01T00:00:00Z"):
        with pytest.raises(ValueError, match=r"moment|64 bits"):
            amounts.parse_moment(text)


# === Roles ===


def test_a_role_file_becomes_the_roles_that_it_says() -> None:
    [spec] = parse_roles(ROLES)
    assert (spec.role.name, spec.role.priority, spec.role.stake, spec.role.open) == (
        "developer",
        5,
        1_500_000_000,
        False,
    )
    assert spec.cluster_role == "edit"
    assert spec.role.rules == (
        Rule(
            ("get", "list"),
            ("", "apps"),
            ("pods", "pods/log", "*/scale"),
            ("shop", "shop-2"),
            ("web", "system:x"),
        ),
        Rule(("*",), non_resource_urls=("/api", "/api/*", "*")),
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: developer", "name: Developer", r"roles\.yaml: roles\[0\]\.name .*a-z"),
        ("priority: 5", "priority: 10", r"roles\[0\]\.priority must lie between 0 and 9"),
        ("priority: 5", "priority: true", r"roles\[0\]\.priority must be a whole number"),
        ("stake: 1.5 SUI", "stake: 2", r"roles\[0\]\.stake '2' is no amount"),
        ("stake: 1.5 SUI", "stake: yes", r"roles\[0\]\.stake"),
        ("open: false", "open: 0", r"roles\[0\]\.open must be true or false"),
        ("    open: false\n", "", r"roles\[0\] has no field 'open'"),
        ("clusterRole", "clusterrole", r"roles\[0\] has the unknown field 'clusterrole'"),
        ("verbs: [get, list]", "verbs: []", r"roles\[0\]\.rules\[0\]\.verbs holds 0 entries"),
        ("verbs: [get, list]", "verbs: get", r"roles\[0\]\.rules\[0\]\.verbs must be a list"),
        ("verbs: [get, list]", "verbs: [get, 1]", r"verbs\[1\] must be text"),
        ("verbs: [get, list]", 'verbs: [get, "a b"]', r"verbs\[1\] is 'a b', which is not a verb"),
        ("verbs: [get, list]", f"verbs: [{'v' * 33}]", r"which is not a verb"),
        ('apiGroups: ["", apps]', "apiGroups: []", r"apiGroups holds 0"),
        ("pods/log", "pods/*", r"resources\[1\] is 'pods/\*'"),
        ("pods/log", "a/b/c", r"resources\[1\] is 'a/b/c'"),
        ("namespaces: [shop, shop-2]", "namespaces: [Shop]", r"namespaces\[0\]"),
        ('"system:x"', "a/b", r"resourceNames\[1\]"),
        ("/api/*", "/a*b", r"rules\[1\]\.nonResourceURLs\[1\]"),
        ("/api/*", "api", r"nonResourceURLs\[1\]"),
        (
            "nonResourceURLs:",
            "namespaces: [a], nonResourceURLs:",
            r"rules\[1\] has the unknown field 'namesp",
        ),
        ("roles:", "rules: []\nroles:", r"unknown field 'rules'"),
        ("priority: 5", "priority: 5\n    priority: 6", r"line \d+: the field priority comes twice"),
        ("  - name", "   name", r"roles\.yaml line \d+: "),
    ],
)
def test_what_the_contract_would_refuse_is_refused_with_its_place(old: str, new: str, said: str) -> None:
    assert old in ROLES
    with pytest.raises(ConfigurationError, match=said):
        parse_roles(ROLES.replace(old, new, 1))


def test_a_role_that_comes_twice_and_too_many_are_refused() -> None:
    one = ROLES.split("roles:\n", 1)[1]
    with pytest.raises(ConfigurationError, match=r"roles\[1\] is a second role of the name developer"):
        parse_roles(f"roles:\n{one}{one}")
    many = "".join(one.replace("developer", f"d{number}") for number in range(33))
    with pytest.raises(ConfigurationError, match=r"33 roles: a cluster has at most 32"):
        parse_roles(f"roles:\n{many}")
    rule = '      - {verbs: ["*"], nonResourceURLs: [/a]}\n'
    with pytest.raises(ConfigurationError, match=r"rules holds 33 rules"):
        parse_roles(ROLES.rstrip() + "\n" + rule * 31)


def test_no_yaml_tag_makes_an_object_and_no_file_is_skipped(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="line 1"):
        parse_yaml("!!python/object/apply:os.getcwd []", "roles.yaml")
    with pytest.raises(ConfigurationError, match=r"absent\.yaml"):
        load_roles(tmp_path / "absent.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load_roles(tmp_path / "binary")


def test_the_bounds_of_the_file_are_the_contracts() -> None:
    """What the Move sources call the same, they also set the same."""
    source = (MOVE / "role.move").read_text() + (MOVE / "cluster.move").read_text()
    for name in ("MAX_ROLES", "MAX_RULES", "MAX_ENTRIES", "MAX_PRIORITY", "MAX_OBJECT_NAME"):
        found = re.search(rf"const {name}: u\d+ = ([0-9_]+);", source)
        assert found is not None, name
        assert int(found[1]) == getattr(roles_file, name), name
    for name, longest in (
        ("MAX_VERB", 32),
        ("MAX_GROUP", 253),
        ("MAX_RESOURCE", 63),
        ("MAX_URL_PATTERN", 253),
    ):
        assert f"const {name}: u64 = {longest};" in source


# === Policy ===


def test_a_policy_file_changes_only_what_it_names() -> None:
    policy = parse_policy("minWriteStake: 2 SUI\nmaxFinish: 5m\ncommandsPerMinute: 30\n")
    assert policy == replace(
        DEFAULT_POLICY, min_write_stake=2 * 10**9, max_finish_ms=300_000, commands_per_minute=30
    )
    assert policy_differences(DEFAULT_POLICY, policy) == [
        "minWriteStake: 1 SUI -> 2 SUI",
        "maxFinish: 10m -> 5m",
        "commandsPerMinute: 600 -> 30",
    ]
    assert policy_differences(policy, policy) == []


def test_a_shown_policy_is_a_policy_file(tmp_path: Path) -> None:
    written = tmp_path / "policy.yaml"
    written.write_text("".join(f"{name}: {value}\n" for name, value in show_policy(DEFAULT_POLICY).items()))
    zero = replace(DEFAULT_POLICY, **dict.fromkeys(DEFAULT_POLICY.__dataclass_fields__, 0))
    assert load_policy(written, zero) == DEFAULT_POLICY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("maxFinish: 10", r"policy\.yaml: maxFinish '10' is no duration"),
        ("maxfinish: 10m", "unknown field 'maxfinish'"),
        ("commandsPerMinute: 1.5", "must be a whole number"),
        ("commandsPerMinute: -1", "must lie between"),
        ("[]", "must be a mapping"),
    ],
)
def test_a_policy_file_that_is_wrong_names_the_place(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        parse_policy(text)


# === The deployment file ===


def test_a_deployment_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "daas.json"
    for deployment in (DEPLOYMENT, replace(DEPLOYMENT, cluster=None, capabilities={})):
        deployment.save(path)
        assert Deployment.load(path) == deployment
    assert [entry.name for entry in tmp_path.iterdir()] == ["daas.json"]
    with pytest.raises(ConfigurationError, match="daas cluster create"):
        _ = Deployment.load(path).cluster_id


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"chain_id": "x"}, "chain_id"),
        ({"package_latest": "0x2"}, "package_latest must be"),
        ({"cluster": 7}, "cluster must be"),
        ({"capabilities": []}, "capabilities must map"),
        ({"capabilities": {"pause": "0x"}}, "pause must be"),
        ({"owner": "me"}, "exactly the fields"),
    ],
)
def test_a_deployment_file_that_is_wrong_names_the_field(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = tmp_path / "daas.json"
    DEPLOYMENT.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigurationError, match=rf"daas\.json.*{said}"):
        Deployment.load(path)


def test_a_deployment_file_that_is_missing_or_no_json_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="daas publish"):
        Deployment.load(tmp_path / "absent.json")
    (tmp_path / "daas.json").write_text("{")
    with pytest.raises(ConfigurationError, match="not JSON"):
        Deployment.load(tmp_path / "daas.json")


# === Writing ===


def test_a_secret_is_never_overwritten_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_new_secret(path, "first")
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigurationError, match="not overwritten"):
        write_new_secret(path, "second")
    assert path.read_text() == "first"


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "directory"
    target.mkdir()
    with pytest.raises(ConfigurationError, match="cannot write"):
        write_whole(target, "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["directory"]
