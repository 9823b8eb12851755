"""The local stack as a whole: what is started in which order, and what each part is told."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.local import aws
from infra.local.certificates import LocalAuthority, ServerCertificate
from infra.local.stack.chain import LISTENER_NAMESPACE, Bootstrap, Chain, Services
from infra.local.stack.cluster import check_cluster, prepare_cluster
from infra.local.stack.executor_key import executor_key
from infra.local.stack.holders import demo_holders
from infra.local.stack.kubeconfigs import holders_kubeconfig, token_kubeconfig
from infra.local.stack.options import StackOptions
from infra.local.stack.processes import Part, StackError, Supervisor
from infra.local.sui.compiler import CompiledPackage, CompileError, compile_package
from k3s_daas.ids import to_hex
from k3s_daas.sui.grpc import GrpcLedger
from k3s_daas.sui.kms import KmsSigner

REPOSITORY = Path(__file__).resolve().parents[3]
REQUEST_TABLE = "daas-requests"
BLOB_BUCKET = "daas-blobs"
START_TIMEOUT_S = 60.0
MINIMUM_NODE = 18


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the parts of a running stack are; ``control`` belongs to the local ledger only."""

    gateway: str
    sui: str
    aws: str
    kms_key_id: str
    control: str | None
    listener: str
    """/livez, /readyz and /metrics."""


@dataclass(frozen=True, slots=True)
class SuiPorts:
    """Where the chain is; ``faucet`` and ``control`` where there are any."""

    grpc: str
    websocket: str | None
    faucet: str | None
    control: str | None


