"""``make numbers``: what commands cost on the chain, counted by the local ledger, written into the document.

Nothing is computed from layouts: transactions run through the compiled contract, and the ledger counts. Bytes
are Sui's metered bytes. MIST follow Sui's published schedule, at the reference gas price of the local ledger;
the computation in them is an estimate (``infra/local/sui/ledger/gas.py``), hence a tolerance.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from infra.local.sui.compiler import CompiledPackage
from infra.local.sui.ledger.counting import TransactionNumbers
from k3s_daas.contract import calls
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.payload import MAX_CIPHERTEXT_BYTES
from listener_service.batches import MOST_ANSWERS
from tests.bench.contract_story import event_sizes
from tests.move.harness import ROOT, Chain, Receipt
from tests.move.world import POLICY, Seal, World

DOCUMENT = ROOT / "docs" / "contract.md"
BYTECODE = ROOT / "build" / "move" / "bytecode.json"
_HEADER = "| what | how much | of |"
"""The head of the table: no other in the document has it."""
MIST_TOLERANCE = 0.05
"""Computation is an estimate in steps; everything else is compared exactly."""

READ = OnChainAttributes("get", "", "v1", "pods", "", "default", "web")
WRITE = OnChainAttributes("patch", "apps", "v1", "deployments", "", "default", "web")
BATCH, COMMANDS = MOST_ANSWERS, 2 * MOST_ANSWERS
_DUE_MS = 2 * 3_600_000
"""Later than any answer of this policy is kept, and no session ends before."""
_SEALED = (b"\x5a" * 1_200,)
_POLICY = replace(POLICY, max_inline_bytes=120_000)
_LONGEST = calls.PayloadReference(b"\x72" * 128, b"\x68" * 32, 1_000_000)


@dataclass(frozen=True)
class Number:
    """One row: what was counted, how much, and of what (bytes, MIST, transactions, inputs)."""

    what: str
    amount: float
    unit: str

    @property
    def text(self) -> str:
        """As it stands in the document."""
        if isinstance(self.amount, float) and not self.amount.is_integer():
            return f"{self.amount:,.2f}"
        return f"{round(self.amount):,}"

    def agrees(self, documented: str) -> bool:
        """Is the documented amount the counted one, within the tolerance of its unit?"""
        if self.unit != "MIST":
            return documented == self.text
        written = float(documented.replace(",", ""))
        return abs(written - self.amount) <= MIST_TOLERANCE * abs(self.amount)


def count(chain: Chain) -> list[Number]:
    """All rows, on a chain that has the contract; some clusters and seals are made on it."""
    return [*_storage(chain), *_batches(chain), *_inline(chain), *_money(chain), *_events(chain)]


# What is counted


class Counting:
    """A cluster with one seal, and commands of which every transaction is counted."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.world = World.create(chain, _POLICY)
        self.seal: Seal = self.world.holder()
        self.commands: list[calls.Command] = []

    def submit(self, attributes: OnChainAttributes, payload: Sequence[bytes] = _SEALED) -> TransactionNumbers:
        command = self.world.command(self.seal, attributes=attributes, payload=payload)
        self.commands.append(command)
        executing = self.world.executing(self.seal, command)
        return _numbers(self.chain.run(self.world.gateway, executing))

    def answer(
        self, payload: Sequence[bytes] | calls.PayloadReference = _SEALED, *, last: int = 1
    ) -> TransactionNumbers:
        """One transaction that answers the last commands."""
        responses = [calls.Response(one.request_id, 200, payload) for one in self.commands[-last:]]
        answering = self.world.answering(self.seal, *responses)
        return _numbers(self.chain.run(self.world.executor, answering))

    def reclaim(self) -> TransactionNumbers:
        """One transaction that deletes all commands, once they are due."""
        self.chain.clock.advance(_DUE_MS)
        ids = [command.request_id for command in self.commands]
        self.commands = []
        return _numbers(self.chain.run(self.world.gateway, self.world.reclaiming(self.seal, *ids)))


def _numbers(receipt: Receipt) -> TransactionNumbers:
    numbers = receipt.transaction.numbers
    assert numbers is not None
    return numbers


def _storage(chain: Chain) -> Iterable[Number]:
    counting = Counting(chain)
    for name, attributes in (("read", READ), ("write", WRITE)):
        accepted = counting.submit(attributes)
        answered = counting.answer()
        yield Number(f"stored for a {name} that is accepted", accepted.stored_bytes, "bytes")
        both = accepted.stored_bytes + answered.stored_bytes
        yield Number(f"stored for a {name} that is answered", both, "bytes")
        reclaimed = counting.reclaim()
        left = both + reclaimed.stored_bytes
        yield Number(f"left of a {name} after it was reclaimed", left, "bytes")
        if name == "read":
            beside = accepted.transaction_bytes - sum(map(len, _SEALED))
            yield Number("transaction that submits a read, beside the ciphertext", beside, "bytes")
            inputs = accepted.shared_mutable_inputs, answered.shared_mutable_inputs
            yield Number("shared mutable inputs of a command", inputs[0], "inputs")
            yield Number("shared mutable inputs of an answer", inputs[1], "inputs")
    accepted = counting.submit(READ)
    answered = counting.answer(_LONGEST)
    both = accepted.stored_bytes + answered.stored_bytes
    yield Number("stored for a read that is answered by the longest reference", both, "bytes")


