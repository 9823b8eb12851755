"""The local gateway and the local AWS as processes: ready line, refusals, ports in use, and a quick end."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.local import aws
from infra.local.certificates import LocalAuthority
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.signers import SECP256K1_FLAG


@contextmanager
def started(*arguments: str) -> Generator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A process that has said that it is ready, without any DAAS or AWS setting; ended afterwards."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DAAS_", "AWS_"))}
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture
def tls(tmp_path: Path) -> tuple[LocalAuthority, list[str]]:
    authority = LocalAuthority(tmp_path)
    issued = authority.issue("gateway")
    return authority, ["--tls-cert", str(issued.certificate), "--tls-key", str(issued.key)]


def test_a_gateway_without_settings_serves_statuses_and_ends_at_once(
    tls: tuple[LocalAuthority, list[str]],
) -> None:
    authority, files = tls
    with started("infra.local.gateway", "--port", "0", *files) as (process, ready):
        context = ssl.create_default_context(cafile=str(authority.certificate_file))
        connection = http.client.HTTPSConnection("127.0.0.1", ready["port"], context=context, timeout=20)
        connection.request("GET", "/api/v1/pods", headers={"Authorization": "Bearer kdaas1.secret"})
        reply = connection.getresponse()
        parsed = json.loads(reply.read())
        assert (parsed["kind"], parsed["code"], reply.status) == ("Status", 503, 503)
        process.terminate()
        # The connection is still open: an idle client must not hold the end up.
        assert process.wait(5) == 0
        assert process.stderr is not None
        logged = process.stderr.read()
        assert "DAAS_" in logged
        assert "secret" not in logged
        connection.close()


def test_a_port_in_use_is_one_sentence_and_exit_code_1(tls: tuple[LocalAuthority, list[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for module, arguments in (("infra.local.gateway", tls[1]), ("infra.local.aws", [])):
            done = subprocess.run(
                [sys.executable, "-m", module, "--port", port, *arguments],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 1
            assert done.stderr.count("\n") == 1
            assert port in done.stderr


def test_the_local_aws_has_table_and_key_and_keeps_connections() -> None:
    with started("infra.local.aws", "--port", "0") as (process, ready):
        dynamodb, kms = aws.dynamodb_client(ready["url"]), aws.kms_client(ready["url"])
        aws.create_request_table(dynamodb, "requests")
        ttl = dynamodb.describe_time_to_live(TableName="requests")["TimeToLiveDescription"]
        assert ttl.get("AttributeName") == "expires_at"
        assert KmsSigner(kms, aws.create_signing_key(kms)).public_key[0] == SECP256K1_FLAG
        connection = http.client.HTTPConnection("127.0.0.1", ready["port"], timeout=20)
        for _ in range(2):
            connection.request("GET", "/moto-api/data.json")
            reply = connection.getresponse()
            reply.read()
            assert not reply.will_close
        connection.close()
        process.terminate()
        assert process.wait(5) == 0
