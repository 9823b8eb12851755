"""A local Sui: the real Move VM and compiler under a simulated ledger, spoken to over Sui's gRPC v2.

Real
    The Move compiler and the Move VM (``vm/``): bytecode, types, aborts, BCS of every value, dynamic fields.
    Transaction bytes, digests, signatures (ed25519, secp256k1, secp256r1 with low s), addresses, object ids,
    object digests, event digests, checkpoint digests: computed as Sui computes them.
    The gRPC services of ``sui.rpc.v2`` with their messages, read masks, cursors and status codes. Events over
    JSON-RPC and WebSocket too (``jsonrpc/``).

Simulated, in Python (``ledger/``)
    One process is the whole network: there are no validators, no consensus, no committee signatures. Finality
    and checkpoints are timers. Epochs change on demand only. The checks that validators make before and after
    execution (owners, versions, locks, shared objects, sizes, pure arguments) are written anew.
    Gas: computation is estimated from what the local VM reports of a call (``ledger/gas.py``); storage
    deposits follow Sui's formula.
    Upgrades of packages: versions, linkage, type origins and the rules of compatibility (``vm/versions.py``,
    ``bytecode/compatibility.py``); the VM runs what it is given under a package's first id.
    Coin commands, ``send_funds`` and ``redeem_funds`` are the ledger's, not the VM's.
    The Clock moves with the ledger's clock, and its version does not.

Not there (refused, never ignored)
    Sponsored transactions, multisig, zkLogin and passkeys, receiving objects, upgrades under another policy
    than ``compatible``, randomness, deny lists, party objects, staking, system transactions, authenticated
    event streams, resolution of incomplete transactions, gas reservations that pose as coins, values other
    than objects lent as ``&mut``.
    Services without a handler answer UNIMPLEMENTED.

Nothing here knows the contracts that run on it. State lives in memory and ends with the process.
"""
