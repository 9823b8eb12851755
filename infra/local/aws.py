"""A local AWS for the stack: moto's server with the DynamoDB table, the KMS keys and the bucket that
gateway and listener need.

What is real: the wire protocols (boto3 cannot tell the difference), conditional writes, the secp256k1
signatures. What is simulated by moto: everything behind them. State is in memory and ends with the process,
neither time-to-live nor a lifecycle rule removes anything, no credential or presigned URL is checked.

    python -m infra.local.aws --port 0

prints one JSON line ``{"ready": true, "port": …, "url": …}`` and serves until SIGTERM.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_s3 import S3Client

LOOPBACK = "127.0.0.1"
REGION = "us-east-1"

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def client_environment(url: str) -> dict[str, str]:
    """The ``AWS_*`` variables that send a process's boto3 to `url`, with credentials that open nothing."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        # Keeps boto3 from asking the instance metadata service when a variable is missing.
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def dynamodb_client(url: str) -> DynamoDBClient:
    """A DynamoDB client for the local server at `url`."""
    return _session().client("dynamodb", endpoint_url=url)


def kms_client(url: str) -> KMSClient:
    """A KMS client for the local server at `url`."""
    return _session().client("kms", endpoint_url=url)


def s3_client(url: str) -> S3Client:
    """An S3 client for the local server at `url`."""
    return _session().client("s3", endpoint_url=url)


def create_blob_bucket(client: S3Client, name: str) -> None:
    """Create the bucket for bodies larger than a transaction: whatever is in it goes after a day."""
    client.create_bucket(Bucket=name)
    client.put_bucket_lifecycle_configuration(
        Bucket=name,
        LifecycleConfiguration={
            "Rules": [
                {"ID": "one-day", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
            ]
        },
    )


def create_request_table(client: DynamoDBClient, name: str) -> None:
    """Create the request table: key ``bucket`` (string) and ``id`` (binary), time-to-live ``expires_at``."""
    client.create_table(
        TableName=name,
        AttributeDefinitions=[
            {"AttributeName": "bucket", "AttributeType": "S"},
            {"AttributeName": "id", "AttributeType": "B"},
        ],
        KeySchema=[
            {"AttributeName": "bucket", "KeyType": "HASH"},
            {"AttributeName": "id", "KeyType": "RANGE"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    client.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"}
    )


def create_signing_key(client: KMSClient) -> str:
    """Create a secp256k1 signing key, for a gateway or an executor; returns its key id."""
    answer = client.create_key(
        KeySpec="ECC_SECG_P256K1", KeyUsage="SIGN_VERIFY", Description="K3s-DaaS, Sui transactions"
    )
    return answer["KeyMetadata"]["KeyId"]


def create_parking_key(client: KMSClient) -> str:
    """Create the KMS key (HMAC_256) that the secrets for parked requests derive from; returns its key id."""
    answer = client.create_key(
        KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC", Description="K3s-DaaS gateway, parked requests"
    )
    return answer["KeyMetadata"]["KeyId"]


def create_wrapping_key(client: KMSClient) -> str:
    """Create the symmetric KMS key that wraps the listener's sealing keys; returns its key id."""
    answer = client.create_key(
        KeySpec="SYMMETRIC_DEFAULT",
        KeyUsage="ENCRYPT_DECRYPT",
        Description="K3s-DaaS listener, sealing keys",
    )
    return answer["KeyMetadata"]["KeyId"]


def serialised(app: WsgiApp) -> WsgiApp:
    """One request at a time: moto loses acknowledged writes when a transaction fails beside other writers."""
    lock = threading.Lock()

    def one_at_a_time(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with lock:
            # The body is drained inside the lock: a generator would otherwise run after it.
            return [b"".join(app(environ, start_response))]

    return one_at_a_time


class _KeepAlive:
    """Answers through a WSGI app and keeps the connection: werkzeug's own server closes it after each
    reply, and an AWS client that reconnects for each call takes twice as long.
    """

    protocol_version = "HTTP/1.1"
    # Nagle's algorithm would hold a reply back for 40 ms; buffered writes send head and body together.
    disable_nagle_algorithm = True
    wbufsize = -1

    def answer(self: Any, app: WsgiApp) -> None:
        """One request and its reply."""
        environ = self.make_environ()
        environ["wsgi.input"] = io.BytesIO(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> None:
            started.append((status, headers))

        body = b"".join(app(environ, start_response))
        status, headers = started[-1]
        code, _, reason = status.partition(" ")
        self.send_response_only(int(code), reason)
        for name, value in headers:
            if name.lower() not in ("content-length", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def handle_expect_100(self: Any) -> bool:
        """Let the client go on; without the flush it would wait for a second."""
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()
        return True

    def log(self, *_: object) -> None:
        """No access log: its lines would be the only thing this process ever says."""

    log_message = log


def serve(port: int) -> None:
    """Serve on the loopback interface until SIGTERM or SIGINT."""
    # Imported here: moto costs half a second and the helpers above are used without it.
    from moto.server import (  # noqa: PLC0415
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    app = serialised(DomainDispatcherApplication(create_backend_app))

    class Handler(_KeepAlive, MotoRequestHandler):  # type: ignore[misc] # moto carries no types
        """moto's reading of a request, our way of answering it."""

        def run_wsgi(self) -> None:
            self.answer(app)

    # Our own socket: werkzeug would end the process if the port is in use.
    with socket.create_server((LOOPBACK, port), backlog=1024) as listening:
        server = make_server(
            LOOPBACK, port, app, threaded=True, request_handler=Handler, fd=listening.fileno()
        )

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # shutdown() waits for the serving loop, which runs in this very thread.
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    url = f"http://{LOOPBACK}:{server.port}"
    print(json.dumps({"ready": True, "port": server.port, "url": url}), flush=True)
    server.serve_forever(poll_interval=0.1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.aws", description="A local AWS (moto).")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1; 0 picks a free one")
    options = parser.parse_args(arguments)
    try:
        serve(options.port)
    except OSError as error:
        print(f"cannot serve the local AWS on port {options.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _session() -> boto3.session.Session:
    # moto checks no signature; boto3 only insists on having something to sign with.
    return boto3.session.Session(
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - opens nothing
        region_name=REGION,
    )


if __name__ == "__main__":
    sys.exit(main())
