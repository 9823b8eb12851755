"""Publishing the contract and upgrading it.

Types keep the id of the first version for ever (`package_original`); calls go to the latest one. The
`UpgradeCap` stays with the key that published: whoever holds it decides what the contract says tomorrow.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from k3s_daas.admin.deployment import Deployment
from k3s_daas.admin.paying import Payer, created
from k3s_daas.bcs import Reader
from k3s_daas.contract import arguments
from k3s_daas.errors import ConfigurationError, DaasError
from k3s_daas.ids import ADDRESS_BYTES, to_hex
from k3s_daas.sui.ledger import ChainPackage, OperatorLedger
from k3s_daas.sui.transactions import ObjectRef, PtbBuilder
from k3s_daas.sui.wallet import object_ref

_FRAMEWORK = (2).to_bytes(ADDRESS_BYTES, "big")
_UPGRADE_CAP = "::package::UpgradeCap"
_DIGEST_BYTES = 32

Incompatibilities = Callable[[Sequence[bytes], Sequence[bytes]], list[str]]
"""Why modules (first) cannot be upgraded to others (second): one sentence each, none if they can."""


class IncompatibleUpgradeError(DaasError):
    """The chain would refuse the upgrade; `reasons` says why, one sentence each."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("the package cannot be upgraded to this code: " + "; ".join(reasons))
        self.reasons = tuple(reasons)


@dataclass(frozen=True, slots=True)
class PackageCode:
    """A compiled package: bytecode, ids of the packages it uses, and the digest that an upgrade names."""

    modules: tuple[bytes, ...]
    dependencies: tuple[bytes, ...]
    digest: bytes

    @classmethod
    def from_json(cls, text: str, name: str) -> PackageCode:
        """What ``sui move build --dump-bytecode-as-base64`` prints. Raises `ConfigurationError`."""
        try:
            data = json.loads(text)
            code = cls(
                tuple(base64.b64decode(module, validate=True) for module in data["modules"]),
                tuple(
                    bytes.fromhex(one.removeprefix("0x").zfill(2 * ADDRESS_BYTES))
                    for one in data["dependencies"]
                ),
                bytes(data["digest"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            code = cls((), (), b"")
        if not code.modules or len(code.digest) != _DIGEST_BYTES:
            raise ConfigurationError(f"{name} is not the output of sui move build --dump-bytecode-as-base64")
        return code


async def publish(payer: Payer, chain_id: str, code: PackageCode) -> Deployment:
    """Publishes a package; the payer keeps its `UpgradeCap`. Raises `LedgerError`."""

    def compose(builder: PtbBuilder) -> None:
        builder.transfer([builder.publish(code.modules, code.dependencies)], payer.address)

    outcome = await payer.run(compose)
    package = created(outcome, "package")
    return Deployment(chain_id, package, package, created(outcome, _UPGRADE_CAP))


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An upgrade that may be tried: from the present version to this code."""

    cap: ObjectRef
    policy: int
    version: int
    code: PackageCode
    changed: tuple[str, ...]
    added: int

    def summary(self) -> str:
        """What it changes, for a person."""
        changed = f"changes {', '.join(self.changed)}" if self.changed else "changes no module"
        added = f" and adds {self.added} modules" if self.added else ""
        return f"upgrade the package from version {self.version} to {self.version + 1}: {changed}{added}"


async def plan_upgrade(
    ledger: OperatorLedger,
    deployment: Deployment,
    owner: bytes,
    code: PackageCode,
    incompatibilities: Incompatibilities,
) -> Upgrade | None:
    """Checks whether `owner` may upgrade to `code`; None if the chain has this code already.

    Raises `IncompatibleUpgradeError` (nothing was tried), `ConfigurationError` if the capability is not the
    owner's or the deployment file is behind, `LedgerError` if the endpoint does not answer.
    """
    cap = await ledger.get_object(deployment.upgrade_cap)
    if cap is None or not cap.type_tag.endswith(_UPGRADE_CAP):
        raise ConfigurationError(f"the endpoint knows no UpgradeCap {to_hex(deployment.upgrade_cap)}")
    if cap.owner.kind != "address" or cap.owner.address != owner:
        raise ConfigurationError(
            f"the UpgradeCap {to_hex(cap.id)} is not owned by {to_hex(owner)}: use the key of its owner"
        )
    reader = Reader(cap.contents)
    reader.address()
    latest, version, policy = reader.address(), reader.u64(), reader.u8()
    reader.finish()
    if latest != deployment.package_latest:
        raise ConfigurationError(
            f"the package was upgraded to {to_hex(latest)} since: if that was you, write it as "
            "package_latest into the deployment file"
        )
    present = await ledger.get_package(deployment.package_latest)
    if present is None:
        raise ConfigurationError(f"the endpoint knows no package {to_hex(deployment.package_latest)}")
    changed = _changed(present, code)
    added = max(0, len(code.modules) - len(present.modules))
    if not changed and not added:
        return None
    reasons = incompatibilities(list(present.modules.values()), code.modules)
    if reasons:
        raise IncompatibleUpgradeError(reasons)
    return Upgrade(object_ref(cap), policy, version, code, changed, added)


async def upgrade(payer: Payer, deployment: Deployment, plan: Upgrade) -> Deployment:
    """Makes the upgrade; returns the deployment that calls the new version. Raises `LedgerError`."""

    def compose(builder: PtbBuilder) -> None:
        cap = builder.owned(plan.cap)
        digest = arguments.byte_vector(builder, plan.code.digest)
        ticket = builder.move_call(
            _FRAMEWORK, "package", "authorize_upgrade", [cap, arguments.u8(builder, plan.policy), digest]
        )
        receipt = builder.upgrade(
            deployment.package_latest, ticket, plan.code.modules, plan.code.dependencies
        )
        builder.move_call(_FRAMEWORK, "package", "commit_upgrade", [cap, receipt])

    outcome = await payer.run(compose)
    return replace(deployment, package_latest=created(outcome, "package"))


def _changed(present: ChainPackage, code: PackageCode) -> tuple[str, ...]:
    """Names of the published modules that `code` has otherwise, or not at all.

    The compiler leaves the package's own address zero; the chain puts the original id there.
    """
    new = set(code.modules)
    zero = bytes(ADDRESS_BYTES)
    return tuple(
        sorted(
            name
            for name, module in present.modules.items()
            if module.replace(present.original, zero) not in new
        )
    )
