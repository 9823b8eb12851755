"""Waiting for the answer: the request object is read until it has one, then the answering transaction is checked.

The object says which hash the executor stored; the ciphertext itself is an input of the transaction that stored it.
Nothing of what the endpoint says is believed: the transaction's bytes hash to its digest (the ledger port's
guarantee), they carry the pinned executor's signature, and the ciphertext hashes to what the object holds.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import LedgerUnavailableError, WireFormatError
from k3s_daas.payload import join, payload_hash
from k3s_daas.roots import ExecutorRoot
from k3s_daas.sui.ledger import Ledger
from k3s_daas.sui.signers import verify_signature
from k3s_daas.sui.transactions import decode_transaction
