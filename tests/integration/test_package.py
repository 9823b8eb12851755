"""What `make package` makes: a zip that is enough for Lambda and no more, and a template that is valid."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.aws.package import package
from infra.local.aws import (
    REGION,
    client_environment,
    create_parking_key,
    create_request_table,
    create_signing_key,
    dynamodb_client,
    kms_client,
)
from k3s_daas.bearer import mint
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.signers import FileSigner

ROOT = Path(__file__).parents[2]
EVENT = ROOT / "tests/vectors/api_gateway_event.json"
MEGABYTE = 1024 * 1024
# What a developer has and Lambda must not: by import name.
DEVELOPMENT = (
    *("_pytest", "hypothesis", "importlinter", "kubernetes", "moto", "mypy", "pip", "pytest", "ruff"),
    *("starlette", "sui_sandbox", "uvicorn", "werkzeug", "cfnlint", "setuptools", "mypy_boto3_dynamodb"),
)
# Runs with nothing but the standard library and the unpacked zip; one JSON line per event.
LAMBDA = """
import json, sys, time
code, events = sys.argv[1], json.load(sys.stdin)
sys.path.insert(0, code)
import app
imported = time.process_time()
class Context:
    aws_request_id, function_name, memory_limit_in_mb = "0", "gateway", 512
    def get_remaining_time_in_millis(self):
        return 28_000
# EventBridge calls a function of its own.
handlers = {"aws.events": app.sweep}
replies = [handlers.get(event.get("source"), app.app)(event, Context()) for event in events]
places = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
json.dump({"cpu_s": imported, "replies": replies, "places": places}, sys.stdout)
"""

SCHEDULED = {
    **{"version": "0", "id": "0", "detail-type": "Scheduled Event", "source": "aws.events"},
    **{"account": "0", "time": "2026-11-22T00:00:00Z", "region": "us-east-1", "resources": [], "detail": {}},
}

# Packaging asks the package registry, once for all tests here.
pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True)
class Packaged:
    zip: Path
    code: Path
    template: Path


@dataclass(frozen=True)
class Run:
    cpu_s: float
    replies: list[Any]
    places: list[str]
    log: str


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    target = tmp_path_factory.mktemp("package")
    package(target / "out")
    code = target / "code"
    with zipfile.ZipFile(target / "out/deployment.zip") as archive:
        archive.extractall(code)
    return Packaged(target / "out/deployment.zip", code, target / "out/sam.json")


def invoke(packaged: Packaged, events: list[dict[str, Any]], environment: dict[str, str]) -> Run:
    """The handler in an interpreter that has the unpacked zip and nothing else."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", LAMBDA, str(packaged.code)],
        input=json.dumps(events),
        capture_output=True,
        text=True,
        env={"AWS_LAMBDA_FUNCTION_NAME": "gateway", **environment},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Run(**json.loads(done.stdout), log=done.stderr)


def event(token: str | None) -> dict[str, Any]:
    """A request of `kubectl get pods` as API Gateway hands it over, arriving now."""
    made: dict[str, Any] = json.loads(EVENT.read_text(encoding="utf-8"))
    made["requestContext"]["requestTimeEpoch"] = time.time_ns() // 1_000_000
    for headers in (made["headers"], made["multiValueHeaders"]):
        several = headers is made["multiValueHeaders"]
        if token is None:
            del headers["Authorization"]
        else:
            headers["Authorization"] = [f"Bearer {token}"] if several else f"Bearer {token}"
    return made


def status(reply: dict[str, Any]) -> dict[str, Any]:
    """The Status in a reply, which must be one of the reply's code."""
    body = base64.b64decode(reply["body"], validate=True) if reply["isBase64Encoded"] else reply["body"]
    parsed: dict[str, Any] = json.loads(body)
    assert (parsed["kind"], parsed["apiVersion"], parsed["code"]) == ("Status", "v1", reply["statusCode"])
    return parsed


def header(reply: dict[str, Any], name: str) -> str | None:
    single = {key.lower(): value for key, value in (reply.get("headers") or {}).items()}
    several = {key.lower(): values[0] for key, values in (reply.get("multiValueHeaders") or {}).items()}
    found: str | None = {**single, **several}.get(name.lower())
    return found


