"""Which of many requests the chain shows answered."""

from __future__ import annotations

from collections.abc import Iterable

from k3s_daas.contract.reader import ContractReader

# Request objects are small, but a reply is bounded.
_AT_ONCE = 50

RequestKey = tuple[bytes, bytes]
"""Seal and request id."""


async def answered(reader: ContractReader, requests: Iterable[RequestKey]) -> set[RequestKey]:
    """Those with an answer, with few calls for many. Raises `LedgerError`.

    One that the chain does not know is not answered, as far as is known: it was reclaimed, or an endpoint
    lags.
    """
    keys, found = list(requests), set[RequestKey]()
    for start in range(0, len(keys), _AT_ONCE):
        batch = keys[start : start + _AT_ONCE]
        for key, request in zip(batch, await reader.requests(batch), strict=True):
            if request is not None and request.response is not None:
                found.add(key)
    return found
