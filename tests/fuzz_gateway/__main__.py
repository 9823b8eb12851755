"""``make fuzz-gateway``: hostile requests through gateway, an instant ledger and the listener.

``python -m tests.fuzz_gateway [--requests N] [--seed N]``; the same seed makes the same requests. A request
that breaks an invariant is made as small as it can be, and shown as the Python that sends it again. Then
sequences of requests while chain, seal and API server fail: one for every hundred requests.
"""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.fuzz_gateway.campaign import campaign
from tests.fuzz_gateway.play import stage

# A scene has some in which somebody waits for real.
REQUESTS_PER_SCENE = 100


def main() -> int:
    """Raises, with the request in the traceback's notes, if an invariant does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_gateway", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with campaign(seed) as running:
        print("\n".join(running.run(options.requests).lines()), flush=True)
    with stage() as playing:
        playing.run(options.requests // REQUESTS_PER_SCENE, seed)
        print("\n".join(playing.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
