"""The command line of ``daas``: which commands there are, and what each is told."""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from k3s_daas.admin.amounts import format_amount, parse_amount, parse_duration, parse_moment
from k3s_daas.admin.clusters import DUTIES
from k3s_daas.admin.paying import DEFAULT_BUDGET
from k3s_daas.admin.trust import parse_public_key
from k3s_daas.cli import access_commands, cluster_commands, member_commands, package_commands, rbac_commands
from k3s_daas.cli.session import (
    DEPLOYMENT_VARIABLE,
    ENDPOINT_VARIABLE,
    KEY_VARIABLE,
    Session,
)
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import from_hex

T = TypeVar("T")
Command = Callable[[Session], Awaitable[None]]

DEFAULT_DEPLOYMENT = Path("daas.json")


def add_operator_commands(commands: Any) -> None:
    """Adds an operator's commands. Each sets what runs it: `run` with a session on the chain, `alone` with
    what opens endpoints, or `local` with its options only."""
    look, act = _common()
    _package(commands, act)
    _cluster(commands, look, act)
    _members(commands, act)
    _access(commands, look, act)
    _roots(commands, look)
    _rbac(commands)
    _keys(commands)


def _common() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Options of commands that only look, and of those that act."""
    environment = os.environ
    look = argparse.ArgumentParser(add_help=False)
    look.add_argument(
        "--endpoint",
        default=environment.get(ENDPOINT_VARIABLE),
        help=f"Sui endpoint, gRPC: http(s)://host:port (default: ${ENDPOINT_VARIABLE})",
    )
    _deployment(look)
    consent = argparse.ArgumentParser(add_help=False, parents=[look])
    consent.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    consent.add_argument("--yes", "-y", action="store_true", help="do not ask")
    consent.add_argument(
        "--gas-budget",
        type=_said(parse_amount),
        default=DEFAULT_BUDGET,
        help=f"most gas of one transaction (default: {format_amount(DEFAULT_BUDGET)})",
    )
    act = argparse.ArgumentParser(add_help=False, parents=[consent])
    act.add_argument(
        "--key",
        type=Path,
        default=environment.get(KEY_VARIABLE),
        help=f"file of the key that signs and pays (default: ${KEY_VARIABLE})",
    )
    return look, act


def _package(commands: Any, act: argparse.ArgumentParser) -> None:
    code = argparse.ArgumentParser(add_help=False)
    code.add_argument(
        "--bytecode",
        type=Path,
        help="compiled package, as sui move build --dump-bytecode-as-base64 prints it",
    )
    code.add_argument(
        "--package", type=Path, default=Path("move"), help="Move package to compile instead (%(default)s)"
    )
    _command(commands, "publish", "publish the contract", [code, act], package_commands.run_publish)
    upgrade = _command(
        commands,
        "upgrade",
        "upgrade the contract to compatible code",
        [code, act],
        package_commands.run_upgrade,
    )
    upgrade.add_argument("--migrate", action="store_true", help="also move the cluster to the new version")
    upgrade.add_argument(
        "--roots",
        type=Path,
        action="append",
        default=[],
        help="trust roots whose package_latest is to follow; may be said several times",
    )


def _cluster(commands: Any, look: argparse.ArgumentParser, act: argparse.ArgumentParser) -> None:
    cluster = _group(commands, "cluster", "one cluster as a whole")
    create = _command(cluster, "create", "create a cluster", [act], cluster_commands.run_create)
    create.add_argument("--name", required=True, help="1 to 63 of a-z, 0-9 and -")
    create.add_argument(
        "--listener-namespace",
        default="daas-system",
        help="Kubernetes namespace of the listener, closed to every role (%(default)s)",
    )
    create.add_argument(
        "--policy", type=Path, help="policy.yaml; without it the defaults (docs/operations.md)"
    )
    for duty in DUTIES:
        create.add_argument(
            f"--{duty}-to", type=_address, metavar="ADDRESS", help=f"who gets the {duty} capability (you)"
        )
    create.add_argument("--out", type=Path, help="deployment file to write, for a second cluster")
    _command(cluster, "show", "print the cluster as it is", [look], cluster_commands.run_show)
    _command(cluster, "pause", "refuse every new command", [act], cluster_commands.run_pause)
    _command(cluster, "resume", "accept commands again", [act], cluster_commands.run_resume)
    _command(
        cluster,
        "migrate",
        "move the cluster to the latest package's version",
        [act],
        cluster_commands.run_migrate,
    )
    policy = _group(commands, "policy", "the cluster's policy")
    _file(_command(policy, "apply", "make the policy a file's", [act], cluster_commands.run_policy_apply))
    capability = _group(commands, "capability", "who may do which duty")
    issue = _command(capability, "issue", "issue one", [act], cluster_commands.run_capability_issue)
    issue.add_argument("duty", choices=DUTIES)
    issue.add_argument("--to", type=_address, metavar="ADDRESS", help="who gets it (you)")
    revoke = _command(
        capability, "revoke", "revoke one by its id", [act], cluster_commands.run_capability_revoke
    )
    revoke.add_argument("id", type=_address)


def _members(commands: Any, act: argparse.ArgumentParser) -> None:
    for kind, article, run in (
        ("gateway", "a", member_commands.run_gateway),
        ("executor", "an", member_commands.run_executor),
    ):
        group = _group(commands, kind, f"the cluster's {kind}s")
        for verb, registered in (("add", True), ("remove", False)):
            member = _command(group, verb, f"{verb} {article} {kind}", [act], run)
            member.add_argument("address", type=_address)
            member.set_defaults(registered=registered)


def _access(commands: Any, look: argparse.ArgumentParser, act: argparse.ArgumentParser) -> None:
    role = _group(commands, "role", "the cluster's roles")
    apply = _command(role, "apply", "make the roles a file's", [act], access_commands.run_role_apply)
    _file(apply)
    apply.add_argument("--prune", action="store_true", help="remove roles that the file does not have")
    grant = _group(commands, "grant", "who may stake for which role")
    add = _command(grant, "add", "grant a role, or move a grant's end", [act], access_commands.run_grant_add)
    end = add.add_mutually_exclusive_group(required=True)
    end.add_argument("--for", dest="lasting", type=_said(parse_duration), help="from now on: 30d, 12h, …")
    end.add_argument("--until", type=_said(parse_moment), help="a moment: 2027-01-31T00:00:00Z")
    remove = _command(grant, "remove", "take a grant away", [act], access_commands.run_grant_remove)
    for parser in (add, remove):
        parser.add_argument("holder", type=_address, help="the holder's address")
        parser.add_argument("role")
    _command(grant, "list", "print all grants", [look], access_commands.run_grant_list)


def _roots(commands: Any, look: argparse.ArgumentParser) -> None:
    roots = _command(
        commands,
        "roots",
        "write the trust roots of gateways and listeners",
        [look],
        cluster_commands.run_roots,
    )
    for kind in ("gateway", "executor"):
        roots.add_argument(
            f"--{kind}",
            type=_said(parse_public_key),
            action="append",
            default=[],
            metavar="PUBLIC_KEY",
            help=f"a {kind}'s public key (0x, scheme flag, key); may be said several times",
        )
    roots.add_argument("--out", "-o", type=Path, default=Path("roots.json"), help="file (%(default)s)")
    roots.add_argument("--dry-run", action="store_true", help="show what would be written")
    roots.add_argument("--yes", "-y", action="store_true", help="do not ask")


def _rbac(commands: Any) -> None:
    environment = os.environ
    rbac = _group(commands, "rbac", "whom the listener may impersonate in Kubernetes")
    what = "make the listener's ClusterRole enumerate the owners of live seals and the roles"
    sync = rbac.add_parser("sync", help=what, description=what)
    sync.add_argument(
        "--endpoint",
        default=environment.get(rbac_commands.ENDPOINTS_VARIABLE) or environment.get(ENDPOINT_VARIABLE),
        help="Sui endpoint, gRPC; several separated by commas with --quorum "
        f"(${rbac_commands.ENDPOINTS_VARIABLE}, else ${ENDPOINT_VARIABLE})",
    )
    sync.add_argument(
        "--quorum",
        default=environment.get(rbac_commands.QUORUM_VARIABLE),
        help=f"how many of several endpoints must say the same (${rbac_commands.QUORUM_VARIABLE})",
    )
    _deployment(sync)
    sync.add_argument(
        "--kubeconfig", type=Path, help="whose cluster ($KUBECONFIG, ~/.kube/config, else the pod's own)"
    )
    sync.add_argument(
        "--install",
        type=Path,
        metavar="ROLES_FILE",
        help="also apply namespace, service account and bindings; the file says each role's clusterRole",
    )
    sync.add_argument(
        "--watch", type=_said(parse_duration), metavar="DURATION", help="do it again and again, this often"
    )
    sync.add_argument("--output", "-o", choices=["yaml"], help="print the manifests, and do nothing")
    sync.add_argument("--dry-run", action="store_true", help="show what would change, and do nothing")
    sync.add_argument("--yes", "-y", action="store_true", help="do not ask")
    sync.set_defaults(alone=rbac_commands.run_sync)


def _keys(commands: Any) -> None:
    key = _group(commands, "key", "signing keys in files")
    for verb, run, what in (
        ("generate", member_commands.run_key_generate, "make a key file"),
        ("encrypt", member_commands.run_key_encrypt, "put a plain key file's key under a passphrase"),
        (
            "show",
            member_commands.run_key_show,
            "print address and public key of a key file (or of a public key in DER or PEM)",
        ),
    ):
        parser = key.add_parser(verb, help=what, description=what)
        parser.add_argument("file", type=Path)
        if verb == "encrypt":
            parser.add_argument("target", type=Path, help="new file for the encrypted key")
        if verb != "show":
            parser.add_argument(
                "--passphrase-file",
                type=Path,
                required=verb == "encrypt",
                help="file with the passphrase that the key is encrypted under, for a listener",
            )
        parser.set_defaults(local=run)


def _group(commands: Any, name: str, help_text: str) -> Any:
    parser = commands.add_parser(name, help=help_text, description=help_text)
    return parser.add_subparsers(dest="subcommand", required=True)


def _command(
    commands: Any, name: str, help_text: str, parents: list[argparse.ArgumentParser], run: Command
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help_text, description=help_text, parents=parents
    )
    parser.set_defaults(run=run)
    return parser


def _deployment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deployment",
        type=Path,
        default=Path(os.environ.get(DEPLOYMENT_VARIABLE) or DEFAULT_DEPLOYMENT),
        help=f"deployment file (default: ${DEPLOYMENT_VARIABLE}, else {DEFAULT_DEPLOYMENT})",
    )


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", "-f", type=Path, required=True)


def _said(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A parser of ours as argparse wants one: its sentence is shown."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except (ValueError, ConfigurationError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


_address = _said(from_hex)
