"""What every operator's command is given: an endpoint, a deployment file, a key, and how to proceed."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from k3s_daas.admin.administrator import Administrator
from k3s_daas.admin.changes import Change
from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.paying import Payer
from k3s_daas.cli.console import agreed, say_done
from k3s_daas.errors import ConfigurationError
from k3s_daas.sui.ledger import ExecutionOutcome, OperatorLedger
from k3s_daas.sui.signers import FileSigner

ENDPOINT_VARIABLE = "DAAS_SUI_ENDPOINT"
KEY_VARIABLE = "DAAS_ADMIN_KEY_FILE"
DEPLOYMENT_VARIABLE = "DAAS_DEPLOYMENT_FILE"

OpenLedger = Callable[[str], OperatorLedger]


def grpc_ledger(url: str) -> OperatorLedger:
    """The endpoint behind a URL. Raises `ConfigurationError` for a bad one."""
    # Slow to import, and no command's help needs it.
    from k3s_daas.sui.grpc import GrpcLedger  # noqa: PLC0415

    return GrpcLedger(url)


@dataclass
class Session:
    """One run of a command. Properties raise `ConfigurationError` for what was not said or cannot be used."""

    options: argparse.Namespace
    ledger: OperatorLedger

    @property
    def deployment_file(self) -> Path:
        path: Path = self.options.deployment
        return path

    def deployment(self) -> Deployment:
        return Deployment.load(self.deployment_file)

    def payer(self) -> Payer:
        """Who signs and pays: the administrator's key."""
        return Payer(self.ledger, self.signer(), budget=self.options.gas_budget)

    def signer(self) -> FileSigner:
        path = self.options.key
        if path is None:
            raise ConfigurationError(f"no key file was named: say --key FILE or set {KEY_VARIABLE}")
        return FileSigner.load(Path(path))

    def administrator(self, deployment: Deployment | None = None) -> Administrator:
        return Administrator(self.ledger, self.payer(), deployment or self.deployment())

    def agreed(self, *summaries: str) -> bool:
        return agreed(summaries, dry_run=self.options.dry_run, yes=self.options.yes)

    async def settle(self, administrator: Administrator, changes: Sequence[Change]) -> list[ExecutionOutcome]:
        """Shows changes and makes them if that is wanted; says which transactions did it."""
        if not self.agreed(*(change.summary for change in changes)):
            return []
        outcomes = await administrator.apply(changes)
        say_done(outcomes)
        return outcomes


@asynccontextmanager
async def session(
    options: argparse.Namespace, open_ledger: OpenLedger = grpc_ledger
) -> AsyncGenerator[Session, None]:
    """Connects to the endpoint, and closes the connection whatever happens."""
    if not options.endpoint:
        raise ConfigurationError(f"no Sui endpoint was named: say --endpoint URL or set {ENDPOINT_VARIABLE}")
    ledger = open_ledger(options.endpoint)
    try:
        yield Session(options, ledger)
    finally:
        await ledger.close()