def test_the_zip_is_small_enough_for_lambda(packaged: Packaged) -> None:
    unpacked = sum(entry.file_size for entry in zipfile.ZipFile(packaged.zip).infolist())
    sys.stdout.write(
        f"zip {packaged.zip.stat().st_size / MEGABYTE:.1f} MB, {unpacked / MEGABYTE:.1f} MB open\n"
    )
    assert packaged.zip.stat().st_size <= 50 * MEGABYTE
    assert unpacked <= 250 * MEGABYTE


def test_the_zip_has_the_pinned_packages_and_no_other(packaged: Packaged) -> None:
    pinned = _pins(ROOT / "functions/requirements.txt")
    found = {}
    for metadata in packaged.code.glob("*.dist-info/METADATA"):
        text = metadata.read_text(encoding="utf-8")
        name, version = (re.search(rf"^{field}: (.+)$", text, re.M) for field in ("Name", "Version"))
        assert name is not None
        assert version is not None
        found[_normal(name[1])] = version[1]
    assert found == pinned
    assert not {name for name in DEVELOPMENT if (packaged.code / name).exists()}


def test_the_pins_are_those_of_the_lock_file() -> None:
    pinned, whole = _pins(ROOT / "functions/requirements.txt"), _pins(ROOT / "requirements.lock")
    assert len(pinned) > 10
    assert {name: whole.get(name) for name in pinned} == pinned


