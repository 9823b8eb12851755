"""The Python side of the contract says the same as the Move sources."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from k3s_daas.aborts import ABORTS, abort_name
from k3s_daas.contract.attributes import ATTRIBUTE_NAMES, OnChainAttributes
from k3s_daas.contract.calls import (
    EXECUTE_FUNCTION,
    EXECUTE_PAYLOAD,
    EXECUTE_REQUEST_ID,
    EXECUTE_SEAL,
    STORE_FUNCTION,
    STORE_REQUEST_ID,
    STORE_RESPONSE,
    STORE_SEAL,
    STORE_STATUS,
    Policy,
)
from k3s_daas.contract.events import (
    ApiRequested,
    RequestProcessed,
    RequestsReclaimed,
    RequestTimedOut,
    ResponseIgnored,
)
from k3s_daas.contract.objects import (
    ClusterState,
    ExecutorState,
    GrantState,
    RequestState,
    ResponseState,
    SealState,
    SessionState,
    UsageState,
)
from k3s_daas.rbac import Role, Rule

SOURCES = Path(__file__).parents[2] / "move" / "sources"


def source(module: str) -> str:
    text = (SOURCES / f"{module}.move").read_text()
    return re.sub(r"//[^\n]*", "", text)


def move_fields(module: str, struct: str) -> list[str]:
    match = re.search(rf"struct {struct}\b[^{{]*\{{([^}}]*)\}}", source(module))
    assert match, f"{module}.move has no struct {struct}"
    return re.findall(r"(\w+)\s*:", match.group(1))


def seal_fields() -> list[str]:
    """The bond's fields stand in the seal's BCS as if they were its own."""
    names = move_fields("seal", "SealToken")
    at = names.index("bond")
    return [*names[:at], *move_fields("bond", "Bond"), *names[at + 1 :]]


def python_fields(value: type) -> list[str]:
    """Attributes are one field in Python and eight in Move."""
    names: list[str] = []
    for field in fields(value):
        names.extend(ATTRIBUTE_NAMES if field.name == "attributes" else [field.name])
    return names


def move_parameters(module: str, function: str) -> list[str]:
    match = re.search(rf"fun {function}\(([^)]*)\)", source(module))
    assert match, f"{module}.move has no function {function}"
    return re.findall(r"(\w+)\s*:", match.group(1))


def test_every_abort_constant_is_in_the_table_under_its_name() -> None:
    found: dict[str, dict[int, str]] = {}
    for path in SOURCES.glob("*.move"):
        for name, code in re.findall(r"const (E[A-Z]\w*)\s*:\s*u64\s*=\s*([\d_]+);", path.read_text()):
            found.setdefault(path.stem, {})[int(code.replace("_", ""))] = name
    assert found == ABORTS


def test_codes_are_unique_over_all_modules() -> None:
    codes = [code for table in ABORTS.values() for code in table]
    assert len(codes) == len(set(codes))


def test_an_abort_that_is_not_ours_has_no_name() -> None:
    assert abort_name("seal", 307) == "EStakeTooLow"
    assert abort_name("seal", 1) is None
    assert abort_name("balance", 307) is None


@pytest.mark.parametrize(
    ("value", "struct"),
    [
        (ApiRequested, "K8sAPIRequest"),
        (RequestProcessed, "K8sRequestProcessed"),
        (ResponseIgnored, "ResponseIgnored"),
        (RequestTimedOut, "RequestTimedOut"),
        (RequestsReclaimed, "RequestsReclaimed"),
    ],
)
def test_an_event_has_the_fields_of_its_struct_in_order(value: type, struct: str) -> None:
    assert python_fields(value) == move_fields("events", struct)


@pytest.mark.parametrize(
    ("value", "module", "struct", "ours"),
    [
        (ClusterState, "cluster", "Cluster", {"ref": "id"}),
        (SessionState, "session", "Session", {}),
        (UsageState, "usage", "Usage", {}),
        (ResponseState, "k8s_gateway", "Response", {}),
        (Policy, "policy", "Policy", {}),
        (OnChainAttributes, "attributes", "Attributes", {}),
        (Rule, "role", "Rule", {}),
    ],
)
def test_an_object_has_the_fields_of_its_struct_in_order(
    value: type, module: str, struct: str, ours: dict[str, str]
) -> None:
    assert [ours.get(field.name, field.name) for field in fields(value)] == move_fields(module, struct)


def test_a_seal_has_the_fields_of_its_structs_in_order() -> None:
    names = ["id" if field.name == "ref" else field.name for field in fields(SealState)]
    assert names == seal_fields()


def test_a_request_has_the_fields_of_its_struct_behind_key_and_transaction() -> None:
    names = [field.name for field in fields(RequestState)]
    assert names == ["request_id", "previous_transaction", *move_fields("k8s_gateway", "Request")]
    assert move_fields("k8s_gateway", "RequestKey") == ["id"]


def test_a_role_has_the_fields_of_its_struct_behind_its_name() -> None:
    assert [field.name for field in fields(Role)] == ["name", *move_fields("role", "Role")]


def test_an_executor_has_the_fields_of_its_struct_behind_its_address() -> None:
    assert [field.name for field in fields(ExecutorState)] == [
        "address",
        *move_fields("executor", "Executor"),
    ]


def test_a_grant_has_the_fields_of_key_and_value() -> None:
    names = [field.name for field in fields(GrantState)]
    assert names == move_fields("cluster", "GrantKey") + move_fields("cluster", "Grant")


def test_argument_positions_are_those_of_the_move_functions() -> None:
    execute = move_parameters("k8s_gateway", EXECUTE_FUNCTION)
    assert [execute[index] for index in (EXECUTE_SEAL, EXECUTE_REQUEST_ID, EXECUTE_PAYLOAD)] == [
        "seal",
        "request_id",
        "payload",
    ]
    store = move_parameters("k8s_gateway", STORE_FUNCTION)
    assert [store[index] for index in (STORE_SEAL, STORE_REQUEST_ID, STORE_STATUS, STORE_RESPONSE)] == [
        "seal",
        "request_id",
        "status_code",
        "response",
    ]
