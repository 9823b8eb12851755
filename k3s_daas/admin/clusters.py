"""A cluster as a whole: create, hand out duties, pause and resume, change the policy, migrate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from k3s_daas.admin.administrator import power_of
from k3s_daas.admin.changes import Change, Draft
from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.paying import Payer, created
from k3s_daas.admin.policy_file import policy_differences
from k3s_daas.contract import calls
from k3s_daas.contract.calls import Duty, Policy
from k3s_daas.contract.objects import ClusterState
from k3s_daas.errors import ConfigurationError
from k3s_daas.ids import to_hex
from k3s_daas.sui.ledger import ExecutionOutcome

DUTIES: tuple[Duty, ...] = ("pause", "member", "access")


async def create_cluster(
    payer: Payer, deployment: Deployment, *, name: str, listener_namespace: str, policy: Policy
) -> Deployment:
    """Creates a cluster whose `ClusterCap` the payer holds; returns the deployment with both.

    Raises `MoveAbortError` (a bad name or policy) or another `LedgerError`.
    """
    outcome = await payer.run(
        lambda builder: calls.create_cluster(
            builder,
            deployment.package_latest,
            name=name,
            listener_namespace=listener_namespace,
            policy=policy,
            admin=payer.address,
        )
    )
    cap = created(outcome, "::capability::ClusterCap")
    return replace(deployment, cluster=created(outcome, "::cluster::Cluster"), capabilities={"cluster": cap})


def plan_capability(duty: Duty, recipient: bytes) -> Change:
    """Issues the capability for a duty. There may be several for one duty, each revocable by its id."""

    def issue(draft: Draft) -> None:
        draft.issue(duty, recipient)

    return Change(f"give the {duty} capability to {to_hex(recipient)}", "cluster", issue, 2, issues=duty)


def plan_revocation(cluster: ClusterState, capability: bytes) -> Change:
    """Makes an issued capability worthless. Raises `ConfigurationError` if it is not a live one."""
    if capability not in cluster.capabilities:
        raise ConfigurationError(
            f"{to_hex(capability)} is no live duty capability of this cluster: daas cluster show lists them"
        )

    def revoke(draft: Draft) -> None:
        calls.revoke_capability(draft.builder, draft.package, draft.cluster, draft.cap("cluster"), capability)

    return Change(f"revoke the capability {to_hex(capability)}", "cluster", revoke)


def with_issued(deployment: Deployment, outcomes: Iterable[ExecutionOutcome]) -> Deployment:
    """The deployment with the capabilities that these transactions issued; the latest of each duty stays."""
    issued: dict[str, bytes] = {
        power: item.id
        for outcome in outcomes
        for item in outcome.created
        if (power := power_of(item.type_tag)) is not None
    }
    return replace(deployment, capabilities={**deployment.capabilities, **issued})


def plan_pause(cluster: ClusterState) -> list[Change]:
    """Stops new commands; nothing if they are stopped."""
    if cluster.paused:
        return []

    def pause(draft: Draft) -> None:
        calls.pause(draft.builder, draft.package, draft.cluster, draft.cap("pause"))

    return [Change("pause: refuse every new command", "pause", pause)]


def plan_resume(cluster: ClusterState) -> list[Change]:
    """Undoes a pause, which takes the cluster capability; nothing if there is none."""
    if not cluster.paused:
        return []

    def resume(draft: Draft) -> None:
        calls.resume(draft.builder, draft.package, draft.cluster, draft.cap("cluster"))

    return [Change("resume: accept commands again", "cluster", resume)]


def plan_policy(cluster: ClusterState, policy: Policy) -> list[Change]:
    """Replaces the policy; nothing if it is the same."""
    differences = policy_differences(cluster.policy, policy)
    if not differences:
        return []

    def replace_policy(draft: Draft) -> None:
        calls.set_policy(draft.builder, draft.package, draft.cluster, draft.cap("cluster"), policy)

    summary = "\n".join(["change the policy", *(f"  ~ {line}" for line in differences)])
    return [Change(summary, "cluster", replace_policy, 2)]


def plan_migration(cluster: ClusterState) -> Sequence[Change]:
    """Moves the cluster to the version of the latest package, which alone serves it from then on.

    Whether there is anything to move only the contract knows: it aborts with `EAlreadyMigrated` if not.
    """

    def migrate(draft: Draft) -> None:
        calls.migrate(draft.builder, draft.package, draft.cluster, draft.cap("cluster"))

    summary = f"migrate the cluster from version {cluster.version} to the latest package's"
    return [Change(summary, "cluster", migrate)]