def test_our_own_code_is_all_there_and_nothing_of_this_machine(packaged: Packaged) -> None:
    gateway, shared = ROOT / "functions/chalicelib", ROOT / "k3s_daas"
    ours = {path.relative_to(gateway.parent) for path in gateway.rglob("*.py")}
    ours |= {path.relative_to(shared.parent) for path in shared.rglob("*.py")}
    needed = {path for path in ours if path.parts[:2] not in (("k3s_daas", "admin"), ("k3s_daas", "cli"))}
    packed = {
        path.relative_to(packaged.code)
        for directory in ("chalicelib", "k3s_daas")
        for path in (packaged.code / directory).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert packed == needed
    assert (packaged.code / "app.py").read_bytes() == (ROOT / "functions/app.py").read_bytes()


def test_no_module_is_compiled_at_a_cold_start(packaged: Packaged) -> None:
    """Each has byte code of exactly its source, which is taken as it is (PEP 552), wherever it was made."""
    sources = list(packaged.code.rglob("*.py"))
    assert len(sources) > 500
    for source in sources:
        code = Path(importlib.util.cache_from_source(str(source))).read_bytes()
        magic, flags, of_source = code[:4], code[4:8], code[8:16]
        assert magic == importlib.util.MAGIC_NUMBER
        assert flags == (0b01).to_bytes(4, "little")
        assert of_source == importlib.util.source_hash(source.read_bytes())
    ours = [packaged.code / name for name in ("app.py", "chalicelib/gateway.py", "k3s_daas/roots.py")]
    for source in ours:
        code = Path(importlib.util.cache_from_source(str(source))).read_bytes()
        assert f"/var/task/{source.relative_to(packaged.code)}".encode() in code
    assert len(list(packaged.code.rglob("*.pyc"))) == len(sources)


def test_without_configuration_the_handler_answers_and_says_so(packaged: Packaged) -> None:
    run = invoke(packaged, [event("not-a-token")], {})
    (reply,) = run.replies
    assert reply["statusCode"] == 503
    assert "not configured" in status(reply)["message"]
    assert header(reply, "Retry-After") is None
    assert "DAAS_SINGLE_ENDPOINT" in run.log
    sys.stdout.write(f"import: {run.cpu_s:.2f} s CPU (budget 1.0 s)\n")
    assert run.cpu_s <= 1.0
    library = str(Path(json.__file__).parents[1])
    elsewhere = {
        place
        for place in run.places
        if place and not place.startswith((str(packaged.code), library, "<", "built-in"))
    }
    assert elsewhere == set()


def test_configured_it_gets_as_far_as_the_chain(packaged: Packaged, local_aws: str) -> None:
    session, executor = Ed25519PrivateKey.generate(), FileSigner(Ed25519PrivateKey.generate())
    kms, cluster = kms_client(local_aws), b"\x02" * 32
    key_id = create_signing_key(kms)
    gateway = KmsSigner(kms, key_id)
    roots = packaged.code.parent / "roots.json"
    TrustRoots(
        chain_id="4btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S",
        package_original=b"\x01" * 32,
        package_latest=b"\x01" * 32,
        cluster=cluster,
        gateways={gateway.address: gateway.public_key},
        executors={executor.address: executor.public_key},
    ).dump(roots)
    _ssm(local_aws).put_parameter(Name="/daas/roots", Value=roots.read_text(encoding="utf-8"), Type="String")
    create_request_table(dynamodb_client(local_aws), "requests")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    named = {
        "SuiEndpoints": f"http://127.0.0.1:{nobody}",
        "Quorum": "",
        "SingleEndpoint": "development",
        "Executor": to_hex(executor.address),
        "TrustRootsParameter": "/daas/roots",
        "RequestTable": "requests",
        "SigningKey": key_id,
        "ParkingKey": create_parking_key(kms),
        "BodyBucket": "bodies",
        "GasBudget": "100000000",
    }
    # As CloudFormation would hand them over.
    variables = json.loads(packaged.template.read_text(encoding="utf-8"))["Globals"]["Function"][
        "Environment"
    ]
    environment = {
        **client_environment(local_aws),
        **{name: named[value["Ref"]] for name, value in variables["Variables"].items()},
    }
    token = mint(
        session,
        cluster=cluster,
        seal=b"\x03" * 32,
        gateway=gateway.address,
        now_ms=time.time_ns() // 1_000_000,
    ).encode()

    run = invoke(packaged, [event(None), event(token), SCHEDULED], environment)

    without_token, without_chain, swept = run.replies
    assert without_token["statusCode"] == 401
    assert status(without_token)["reason"] == "Unauthorized"
    assert without_chain["statusCode"] == 503
    assert status(without_chain)["reason"] == "ServiceUnavailable"
    assert header(without_chain, "Retry-After") is not None
    assert swept is None
    assert any('"SweepFailures": [0' in line for line in run.log.splitlines())
    assert token not in run.log


def test_the_template_is_valid(packaged: Packaged) -> None:
    linted = subprocess.run(
        [str(Path(sys.executable).with_name("cfn-lint")), "--regions", REGION, "--", str(packaged.template)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_template_holds_the_api_and_what_it_needs(packaged: Packaged) -> None:
    template = json.loads(packaged.template.read_text(encoding="utf-8"))
    resources = template["Resources"]
    functions = [item for item in resources.values() if item["Type"] == "AWS::Serverless::Function"]
    assert functions
    for function in functions:
        assert function["Properties"]["Runtime"] == f"python3.{sys.version_info.minor}"
        # API Gateway gives up after 29 s; the function must have answered by then.
        assert function["Properties"]["Timeout"] <= 28
        assert "Environment" not in function["Properties"]
    body = resources["RestAPI"]["Properties"]["DefinitionBody"]
    assert body["x-amazon-apigateway-binary-media-types"] == ["*/*"]
    assert "THROTTLED" in body["x-amazon-apigateway-gateway-responses"]
    events = {name: item["Properties"].get("Events", {}) for name, item in resources.items()}
    assert {
        name: event["Properties"]["Schedule"]
        for name, some in events.items()
        for event in some.values()
        if event["Type"] == "Schedule"
    } == {
        "Sweep": "rate(1 minute)",
        **dict.fromkeys(("APIHandler", "Reclaim", "WatchGas"), "rate(5 minutes)"),
    }
    # They may not make them.
    groups = [item["Properties"] for item in resources.values() if item["Type"] == "AWS::Logs::LogGroup"]
    assert len(groups) == len(functions)
    assert all(group["RetentionInDays"] for group in groups)
    assert len(body["paths"]) == 13
    policy = json.loads((ROOT / "infra/aws/policy.json").read_text(encoding="utf-8"))
    roles = [item["Properties"] for item in resources.values() if item["Type"] == "AWS::IAM::Role"]
    assert len(roles) == len(functions)
    for role in roles:
        assert [attached["PolicyDocument"] for attached in role["Policies"]] == [policy]
        assert "ManagedPolicyArns" not in role


@pytest.fixture
def local_aws() -> Iterator[str]:
    """The URL of a simulated AWS."""
    with subprocess.Popen(
        [sys.executable, "-m", "infra.local.aws", "--port", "0"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def _ssm(url: str) -> Any:
    return boto3.client(
        "ssm", endpoint_url=url, region_name=REGION, aws_access_key_id="local", aws_secret_access_key="local"
    )


def _pins(path: Path) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", path.read_text(encoding="utf-8"), re.M)
    return {_normal(name): version for name, version in found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
