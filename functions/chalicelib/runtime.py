"""Putting the gateway together from its settings, once, at the first request."""

from __future__ import annotations

import gc
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from chalicelib.discovery_shelf import DynamoDbShelf
from chalicelib.dynamodb_store import DynamoDbRequestStore
from chalicelib.errors import NotConfiguredError, ParametersUnavailableError, SigningUnavailableError
from chalicelib.gateway import Gateway
from chalicelib.journey import Log, log_to_stderr
from chalicelib.leftovers import DynamoDbLeftovers
from chalicelib.loop import EventLoopThread
from chalicelib.parking_keys import ParkingKeys
from chalicelib.refusals import log_to_file
from chalicelib.settings import NAMES, GatewaySettings, settings_from_environment
from chalicelib.trust_roots import PARAMETER, load_roots
from chalicelib.windows import DynamoDbWindows
from k3s_daas.aws_region import NO_REGION, region_name
from k3s_daas.blobs.ipfs import IpfsBlobStore
from k3s_daas.blobs.s3 import S3BlobStore
from k3s_daas.blobs.store import BlobStore
from k3s_daas.errors import ConfigurationError, DaasError
from k3s_daas.ids import to_hex
from k3s_daas.sui.kms import KmsSigner
from k3s_daas.sui.kms_errors import refusal_of
from k3s_daas.sui.quorum_members import Dissent, ReportDissent
from k3s_daas.unknown_settings import unknown_settings

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

# Short, since a caller waits: one more attempt, then the caller is told.
CLIENT_CONFIG = Config(
    connect_timeout=1,
    read_timeout=3,
    retries={"mode": "standard", "total_max_attempts": 2},
    # In Lambda one is used at a time; the local stack runs many functions in one process.
    max_pool_connections=100,
    tcp_keepalive=True,
    # The parameters are ours, and DynamoDB and KMS check them again: a tenth of what a call costs.
    parameter_validation=False,
    disable_request_compression=True,
    # A fixed text: botocore builds its own anew for every call, for half a millisecond.
    user_agent="k3s-daas-gateway",
)

# What passes by itself; everything else is a wrong name or a missing right.
_PASSING_SSM_ERRORS = ("InternalServerError", "ServiceUnavailable", "ThrottlingException")
# Presigned URLs of version 4 say which headers count, and their host is the bucket's own in its region.
S3_CONFIG = Config(
    signature_version="s3v4",
    request_checksum_calculation="when_required",
    s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
)


class GatewayHolder:
    """Makes the gateway at the first request and keeps it; without one, every request is refused."""

    def __init__(self, environment: Mapping[str, str] = os.environ, log: Log = log_to_stderr) -> None:
        self._environment = environment
        self._log = log
        self._lock = threading.Lock()
        self._gateway: Gateway | None = None
        self._has_warned = False

    def gateway(self) -> Gateway:
        """The gateway. Raises NotConfiguredError; the sentence that names the setting is in the log."""
        with self._lock:
            if self._gateway is None:
                self._warn_once()
                try:
                    self._gateway = build_gateway(settings_from_environment(self._environment), self._log)
                except ConfigurationError as error:
                    self._log(json.dumps({"event": "not-configured", "reason": str(error)}))
                    raise NotConfiguredError(
                        "the gateway is not configured: its operator finds the reason in its log"
                    ) from None
                # What was imported and made so far stays: the garbage collector need not look at it again.
                gc.freeze()
            return self._gateway

    def _warn_once(self) -> None:
        unknown = unknown_settings(self._environment, NAMES)
        if unknown and not self._has_warned:
            self._log(json.dumps({"event": "unknown-settings", "did_you_mean": unknown}))
        self._has_warned = True


