"""What is deployed to AWS beside the code: rights, names, the table, and API Gateway's own refusals."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.loaders import Loader
from chalicelib.metrics import FUNCTION, MIST_PER_SUI, NAMESPACE, UNITS
from chalicelib.parking_keys import ParkingKeys
from chalicelib.settings import GatewaySettings, settings_from_environment
from chalicelib.trust_roots import RootsParameter
from moto import mock_aws

from infra.local.aws import create_request_table
from k3s_daas.sui.kms import KmsSigner

ROOT = Path(__file__).parents[2]
TEMPLATE: dict[str, Any] = json.loads((ROOT / "infra/aws/resources.json").read_text(encoding="utf-8"))
POLICY: dict[str, Any] = json.loads((ROOT / "infra/aws/policy.json").read_text(encoding="utf-8"))
RESOURCES = TEMPLATE["Resources"]
RESPONSES: dict[str, Any] = RESOURCES["RestAPI"]["Properties"]["DefinitionBody"][
    "x-amazon-apigateway-gateway-responses"
]
# What the operator or CloudFormation puts in place of a {"Ref": …}.
VALUES = {
    "SuiEndpoints": "https://fullnode.example:443,https://other.example,https://third.example",
    "Quorum": "2",
    "SingleEndpoint": "",
    "Executor": "0x" + "ab" * 32,
    "TrustRootsParameter": "/k3s-daas/trust-roots",
    "GasBudget": "50000000",
}
CODES_AND_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    429: "TooManyRequests",
    500: "InternalError",
    504: "Timeout",
}


def test_one_endpoint_of_ones_own_is_configured_with_an_empty_quorum() -> None:
    one = {**VALUES, "SuiEndpoints": "https://node.example", "Quorum": "", "SingleEndpoint": "own-node"}
    assert _settings(one).endpoints.urls == ("https://node.example",)


def test_the_functions_get_every_setting_that_the_gateway_asks_for() -> None:
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    assert all(set(value) == {"Ref"} for value in variables.values())
    referred = {value["Ref"] for value in variables.values()}
    assert referred <= set(TEMPLATE["Parameters"]) | set(RESOURCES)
    settings = _settings(VALUES)
    assert settings.request_table == "RequestTable"
    assert (len(settings.endpoints.urls), settings.endpoints.quorum) == (3, 2)
    assert settings.trust_roots == RootsParameter("/k3s-daas/trust-roots")


def test_the_parameters_accept_what_the_gateway_accepts() -> None:
    for name, value in VALUES.items():
        parameter = TEMPLATE["Parameters"][name]
        assert re.fullmatch(parameter.get("AllowedPattern", ".*"), value), name
        assert value in parameter.get("AllowedValues", [value]), name
    for refused in ("", "http://node", "https://node,http://other", "https://node, https://other"):
        assert not re.fullmatch(TEMPLATE["Parameters"]["SuiEndpoints"]["AllowedPattern"], refused)
    assert not re.fullmatch(TEMPLATE["Parameters"]["TrustRootsParameter"]["AllowedPattern"], "roots")


def test_the_table_is_the_one_that_the_local_stack_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    declared = RESOURCES["RequestTable"]["Properties"]
    with mock_aws():
        client = boto3.client("dynamodb")
        create_request_table(client, "local")
        local = client.describe_table(TableName="local")["Table"]
        time_to_live = client.describe_time_to_live(TableName="local")["TimeToLiveDescription"]
    assert declared["KeySchema"] == local["KeySchema"]
    assert declared["AttributeDefinitions"] == local["AttributeDefinitions"]
    assert declared["TimeToLiveSpecification"]["AttributeName"] == time_to_live["AttributeName"]
    # Keys for replies must not outlive their records in a backup.
    assert declared["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": False}


def test_the_rights_are_those_of_the_calls_in_the_code() -> None:
    granted = {action for statement in POLICY["Statement"] for action in _actions(statement)}
    assert granted - {"logs:CreateLogStream", "logs:PutLogEvents"} == set(_calls_in_the_code())


def test_no_right_is_wider_than_one_resource() -> None:
    assert len(POLICY["Statement"]) > 3
    for statement in POLICY["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in _actions(statement))
        (kind, target), *_ = statement["Resource"].items()
        assert kind in ("Fn::GetAtt", "Fn::Sub")
        assert target not in ("*", "")


def test_each_right_is_on_the_resource_that_the_settings_name() -> None:
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    named = {name: value["Ref"] for name, value in variables.items()}
    expected = {
        "dynamodb": {named["DAAS_REQUEST_TABLE"]},
        "kms:GetPublicKey": {named["DAAS_KMS_KEY_ID"]},
        "kms:Sign": {named["DAAS_KMS_KEY_ID"]},
        "kms:GenerateMac": {named["DAAS_PARKING_KEY_ID"]},
        "ssm": {named["DAAS_TRUST_ROOTS_PARAMETER"]},
        "s3": {named["DAAS_BLOB_BUCKET"]},
        "logs": set(),
    }
    granted: dict[str, set[str]] = {}
    for statement in POLICY["Statement"]:
        for action in _actions(statement):
            key = action if action in expected else action.partition(":")[0]
            granted.setdefault(key, set()).update(_resources(statement))
    assert granted == expected


def test_keys_are_used_only_as_the_code_uses_them() -> None:
    conditions = {
        action: statement.get("Condition")
        for statement in POLICY["Statement"]
        for action in _actions(statement)
    }
    kms = Recorder()
    with pytest.raises(NotImplementedError):
        ParkingKeys.from_kms(kms, "key")  # type: ignore[arg-type] # a test double
    with pytest.raises(NotImplementedError):
        KmsSigner._sign_digest(SimpleNamespace(_client=kms, _key_id="key"), bytes(32))  # type: ignore[arg-type] # likewise
    parameters = [call for _, call in kms.calls]
    assert conditions["kms:GenerateMac"] == {
        "StringEquals": {"kms:MacAlgorithm": parameters[0]["MacAlgorithm"]}
    }
    assert conditions["kms:Sign"] == {
        "StringEquals": {
            "kms:MessageType": parameters[1]["MessageType"],
            "kms:SigningAlgorithm": parameters[1]["SigningAlgorithm"],
        }
    }


def test_the_signing_key_signs_as_sui_wants_it_and_outlives_the_stack() -> None:
    key = RESOURCES["SigningKey"]
    assert (key["Properties"]["KeySpec"], key["Properties"]["KeyUsage"]) == ("ECC_SECG_P256K1", "SIGN_VERIFY")
    assert key["DeletionPolicy"] == key["UpdateReplacePolicy"] == "Retain"


def test_bodies_expire_and_nobody_reads_them_in_the_clear() -> None:
    bucket = RESOURCES["BodyBucket"]["Properties"]
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 1)
    assert all(bucket["PublicAccessBlockConfiguration"].values())
    (statement,) = RESOURCES["BodyBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


ALARMS = {
    name: item["Properties"] for name, item in RESOURCES.items() if "AlarmDescription" in item["Properties"]
}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_watches_a_metric_that_a_function_of_the_template_reports(name: str) -> None:
    alarm = ALARMS[name]
    [watched] = [
        item["MetricStat"]["Metric"] for item in alarm.get("Metrics", ()) if "MetricStat" in item
    ] or [alarm]
    assert (watched["Namespace"], watched["MetricName"] in UNITS) == (NAMESPACE, True)
    [dimension] = watched["Dimensions"]
    assert dimension["Name"] == FUNCTION
    assert dimension["Value"]["Ref"] in ("APIHandler", "Sweep", "Reclaim", "WatchGas")
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "Alarms"}]


def test_a_function_that_reports_nothing_is_an_alarm_where_it_runs_on_a_schedule() -> None:
    # A balance that nobody can read is no balance.
    silent = {name for name, alarm in ALARMS.items() if alarm["TreatMissingData"] == "breaching"}
    assert silent == {"GasAlarm", "SweepAlarm", "ReclaimAlarm"}


def test_the_gas_alarm_rises_below_twice_what_all_commands_at_once_reserve() -> None:
    alarm, parameters = ALARMS["GasAlarm"], TEMPLATE["Parameters"]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 0)
    [expression] = [item["Expression"]["Fn::Sub"] for item in alarm["Metrics"] if item["ReturnData"]]
    assert expression == f"balance - 2 * ${{Concurrency}} * ${{GasBudget}} / {MIST_PER_SUI}"
    # Both are what the function really has, not what somebody once wrote into the alarm.
    assert _settings(VALUES).gas_budget == int(VALUES["GasBudget"])
    assert parameters["GasBudget"]["Default"] == GatewaySettings.gas_budget
    reserved = RESOURCES["APIHandler"]["Properties"]["ReservedConcurrentExecutions"]["Fn::If"]
    assert reserved == ["ReservesConcurrency", {"Ref": "Concurrency"}, {"Ref": "AWS::NoValue"}]
    assert TEMPLATE["Conditions"]["ReservesConcurrency"] == {
        "Fn::Equals": [{"Ref": "ReserveConcurrency"}, "true"]
    }
    assert parameters["ReserveConcurrency"]["Default"] == "true"


def test_the_stage_is_throttled() -> None:
    [method] = RESOURCES["RestAPI"]["Properties"]["MethodSettings"]
    assert (method["HttpMethod"], method["ResourcePath"]) == ("*", "/*")
    for limit, parameter in (
        ("ThrottlingRateLimit", "RequestsPerSecond"),
        ("ThrottlingBurstLimit", "RequestBurst"),
    ):
        assert method[limit] == {"Ref": parameter}
        assert TEMPLATE["Parameters"][parameter]["Default"] > 0


@pytest.mark.parametrize("name", sorted(RESPONSES))
def test_a_refusal_of_api_gateway_is_a_status(name: str) -> None:
    response = RESPONSES[name]
    (template,) = response["responseTemplates"].values()
    status = json.loads(template)
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert str(status["code"]) == response["statusCode"]
    assert status["reason"] == CODES_AND_REASONS[status["code"]]
    assert status["message"]
    # API Gateway's own words may quote the request, and with it the token.
    assert re.findall(r"\$[A-Za-z.]+", template) == ["$context.requestId"]


def test_every_refusal_has_a_template_of_its_own_code() -> None:
    codes = {name: int(response["statusCode"]) for name, response in RESPONSES.items()}
    assert codes["REQUEST_TOO_LARGE"] == 413
    assert codes["INTEGRATION_TIMEOUT"] == codes["INTEGRATION_FAILURE"] == 504
    assert codes["THROTTLED"] == codes["QUOTA_EXCEEDED"] == 429
    # A path that no route has: API Gateway would answer 403, and ask for AWS credentials.
    assert codes["MISSING_AUTHENTICATION_TOKEN"] == codes["INVALID_SIGNATURE"] == 404
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} <= set(codes)


def test_kubectl_repeats_only_what_certainly_did_not_run() -> None:
    retried = {
        name
        for name, response in RESPONSES.items()
        if any(header.lower().endswith(".retry-after") for header in response["responseParameters"])
    }
    assert retried == {"THROTTLED"}


def _settings(values: dict[str, str]) -> GatewaySettings:
    """What the functions would read; what CloudFormation makes goes by the name of its resource."""
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    return settings_from_environment(
        {name: values.get(value["Ref"], value["Ref"]) for name, value in variables.items()}
    )


class Recorder:
    """A client that is told what to do, and does not."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(**parameters: Any) -> None:
            self.calls.append((name, parameters))
            raise NotImplementedError

        return call


