"""``daas cluster``, ``daas policy``, ``daas capability`` and ``daas roots``."""

from __future__ import annotations

from pathlib import Path

from k3s_daas.admin.administrator import Administrator
from k3s_daas.admin.clusters import (
    DUTIES,
    create_cluster,
    plan_capability,
    plan_pause,
    plan_policy,
    plan_resume,
    plan_revocation,
    with_issued,
)
from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.files import assert_writable
from k3s_daas.admin.policy_file import DEFAULT_POLICY, load_policy, show_policy
from k3s_daas.admin.report import describe
from k3s_daas.admin.trust import pin, unpinned
from k3s_daas.cli.console import say, say_done
from k3s_daas.cli.package_commands import migrate
from k3s_daas.cli.session import Session
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots


async def run_create(session: Session) -> None:
    """Creates a cluster, hands out its duties, and writes both into the deployment file."""
    options = session.options
    deployment = session.deployment()
    target = _target(session, deployment)
    policy = load_policy(options.policy) if options.policy else DEFAULT_POLICY
    payer = session.payer()
    duties = [plan_capability(duty, getattr(options, f"{duty}_to") or payer.address) for duty in DUTIES]
    created = "\n".join(
        [
            f"create the cluster {options.name}; its ClusterCap goes to {to_hex(payer.address)}",
            f"  listener namespace {options.listener_namespace}",
            *(f"  {name} {value}" for name, value in show_policy(policy).items()),
        ]
    )
    if not session.agreed(created, *(change.summary for change in duties)):
        return
    deployment = await create_cluster(
        payer,
        deployment,
        name=options.name,
        listener_namespace=options.listener_namespace,
        policy=policy,
    )
    say(f"cluster {to_hex(deployment.cluster_id)}")
    # Before the duties, so that a failure in between leaves a cluster that can be found.
    deployment.save(target)
    outcomes = await Administrator(session.ledger, payer, deployment).apply(duties)
    say_done(outcomes)
    with_issued(deployment, outcomes).save(target)
    say(f"written: {target}")


def _target(session: Session, deployment: Deployment) -> Path:
    """The deployment file for a new cluster: no cluster that is written down may be forgotten."""
    target: Path = session.options.out or session.deployment_file
    if target.exists() and (target != session.deployment_file or deployment.cluster is not None):
        raise ConfigurationError(
            f"{target} describes a cluster already: name a new file for this one with --out"
        )
    assert_writable(target)
    return target


async def run_show(session: Session) -> None:
    """Prints the cluster as it is."""
    deployment = session.deployment()
    reader = ContractReader(session.ledger, deployment.roots())
    await reader.confirm_chain()
    say(await describe(session.ledger, deployment, await reader.cluster()))


async def run_pause(session: Session) -> None:
    administrator = session.administrator()
    await session.settle(administrator, plan_pause(await administrator.cluster()))


async def run_resume(session: Session) -> None:
    administrator = session.administrator()
    await session.settle(administrator, plan_resume(await administrator.cluster()))


async def run_migrate(session: Session) -> None:
    await migrate(session, session.deployment())


async def run_policy_apply(session: Session) -> None:
    """Makes the policy the file's; what the file leaves out stays as it is on chain."""
    administrator = session.administrator()
    cluster = await administrator.cluster()
    wanted = load_policy(session.options.file, cluster.policy)
    await session.settle(administrator, plan_policy(cluster, wanted))


async def run_capability_issue(session: Session) -> None:
    """Issues a duty capability and notes it in the deployment file."""
    deployment = session.deployment()
    administrator = session.administrator(deployment)
    recipient = session.options.to or administrator.address
    outcomes = await session.settle(administrator, [plan_capability(session.options.duty, recipient)])
    if outcomes:
        with_issued(deployment, outcomes).save(session.deployment_file)
        say(f"written: {session.deployment_file}")


async def run_capability_revoke(session: Session) -> None:
    administrator = session.administrator()
    cluster = await administrator.cluster()
    await session.settle(administrator, [plan_revocation(cluster, session.options.id)])


async def run_roots(session: Session) -> None:
    """Writes the trust roots that gateways and listeners are given."""
    deployment = session.deployment()
    reader = ContractReader(session.ledger, deployment.roots())
    await reader.confirm_chain()
    cluster = await reader.cluster()
    roots = pin(deployment, cluster, session.options.gateway, session.options.executor)
    target: Path = session.options.out
    assert_writable(target)
    for member in unpinned(cluster, roots):
        say(f"not pinned, so whoever uses these roots does not believe it: {member}")
    if _holds(target, roots):
        session.agreed()
        return
    members = [f"  pin the gateway {to_hex(one)}" for one in sorted(roots.gateways)]
    members += [f"  pin the executor {to_hex(one)}" for one in sorted(roots.executors)]
    if session.agreed("\n".join([f"write the trust roots {target}", *members])):
        roots.dump(target)
        say(f"written: {target}")


def _holds(path: Path, roots: TrustRoots) -> bool:
    return path.exists() and TrustRoots.load(path) == roots
