"""``daas role`` and ``daas grant``."""

from __future__ import annotations

from k3s_daas.admin.amounts import format_moment
from k3s_daas.admin.grants import list_grants, plan_grant, plan_grant_removal
from k3s_daas.admin.roles import plan_roles
from k3s_daas.admin.roles_file import load_roles
from k3s_daas.cli.console import say
from k3s_daas.cli.session import Session
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex


async def run_role_apply(session: Session) -> None:
    """Makes the roles on chain those of the file."""
    wanted = [spec.role for spec in load_roles(session.options.file)]
    administrator = session.administrator()
    cluster = await administrator.cluster()
    plan = plan_roles(cluster.roles, wanted, prune=session.options.prune)
    for name in plan.kept:
        say(f"kept although the file does not have it: the role {name} (--prune removes it)")
    await session.settle(administrator, plan.changes)


async def run_grant_add(session: Session) -> None:
    """Grants a role until a moment, or for a while from now (by the chain's clock)."""
    options = session.options
    now_ms = (await session.ledger.service_info()).timestamp_ms
    expires_at_ms = options.until if options.until is not None else now_ms + options.lasting
    if expires_at_ms <= now_ms:
        raise ConfigurationError(f"the grant would have ended already: it is {format_moment(now_ms)}")
    deployment = session.deployment()
    administrator = session.administrator(deployment)
    cluster = await administrator.cluster()
    present = await list_grants(session.ledger, deployment.package_original, cluster)
    changes = plan_grant(cluster.roles, present, options.holder, options.role, expires_at_ms)
    await session.settle(administrator, changes)


async def run_grant_remove(session: Session) -> None:
    """Takes a grant away."""
    options = session.options
    deployment = session.deployment()
    administrator = session.administrator(deployment)
    cluster = await administrator.cluster()
    present = await list_grants(session.ledger, deployment.package_original, cluster)
    await session.settle(administrator, plan_grant_removal(present, options.holder, options.role))


async def run_grant_list(session: Session) -> None:
    """Prints all grants of the cluster."""
    deployment = session.deployment()
    reader = ContractReader(session.ledger, deployment.roots())
    await reader.confirm_chain()
    cluster = await reader.cluster()
    now_ms = (await session.ledger.service_info()).timestamp_ms
    grants = await list_grants(session.ledger, deployment.package_original, cluster)
    if not grants:
        say("no grants")
    for grant in grants:
        ended = "  ended" if grant.expires_at_ms <= now_ms else ""
        say(f"{grant.role:20} {to_hex(grant.holder)}  until {format_moment(grant.expires_at_ms)}{ended}")
