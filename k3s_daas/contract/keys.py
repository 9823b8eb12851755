"""The keys that bodies are sealed for: what an executor signs when it announces one, and whether one counts.

The chain keeps the announced key with its signature, and does not check it; whoever seals does. The signature
is the executor's Sui signature over a personal message, and the message is the BCS of::

    struct { domain: vector<u8>, cluster: address, executor: address, generation: u64, hpke_key: vector<u8> }
"""

from __future__ import annotations

from k3s_daas.bcs import Writer
from k3s_daas.contract.objects import ExecutorState
from k3s_daas.errors import ConfigurationError, SealedDataError, UntrustedKeyError, WireFormatError
from k3s_daas.ids import to_hex
from k3s_daas.roots import TrustRoots
from k3s_daas.sealing import SealingPublicKey
from k3s_daas.sui.signers import verify_personal_message

KEY_DOMAIN = b"k3s-daas/hpke-key/v1"


def announcement(cluster: bytes, executor: bytes, generation: int, hpke_key: bytes) -> bytes:
    """The message that an executor signs to announce a key as its `generation`-th for a cluster."""
    writer = Writer().byte_vector(KEY_DOMAIN).address(cluster).address(executor)
    return writer.u64(generation).byte_vector(hpke_key).finish()


def announced_key(executor: ExecutorState, roots: TrustRoots) -> SealingPublicKey:
    """The key that an executor of the pinned cluster announced, if its pinned signing key signed it.

    Raises `ConfigurationError` if the executor is not pinned, `UntrustedKeyError` if it has announced no key,
    or the key or its signature is not well-formed, or the signature is another one's.
    """
    pinned = roots.executors.get(executor.address)
    name = to_hex(executor.address)
    if pinned is None:
        raise ConfigurationError(f"the executor {name} is not among the trust roots: add its public key")
    if executor.generation == 0:
        raise UntrustedKeyError(f"the executor {name} has announced no sealing key: start its listener")
    message = announcement(roots.cluster, executor.address, executor.generation, executor.hpke_key)
    try:
        verify_personal_message(message, executor.signature, pinned)
        return SealingPublicKey.from_bytes(executor.hpke_key)
    except (WireFormatError, SealedDataError) as error:
        raise UntrustedKeyError(
            f"generation {executor.generation} of the executor {name}'s sealing key does not count: {error}"
        ) from error
