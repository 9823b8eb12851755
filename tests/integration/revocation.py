"""Taking a seal back, with the administrator's capability."""

from __future__ import annotations

from k3s_daas.contract import calls
from k3s_daas.contract.arguments import SharedRef
from k3s_daas.sui.signers import FileSigner
from k3s_daas.sui.transactions import PtbBuilder
from k3s_daas.sui.wallet import Wallet, object_ref
from tests.integration.listener_stage import Stage


async def revoke(chain: Stage, holder: str) -> None:
    roots, ledger = chain.chain.roots, chain.ledger
    wallet = Wallet(ledger, FileSigner.load(chain.directory / "keys" / "admin.key"))
    cap_type = f"0x{roots.package_original.hex()}::capability::AccessCap"
    [cap] = await ledger.list_owned_objects(wallet.address, cap_type)
    found = await ledger.get_objects([roots.cluster, chain.holder(holder).seal])
    cluster, seal = (SharedRef.of(one) for one in found if one is not None)

    def compose(builder: PtbBuilder) -> None:
        capability = builder.owned(object_ref(cap))
        calls.revoke(builder, roots.package_latest, cluster, capability, seal, reason="left")

    await wallet.run(compose)
