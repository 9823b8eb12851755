"""`docs/contract.md` says what the sources say: objects, functions, events, aborts and Statuses, limits."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from k3s_daas.aborts import ABORTS
from k3s_daas.answers import ANSWERS
from tests.move.harness import ROOT, SOURCES, abort_names

TEXT = "\n" + (ROOT / "docs" / "contract.md").read_text()
NO_LIMITS = {"bond::MAX_U64"}
FORMER = {
    "K8sAPIRequest": [
        "request_id",
        "method",
        "path",
        "namespace",
        "resource_type",
        "payload",
        "sender",
        "seal_token_id",
        "timestamp",
        "nautilus_endpoint",
        "priority",
    ],
    "K8sRequestProcessed": ["status_code"],
}


def source(module: str) -> str:
    """Without comments and without what is for tests only."""
    text = re.sub(r"//[^\n]*", "", (SOURCES / f"{module}.move").read_text())
    return re.sub(r"#\[test_only\]\n.*?(?=\n\n|\Z)", "", text, flags=re.DOTALL)


MODULES = {path.stem: source(path.stem) for path in sorted(SOURCES.glob("*.move"))}


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables under a heading, without those under the next one of any level."""
    _, found, rest = TEXT.partition(f"\n{heading}\n")
    assert found, f"docs/contract.md has no {heading}"
    section = re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


def structs() -> Iterator[tuple[str, list[str]]]:
    """(module::Struct, its fields) of all that is stored or emitted."""
    for module, text in MODULES.items():
        for name, abilities, body in re.findall(r"struct (\w+) has ([\w, ]+) \{([^}]*)\}", text):
            if "store" in abilities or "key" in abilities or module == "events":
                yield f"{module}::{name}", re.findall(r"(\w+)\s*:", body)


def parameters() -> dict[str, list[str]]:
    """module::function -> names of its parameters, for every public function."""
    return {
        f"{module}::{name}": [
            parameter for parameter in re.findall(r"(\w+)\s*:", listed) if parameter not in ("clock", "ctx")
        ]
        for module, text in MODULES.items()
        for name, listed in re.findall(r"public fun (\w+)\(([^)]*)\)", text)
    }


def constants() -> dict[str, int]:
    """module::NAME -> value, for every number that is no abort."""
    found = {}
    for module, text in MODULES.items():
        local: dict[str, int] = {}
        for name, expression in re.findall(r"const ([A-Z_0-9]+): u\d+ = ([^;]+);", text):
            factors = [local[word] if word in local else int(word) for word in expression.split(" * ")]
            local[name] = 1
            for factor in factors:
                local[name] *= factor
        found.update({f"{module}::{name}": value for name, value in local.items()})
    return found


def test_every_module_has_a_job() -> None:
    named = [name for row in rows("# The contract") for name in quoted(row[0])]
    assert sorted(named) == sorted(MODULES)


def test_every_object_is_listed_with_its_fields_in_order() -> None:
    documented = {quoted(name)[0]: quoted(fields) for name, _, fields in rows("## Objects")}
    assert documented == {name: fields for name, fields in structs() if not name.startswith("events::")}


def test_every_public_function_is_listed_with_its_parameters() -> None:
    documented = {}
    for signature, who, _ in rows("## Functions"):
        name, _, listed = quoted(signature)[0].rstrip(")").partition("(")
        documented[name] = listed.split(", ")
        assert who
    assert documented == parameters()


def test_capabilities_are_those_that_the_functions_take() -> None:
    for signature, who, _ in rows("## Functions"):
        module, name = quoted(signature)[0].partition("(")[0].split("::")
        taken = re.search(rf"public fun {name}\([^)]*cap: &(\w+)", MODULES[module])
        assert re.findall(r"`(\w+Cap)`", who) == ([taken[1]] if taken else []), name


def test_every_event_is_listed_with_its_fields_in_order() -> None:
    documented = {quoted(name)[0]: quoted(fields) for name, fields in rows("## Events")}
    declared = {name.removeprefix("events::"): fields for name, fields in structs() if name[:6] == "events"}
    assert list(documented.items()) == list(declared.items())


def test_every_field_of_the_former_events_is_mapped_to_ours() -> None:
    ours = {name.removeprefix("events::"): fields for name, fields in structs() if name[:6] == "events"}
    mapped: dict[str, list[str]] = {name: [] for name in FORMER}
    for former, now, why in rows("### The former events, field by field"):
        event, field = quoted(former)[0].split(".")
        mapped[event].append(field)
        assert quoted(now)
        assert set(quoted(now)) <= set(ours[event])
        assert why or quoted(now) == [field]
    assert mapped == FORMER


def test_every_abort_is_listed_with_the_status_it_becomes() -> None:
    documented = {
        tuple(quoted(name)[0].split("::")): (int(code), status) for code, name, status in rows("## Aborts")
    }
    answers = {
        (module, name): (code, f"{ANSWERS[name].code} {ANSWERS[name].reason}")
        for module, names in ABORTS.items()
        for code, name in names.items()
    }
    assert documented == answers
    assert {(module, code): name for (module, name), (code, _) in documented.items()} == abort_names()


def test_every_limit_is_listed_with_its_value() -> None:
    known, documented = constants(), {}
    for what, limit, names in rows("## Limits"):
        assert what
        documented.update(dict.fromkeys(quoted(names), int(limit.replace(",", ""))))
    assert documented == {name: known[name] for name in documented if name in known}
    bounds = {name for name in known if re.match(r"(MAX|MIN)_", name.split("::")[1])}
    assert bounds - set(documented) == NO_LIMITS


@pytest.mark.parametrize("name", ["REQUEST_BYTES", "DEPOSIT_PER_BYTE"])
def test_the_estimate_of_the_deposit_is_stated(name: str) -> None:
    [formula] = re.findall(r"`deposit = ([^`]*)`", TEXT)
    assert f"{constants()[f'k8s_gateway::{name}']:,}" in formula
