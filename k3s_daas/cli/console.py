"""Talking to the operator at the terminal: show what would change, ask, say what was done."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from k3s_daas.aborts import abort_name
from k3s_daas.errors import ConfigurationError, DaasError, MoveAbortError
from k3s_daas.status import from_abort
from k3s_daas.sui.ledger import ExecutionOutcome

# What kubectl's users are told about these is not what an operator can use.
_FOR_OPERATORS = {
    "ENotClusterCapability": "the capability is for another cluster",
    "EUnsupportedVersion": (
        "the cluster is at another version than the package that was called: after an upgrade run "
        "daas cluster migrate; else compare package_latest in the deployment file with daas cluster show"
    ),
    "ECapabilityRevoked": "the capability was revoked: ask the holder of the ClusterCap for a new one",
    "EWrongGeneration": "somebody announced a key in between: look at daas cluster show, then rotate again",
    "EInvalidPolicy": "the policy is outside the contract's bounds (docs/contract.md)",
}


def say(text: str) -> None:
    """A line of the command's result."""
    print(text, flush=True)


def agreed(summaries: Sequence[str], *, dry_run: bool, yes: bool) -> bool:
    """Shows what would be done; true if it is to be done.

    Without a terminal nobody can be asked, so `--yes` must be said. Raises `ConfigurationError` if not.
    """
    if not summaries:
        say("no difference: nothing to do")
        return False
    for summary in summaries:
        say(summary)
    if dry_run:
        say("dry run: nothing was done")
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigurationError("nobody can be asked here: say --yes to do this, --dry-run to only see it")
    if _answer("Do this? [y/N] ").strip().lower() in ("y", "yes"):
        return True
    say("nothing was done")
    return False


def _answer(question: str) -> str:
    """What is typed; nothing if the terminal closes."""
    try:
        return input(question)
    except EOFError:
        say("")
        return ""


def say_done(outcomes: Iterable[ExecutionOutcome]) -> None:
    """The transactions that did it."""
    for outcome in outcomes:
        say(f"done in transaction {outcome.digest}")


def sentence(error: DaasError) -> str:
    """An error for the person at the terminal; the contract's refusals by name and with what to do."""
    if not isinstance(error, MoveAbortError):
        return str(error)
    name = abort_name(error.module, error.code) or f"{error.module}::{error.code}"
    where = f", transaction {error.digest}" if error.digest else ""
    said = _FOR_OPERATORS.get(name) or from_abort(error.module, error.code).message
    return f"the contract refused: {said} ({name}{where})"