@dataclass(frozen=True, slots=True)
class Wiring:
    """What gateway and listener are both told, and the keys that each of them signs with."""

    sui_url: str
    roots: Path
    services: Services

    def environment(self) -> dict[str, str]:
        """The settings that both halves share; one endpoint is enough because this is development."""
        return {
            "DAAS_TRUST_ROOTS_FILE": str(self.roots),
            "DAAS_SUI_ENDPOINT": self.sui_url,
            "DAAS_SINGLE_ENDPOINT": "development",
        }


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A stack that is ready: its files and what the demo needs to look behind the curtain."""

    kubeconfig: Path
    roots: Path
    endpoints: Endpoints
    chain: Chain
    pids: Mapping[str, int]


class Stack:
    """Starts and ends everything; to be used from the main thread."""

    def __init__(self, options: StackOptions, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._state = options.state.absolute()
        self._supervisor = Supervisor(self._state / "logs")
        self._environment = _clean_environment()
        self._claimed = False

    def start(self) -> RunningStack:
        """Start all parts, publish the contract and set up the demo cluster.

        Raises:
            StackError: one sentence about what is missing.
        """
        port = self._claim()
        package = compiled_contract()
        authority = LocalAuthority(self._state / "tls")
        self._say("starting AWS (moto), Sui and Kubernetes")
        aws_part = self._start("aws", "infra.local.aws", "--port", "0")
        ledger_part = self._start_ledger()
        admin_kubeconfig = self._start_kubernetes(authority)
        aws_url = str(aws_part.wait_ready(START_TIMEOUT_S)["url"])
        kms = aws.kms_client(aws_url)
        key_id, parking_key_id = _prepare_aws(aws_url)
        sui = self._sui_ports(ledger_part)
        signing = executor_key(self._options.executor_key, kms, self._keys)
        services = Services(gateway=KmsSigner(kms, key_id), executor=signing.signer)
        self._say("publishing the contract, creating the cluster, staking, opening sessions")
        chain = asyncio.run(self._set_up_chain(sui.grpc, services, sui.faucet, package))
        roots = self._state / "roots.json"
        chain.roots.dump(roots)
        chain.deployment.save(self._state / "daas.json")
        self._say("starting the listener and the gateway")
        listener_kubeconfig = prepare_cluster(
            admin_kubeconfig,
            LISTENER_NAMESPACE,
            [f"sui:{to_hex(address)}" for address in chain.addresses.values()],
            self._state / "listener.kubeconfig",
        )
        wiring = Wiring(sui.grpc, roots, services)
        listener = self._start_listener(
            wiring,
            sui.websocket,
            listener_kubeconfig,
            aws_url,
            {**signing.settings, "DAAS_WRAPPING_KMS_KEY_ID": aws.create_wrapping_key(kms)},
        )
        gateway = self._start_gateway(
            port, wiring, authority.issue("gateway"), aws_url, (key_id, parking_key_id)
        )
        health_port = listener.wait_ready(START_TIMEOUT_S)["health_port"]
        gateway_url = str(gateway.wait_ready(START_TIMEOUT_S)["url"])
        endpoints = Endpoints(
            gateway_url, sui.grpc, aws_url, key_id, sui.control, f"http://127.0.0.1:{health_port}"
        )
        (self._state / "endpoints.json").write_text(json.dumps(asdict(endpoints), indent=2) + "\n")
        kubeconfig = self._state / "kubeconfig"
        kubeconfig.write_text(
            holders_kubeconfig(gateway_url, authority.pem, chain.holders, credential_plugin())
        )
        (self._state / "pids.json").write_text(json.dumps(self._supervisor.pids, indent=2) + "\n")
        return RunningStack(kubeconfig, roots, endpoints, chain, self._supervisor.pids)

    def ended(self) -> list[Part]:
        """Parts that ended although nobody told them to."""
        return self._supervisor.ended()

    def stop(self) -> None:
        """End all parts; safe to call at any time."""
        self._supervisor.stop()
        if self._claimed:
            (self._state / "pids.json").unlink(missing_ok=True)

    @property
    def _keys(self) -> Path:
        return self._state / "keys"

    def _claim(self) -> int:
        """Make the state directory ours; returns the gateway's port."""
        try:
            refuse_if_running(self._state / "pids.json")
            self._claimed = True
            self._keys.mkdir(parents=True, exist_ok=True)
            self._keys.chmod(0o700)
        except OSError as error:
            raise StackError(
                f"the state directory {self._state} cannot be used ({error.strerror}): say --state"
            ) from None
        if shutil.which("node") is None and shutil.which("sui") is None:
            raise StackError(
                f"Node {MINIMUM_NODE} or newer is needed to compile Move: install it, then again"
            )
        options = self._options
        if options.event_source == "websocket" and options.sui_url and not options.sui_websocket_url:
            raise StackError("--event-source websocket with --sui-url needs --sui-websocket-url as well")
        port = free_port(self._options.port)
        if self._options.kubeconfig is not None:
            check_cluster(self._options.kubeconfig)
        return port

    def _start(self, name: str, module: str, *arguments: str, **environment: str) -> Part:
        command = [sys.executable, "-m", module, *arguments]
        return self._supervisor.start(name, command, {**self._environment, **environment})

    def _start_ledger(self) -> Part | None:
        if self._options.sui_url is not None:
            return None
        return self._start(
            "sui",
            "infra.local.sui",
            *("--grpc-port", "0", "--jsonrpc-port", "0", "--faucet-port", "0", "--control-port", "0"),
            *("--finality-ms", str(self._options.finality_ms)),
            *("--checkpoint-ms", str(self._options.checkpoint_ms)),
        )

    def _sui_ports(self, ledger: Part | None) -> SuiPorts:
        options = self._options
        over_websocket = options.event_source == "websocket"
        if ledger is None:
            assert options.sui_url is not None
            websocket = options.sui_websocket_url if over_websocket else None
            return SuiPorts(options.sui_url, websocket, options.faucet_url, None)
        ready = ledger.wait_ready(START_TIMEOUT_S)
        return SuiPorts(
            grpc=f"http://127.0.0.1:{ready['grpc_ports'][0]}",
            websocket=f"ws://127.0.0.1:{ready['jsonrpc_ports'][0]}" if over_websocket else None,
            faucet=f"http://127.0.0.1:{ready['faucet_port']}",
            control=f"http://127.0.0.1:{ready['control_port']}",
        )

    def _start_kubernetes(self, authority: LocalAuthority) -> Path:
        """The kubeconfig of an administrator: the one that was given, or the in-memory API's."""
        if self._options.kubeconfig is not None:
            return self._options.kubeconfig
        files = authority.issue("kubernetes")
        token = os.urandom(24).hex()
        tokens = self._keys / "kubernetes-tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f"{token},admin,system:masters\n")
        part = self._start(
            "kubernetes",
            "infra.local.kube",
            *("--port", "0", "--token-file", str(tokens)),
            *("--tls-cert", str(files.certificate), "--tls-key", str(files.key)),
        )
        server = f"https://127.0.0.1:{part.wait_ready(START_TIMEOUT_S)['port']}"
        path = self._keys / "kubernetes-admin.kubeconfig"
        path.touch(mode=0o600)
        cluster = {"server": server, "certificate-authority": str(authority.certificate_file)}
        path.write_text(token_kubeconfig(cluster, "admin", token))
        return path

    async def _set_up_chain(
        self, sui_url: str, services: Services, faucet_url: str | None, package: CompiledPackage
    ) -> Chain:
        ledger = GrpcLedger(sui_url)
        people = demo_holders(self._options.crowd)
        bootstrap = Bootstrap(ledger, self._keys, services, faucet_url, people)
        try:
            return await bootstrap.run(package, _now_ms)
        finally:
            await ledger.close()

    def _start_listener(
        self,
        wiring: Wiring,
        websocket: str | None,
        kubeconfig: Path,
        aws_url: str,
        keys: Mapping[str, str],
    ) -> Part:
        return self._start(
            "listener",
            "listener_service",
            **wiring.environment(),
            **aws.client_environment(aws_url),
            **keys,
            DAAS_EVENT_SOURCE=self._options.event_source,
            DAAS_SUI_WEBSOCKET_URL=websocket or "",
            DAAS_LISTENER_NAMESPACE=LISTENER_NAMESPACE,
            DAAS_HEALTH_ADDRESS="127.0.0.1:0",
            DAAS_BLOB_HOSTS=aws_url.removeprefix("http://"),
            DAAS_BLOB_PLAIN_HTTP="loopback",
            KUBECONFIG=str(kubeconfig),
        )

    def _start_gateway(
        self, port: int, wiring: Wiring, files: ServerCertificate, aws_url: str, key_ids: tuple[str, str]
    ) -> Part:
        key_id, parking_key_id = key_ids
        return self._start(
            "gateway",
            "infra.local.gateway",
            *("--port", str(port), "--tls-cert", str(files.certificate), "--tls-key", str(files.key)),
            *("--conversion", self._options.conversion),
            **wiring.environment(),
            **aws.client_environment(aws_url),
            DAAS_REQUEST_TABLE=REQUEST_TABLE,
            DAAS_BLOB_BUCKET=BLOB_BUCKET,
            DAAS_KMS_KEY_ID=key_id,
            DAAS_PARKING_KEY_ID=parking_key_id,
            DAAS_REFUSAL_LOG_FILE=str(self._state / "logs" / "refusals.log"),
            DAAS_EXECUTOR=to_hex(wiring.services.executor.address),
            # As Lambda's runtime says it: the function imports less there than a tool does.
            AWS_LAMBDA_FUNCTION_NAME="gateway",
        )