def _batches(chain: Chain) -> Iterable[Number]:
    """Transactions per command, and that the last reclaim leaves nothing of a whole run."""
    counting = Counting(chain)
    before = chain.ledger.final.metered_bytes
    transactions = _transactions(chain, lambda: (counting.submit(READ), counting.answer()))
    yield Number("transactions per command, answered alone", transactions, "transactions")

    def run() -> None:
        for _ in range(COMMANDS // BATCH):
            for _ in range(BATCH):
                counting.submit(READ)
            counting.answer(last=BATCH)

    per_command = _transactions(chain, run) / COMMANDS
    yield Number(f"transactions per command, {BATCH} answered at once", per_command, "transactions")
    # A call reclaims 64 at most: the one that was answered alone goes first.
    alone, counting.commands = counting.commands[:1], counting.commands[1:]
    reclaiming = _transactions(chain, counting.reclaim) / COMMANDS
    counting.commands = alone
    counting.reclaim()
    with_reclaim = per_command + reclaiming
    yield Number(
        f"transactions per command, {BATCH} answered and {COMMANDS} reclaimed at once",
        with_reclaim,
        "transactions",
    )
    left = chain.ledger.final.metered_bytes - before
    yield Number(f"left of {COMMANDS + 1} commands after the last reclaim", left, "bytes")


def _transactions(chain: Chain, run: Callable[[], object]) -> int:
    before = chain.ledger.counters.executed
    run()
    return chain.ledger.counters.executed - before


def _inline(chain: Chain) -> Iterable[Number]:
    """The contract's limit by trying it, the product's from its constant by sending that much."""
    counting = Counting(chain)
    for size in (_POLICY.max_inline_bytes, MAX_CIPHERTEXT_BYTES):
        counting.submit(READ, split_bytes(size))
        counting.answer(split_bytes(size))
    refused = counting.world.refuses(counting.seal, payload=split_bytes(_POLICY.max_inline_bytes + 1))
    assert refused == "EPayloadTooLarge"
    yield Number("largest ciphertext in a transaction, contract", _POLICY.max_inline_bytes, "bytes")
    yield Number("largest ciphertext in a transaction, gateway and listener", MAX_CIPHERTEXT_BYTES, "bytes")


def split_bytes(size: int) -> list[bytes]:
    """As many bytes in chunks, without the product's own limit."""
    whole = b"\x5a" * size
    return [whole[start : start + 16_000] for start in range(0, size, 16_000)]


def _money(chain: Chain) -> Iterable[Number]:
    for name, attributes in (("read", READ), ("write", WRITE)):
        counting = Counting(chain)
        submitted = [counting.submit(attributes).gas for _ in range(BATCH)]
        batch = counting.answer(last=BATCH).gas
        reclaimed = counting.reclaim().gas
        alone = counting.submit(attributes).gas, counting.answer().gas, counting.reclaim().gas
        yield Number(f"computation of a {name}, submission", alone[0].computation_cost, "MIST")
        yield Number(f"net cost of a {name}, submission", alone[0].net, "MIST")
        yield Number(f"net cost of a {name}, answer alone", alone[1].net, "MIST")
        yield Number(f"net cost of a {name}, answer in {BATCH}", batch.net / BATCH, "MIST")
        yield Number(f"net cost of a {name}, reclaim alone", alone[2].net, "MIST")
        yield Number(f"net cost of a {name}, reclaim in {BATCH}", reclaimed.net / BATCH, "MIST")
        yield Number(f"a {name} in the end, alone", sum(one.net for one in alone), "MIST")
        total = sum(one.net for one in (*submitted, batch, reclaimed))
        yield Number(f"a {name} in the end, in batches of {BATCH}", total / BATCH, "MIST")


def _events(chain: Chain) -> Iterable[Number]:
    for name, size in sorted(event_sizes(chain).items()):
        yield Number(f"event `{name}`", size, "bytes")


# The document


def render(numbers: Sequence[Number]) -> str:
    """The table."""
    rows = (f"| {number.what} | {number.text} | {number.unit} |" for number in numbers)
    return "\n".join([_HEADER, "|---|--:|---|", *rows, ""])


def documented() -> dict[str, tuple[str, str]]:
    """What the document says: what -> (how much, of what)."""
    rows = re.findall(
        r"^\| (.+?) \| (-?[\d,.]+) \| (\w+) \|$", _around(DOCUMENT.read_text())[1], re.MULTILINE
    )
    return {what: (amount, unit) for what, amount, unit in rows}


def _around(text: str) -> tuple[str, str, str]:
    """What stands before the table, the table, and what follows it."""
    start = text.index(_HEADER)
    end = text.find("\n\n", start)
    end = len(text) if end < 0 else end + 1
    return text[:start], text[start:end], text[end:]


def main() -> int:
    """Count, print the table and, unless told not to, write it into the document."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.contract_numbers", description=__doc__)
    parser.add_argument("--print-only", action="store_true", help="leave the document as it is")
    options = parser.parse_args()
    chain = Chain(CompiledPackage.from_json(BYTECODE.read_text()))
    try:
        table = render(count(chain))
    finally:
        chain.close()
    print(table, end="")
    if not options.print_only:
        before, _, after = _around(DOCUMENT.read_text())
        DOCUMENT.write_text(before + table + after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
