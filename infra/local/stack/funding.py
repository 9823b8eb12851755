"""Where the local stack's SUI comes from, and how it becomes address balances that pay for gas."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import urllib3

from infra.local.stack.processes import StackError
from k3s_daas.admin.amounts import MIST_PER_SUI
from k3s_daas.contract import calls
from k3s_daas.ids import to_hex
from k3s_daas.sui.transactions import GAS_COIN, PtbBuilder
from k3s_daas.sui.wallet import Wallet

_MOST_FAUCET_CALLS = 50


async def ensure_coins(wallet: Wallet, needed: int, faucet_url: str | None) -> None:
    """See to it that the wallet owns coins worth ``needed`` MIST, from a faucet where there is one.

    Raises:
        StackError: there is no faucet and too little money; says which address wants how much.
    """
    for _ in range(_MOST_FAUCET_CALLS):
        have = await wallet.coin_balance()
        if have >= needed:
            return
        if faucet_url is None:
            missing = -(-(needed - have) // MIST_PER_SUI)
            raise StackError(
                f"send {missing} SUI to {to_hex(wallet.address)} and start again, "
                "or name a faucet with --faucet-url"
            )
        await asyncio.to_thread(request_coins, faucet_url, wallet.address)
    raise StackError(f"the faucet {faucet_url} gives too little for the local stack")


def request_coins(faucet_url: str, recipient: bytes) -> None:
    """Ask a Sui faucet (``POST /v2/gas``) for coins.

    Raises:
        StackError: the faucet is away or refuses.
    """
    try:
        answer = urllib3.request(
            "POST",
            f"{faucet_url.rstrip('/')}/v2/gas",
            json={"FixedAmountRequest": {"recipient": to_hex(recipient)}},
            timeout=30,
            retries=False,
        )
    except urllib3.exceptions.HTTPError as error:
        raise StackError(f"the faucet {urlsplit(faucet_url).netloc} cannot be reached: {error}") from None
    if answer.status not in (200, 201):
        raise StackError(f"the faucet answered {answer.status}: {answer.data.decode(errors='replace')[:200]}")


async def fund(wallet: Wallet, balances: Mapping[bytes, int], coins: Mapping[bytes, int]) -> None:
    """Turn the wallet's coins into address balances (for gas) and coins (for stakes) of others, in MIST."""

    def compose(builder: PtbBuilder) -> None:
        for recipient, amount in balances.items():
            calls.deposit_to_address_balance(builder, coin=GAS_COIN, recipient=recipient, amount=amount)
        for recipient, amount in coins.items():
            builder.transfer(builder.split_coins(GAS_COIN, [amount]), recipient)

    await wallet.run_with_coins(compose)