def compiled_contract() -> CompiledPackage:
    """The contract's bytecode: what ``make move`` wrote, or compiled now if a source is newer.

    Raises:
        StackError: it does not compile, or there is no compiler.
    """
    built, package = REPOSITORY / "build" / "move" / "bytecode.json", REPOSITORY / "move"
    sources = (package / "Move.toml", *(package / "sources").glob("*.move"))
    try:
        if built.exists() and all(built.stat().st_mtime >= path.stat().st_mtime for path in sources):
            return CompiledPackage.from_json(built.read_text())
        return compile_package(package)
    except CompileError as error:
        raise StackError(f"the contract does not compile: {error}") from None


def credential_plugin() -> Path:
    """The ``kubectl-daas`` that belongs to this Python.

    Raises:
        StackError: the distribution is not installed.
    """
    path = Path(sys.executable).parent / "kubectl-daas"
    if not path.exists():
        raise StackError("kubectl-daas is not installed beside this Python: run make setup")
    return path


def free_port(port: int) -> int:
    """The port, if nobody listens on it (0: any free one).

    Raises:
        StackError: it is in use.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not 0 to 65535"
            raise StackError(f"port {port} cannot be used ({reason}): say --port with another one") from None
        found: int = probe.getsockname()[1]
    return found


def refuse_if_running(pids: Path) -> None:
    """Two stacks must not share a state directory.

    Raises:
        StackError: a process of an earlier stack is still alive.
    """
    try:
        known: Mapping[str, int] = json.loads(pids.read_text())
    except FileNotFoundError:
        return
    for name, pid in known.items():
        command = Path(f"/proc/{pid}/cmdline")
        if command.exists() and (b"infra.local" in (line := command.read_bytes()) or b"listener_s" in line):
            raise StackError(
                f"a stack runs in {pids.parent} already ({name} is process {pid}): "
                "end it first, or say --state with another directory"
            )


def _prepare_aws(url: str) -> tuple[str, str]:
    """The table, the bucket and the gateway's keys; returns the ids of the signing and the parking key."""
    aws.create_blob_bucket(aws.s3_client(url), BLOB_BUCKET)
    aws.create_request_table(aws.dynamodb_client(url), REQUEST_TABLE)
    kms = aws.kms_client(url)
    return aws.create_signing_key(kms), aws.create_parking_key(kms)


def _clean_environment() -> dict[str, str]:
    """What every part inherits: nothing that could point it at somebody's real cloud or cluster."""
    ours = ("AWS_", "DAAS_", "KUBE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