def _resources(statement: dict[str, Any]) -> set[str]:
    """Resources and parameters of the template that a statement's resource is made of."""
    [(kind, target)] = statement["Resource"].items()
    if kind == "Fn::GetAtt":
        return {target[0]}
    return {name.partition(".")[0] for name in re.findall(r"\$\{([^}:]+)\}", target)}


def _actions(statement: dict[str, Any]) -> list[str]:
    action = statement["Action"]
    return [action] if isinstance(action, str) else list(action)


def _calls_in_the_code() -> Iterator[str]:
    """IAM's names of the AWS operations that the gateway's code calls on boto3 clients."""
    loader = Loader()
    operations: dict[str, str] = {}
    for service in ("dynamodb", "kms", "s3", "ssm"):
        model = loader.load_service_model(service, "service-2")
        for operation in model["operations"]:
            snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", operation).lower()
            operations.setdefault(snake, f"{service}:{operation}")
    shared = (ROOT / "k3s_daas/sui/kms.py", ROOT / "k3s_daas/blobs/s3.py")
    for path in (*(ROOT / "functions/chalicelib").glob("*.py"), *shared):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                receiver = ast.unparse(node.func.value)
                if not receiver.endswith("client"):
                    continue
                name = node.func.attr
                if name == "get_paginator":
                    name = ast.literal_eval(node.args[0])
                if name in operations:
                    yield operations[name]
