"""``make fuzz``: arbitrary calls of the contract's public functions, compared with a model of the rules.

``python -m tests.fuzz [--calls N] [--seed N]``; the same seed makes the same calls.
"""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.fuzz.campaign import Campaign


def main() -> int:
    """Exit code 1 if the contract and the model disagree about a call."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    campaign = Campaign(seed)
    try:
        report = campaign.run(options.calls)
    finally:
        campaign.close()
    print("\n".join(report.lines()))
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
