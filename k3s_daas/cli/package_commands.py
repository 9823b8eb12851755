"""``daas publish`` and ``daas upgrade``."""

from __future__ import annotations

from k3s_daas.aborts import abort_name
from k3s_daas.admin.administrator import Administrator
from k3s_daas.admin.clusters import plan_migration
from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.files import assert_writable
from k3s_daas.admin.publishing import plan_upgrade, publish, upgrade
from k3s_daas.admin.trust import move_latest
from k3s_daas.cli.compiling import incompatibilities, package_code
from k3s_daas.cli.console import say, say_done
from k3s_daas.cli.session import Session
from k3s_daas.errors import ConfigurationError, MoveAbortError
from k3s_daas.ids import to_hex


async def run_publish(session: Session) -> None:
    """Publishes the contract and writes the deployment file."""
    path = session.deployment_file
    if path.exists():
        raise ConfigurationError(
            f"{path} describes a package already: upgrade that with daas upgrade, "
            "or name another file with --deployment"
        )
    assert_writable(path)
    code = package_code(session.options.bytecode, session.options.package)
    payer = session.payer()
    info = await session.ledger.service_info()
    size = sum(map(len, code.modules))
    summary = (
        f"publish {len(code.modules)} modules ({size} bytes) on chain {info.chain_id}; "
        f"the UpgradeCap goes to {to_hex(payer.address)}"
    )
    if not session.agreed(summary):
        return
    deployment = await publish(payer, info.chain_id, code)
    # Said before it is written: should the disk be full, the ids are not lost.
    say(f"package {to_hex(deployment.package_latest)}, UpgradeCap {to_hex(deployment.upgrade_cap)}")
    deployment.save(path)
    say(f"written: {path}")


async def run_upgrade(session: Session) -> None:
    """Upgrades the package if that is possible, and names or makes the next steps."""
    deployment = session.deployment()
    for roots in session.options.roots:
        assert_writable(roots)
    code = package_code(session.options.bytecode, session.options.package)
    payer = session.payer()
    info = await session.ledger.service_info()
    if info.chain_id != deployment.chain_id:
        raise ConfigurationError(
            f"the endpoint is on chain {info.chain_id}, the deployment on {deployment.chain_id}"
        )
    plan = await plan_upgrade(session.ledger, deployment, payer.address, code, incompatibilities)
    if plan is None:
        say("the package on chain is this code already")
        await _follow_up(session, deployment)
        return
    if not session.agreed(plan.summary()):
        return
    deployment = await upgrade(payer, deployment, plan)
    say(f"package {to_hex(deployment.package_latest)}")
    deployment.save(session.deployment_file)
    say(f"written: {session.deployment_file}")
    await _follow_up(session, deployment)


async def _follow_up(session: Session, deployment: Deployment) -> None:
    if not session.options.dry_run:
        for roots in session.options.roots:
            move_latest(roots, deployment)
            say(f"written: {roots}")
    if deployment.cluster is None:
        return
    if session.options.migrate:
        await migrate(session, deployment)
    else:
        say("next: give gateways and listeners the new package_latest, then run daas cluster migrate")


async def migrate(session: Session, deployment: Deployment) -> None:
    """Moves the cluster to the latest package's version, unless it is there."""
    administrator = Administrator(session.ledger, session.payer(), deployment)
    changes = plan_migration(await administrator.cluster())
    if not session.agreed(*(change.summary for change in changes)):
        return
    try:
        say_done(await administrator.apply(changes))
    except MoveAbortError as error:
        if abort_name(error.module, error.code) != "EAlreadyMigrated":
            raise
        say("the cluster is at the latest package's version already")