def build_gateway(settings: GatewaySettings, log: Log = log_to_stderr) -> Gateway:
    """The gateway with its real collaborators: boto3's clients and the gRPC endpoints.

    Raises ConfigurationError for anything that does not fit together, SigningUnavailableError if KMS is away,
    ParametersUnavailableError if the roots are in SSM and it is away.
    """
    roots = load_roots(settings.trust_roots, _read_parameter)
    if settings.executor not in roots.executors:
        raise ConfigurationError("DAAS_EXECUTOR is not among the executors of the trust roots.")
    try:
        session = boto3.session.Session(region_name=region_name())
        kms = session.client("kms", config=CLIENT_CONFIG)
        signer = KmsSigner(kms, settings.kms_key_id)
        parking_keys = _parking_keys(kms, settings.parking_key_id)
        blobs = _blob_store(session, settings)
        dynamodb = session.client("dynamodb", config=CLIENT_CONFIG)
    except NoRegionError:
        raise ConfigurationError(f"The AWS_* settings are incomplete: {NO_REGION}.") from None
    except NoCredentialsError as error:
        raise ConfigurationError(f"The AWS_* settings are incomplete: {error}") from None
    except ClientError as error:
        raise _said_by_kms(error, "DAAS_KMS_KEY_ID: KMS does not give out the key's public half") from None
    except BotoCoreError as error:
        raise SigningUnavailableError(
            f"the signing service does not answer ({type(error).__name__}): try again"
        ) from error
    if roots.gateways.get(signer.address) != signer.public_key:
        raise ConfigurationError(
            f"DAAS_KMS_KEY_ID names the key of {to_hex(signer.address)}, which is no pinned gateway."
        )
    return Gateway(
        settings=settings,
        roots=roots,
        ledger=settings.endpoints.open(_endpoint_log(log)),
        loop=EventLoopThread(),
        store=DynamoDbRequestStore(dynamodb, settings.request_table),
        signer=signer,
        parking_keys=parking_keys,
        windows=DynamoDbWindows(dynamodb, settings.request_table),
        leftovers=DynamoDbLeftovers(dynamodb, settings.request_table),
        shelf=DynamoDbShelf(dynamodb, settings.request_table, parking_keys),
        log=log,
        refusal_log=_refusal_log(settings, log),
        metric_log=log,
        function=os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "gateway"),
        blobs=blobs,
    )


def _refusal_log(settings: GatewaySettings, log: Log) -> Log:
    if settings.refusal_log_file is None:
        return log
    try:
        return log_to_file(settings.refusal_log_file)
    except OSError as error:
        raise ConfigurationError(
            f"DAAS_REFUSAL_LOG_FILE cannot be written ({error.strerror}): name a file in a directory that "
            "this process may write to."
        ) from None


def _parking_keys(client: KMSClient, key_id: str) -> ParkingKeys:
    try:
        return ParkingKeys.from_kms(client, key_id)
    except ClientError as error:
        raise _said_by_kms(
            error, "DAAS_PARKING_KEY_ID, which must be of type HMAC_256: KMS computes no MAC with this key"
        ) from None


def _said_by_kms(error: ClientError, sentence: str) -> DaasError:
    refusal = refusal_of(error.response)
    if refusal.passes:
        return SigningUnavailableError(
            f"the gateway's key service does not answer ({refusal.code}): try again"
        )
    return ConfigurationError(f"{sentence} ({refusal}).")


def _blob_store(session: boto3.session.Session, settings: GatewaySettings) -> BlobStore | None:
    if settings.blob_ipfs is not None:
        return IpfsBlobStore(*settings.blob_ipfs)
    if settings.blob_bucket is None:
        return None
    return S3BlobStore(session.client("s3", config=CLIENT_CONFIG.merge(S3_CONFIG)), settings.blob_bucket)


def _endpoint_log(log: Log) -> ReportDissent:
    """What a Sui endpoint says against the others, as a line of the gateway's log; lagging is ordinary."""

    def report(dissent: Dissent) -> None:
        if dissent.kind != "behind":
            log(json.dumps({"event": "endpoint-not-believed", **asdict(dissent)}))

    return report


def _read_parameter(name: str) -> str:
    """A parameter of SSM's Parameter Store, decrypted. Raises ConfigurationError if there is none for us.

    Raises ParametersUnavailableError if SSM does not answer: the next request asks again.
    """
    try:
        client = boto3.session.Session(region_name=region_name()).client("ssm", config=CLIENT_CONFIG)
        value: str = client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        return value
    except NoRegionError:
        raise ConfigurationError(f"The AWS_* settings are incomplete: {NO_REGION}.") from None
    except NoCredentialsError as error:
        raise ConfigurationError(f"The AWS_* settings are incomplete: {error}") from None
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code in _PASSING_SSM_ERRORS:
            raise ParametersUnavailableError(
                f"the parameter store does not answer ({code}): try again"
            ) from error
        raise ConfigurationError(f"{PARAMETER}: SSM does not give out the parameter ({code}).") from None
    except BotoCoreError as error:
        raise ParametersUnavailableError(
            f"the parameter store does not answer ({type(error).__name__}): try again"
        ) from error
