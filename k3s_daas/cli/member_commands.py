"""``daas gateway``, ``daas executor`` and ``daas key``."""

from __future__ import annotations

from pathlib import Path

from k3s_daas.admin.files import assert_writable, write_new_secret
from k3s_daas.admin.members import Announcement, plan_executor, plan_gateway
from k3s_daas.admin.trust import is_public_key_file, public_key_of
from k3s_daas.cli.console import say, say_done
from k3s_daas.cli.session import EXECUTOR_KEY_VARIABLE, Session
from k3s_daas.contract.reader import ContractReader
from k3s_daas.errors import ConfigurationError, SealedDataError
from k3s_daas.ids import to_hex
from k3s_daas.sealing import SealingPrivateKey, SealingPublicKey
from k3s_daas.sui.digests import address_of
from k3s_daas.sui.signers import FileSigner


async def run_gateway(session: Session) -> None:
    """Adds or removes a gateway."""
    administrator = session.administrator()
    cluster = await administrator.cluster()
    options = session.options
    await session.settle(administrator, plan_gateway(cluster, options.address, registered=options.registered))


async def run_executor(session: Session) -> None:
    """Adds or removes an executor; says what is left to do for it to serve."""
    administrator = session.administrator()
    cluster = await administrator.cluster()
    options = session.options
    changes = plan_executor(cluster, options.address, registered=options.registered)
    if await session.settle(administrator, changes) and options.registered:
        say(
            "next: announce its sealing key with daas executor rotate, and pin its public key with daas roots"
        )


async def run_rotate(session: Session) -> None:
    """Makes a new sealing key and announces it, signed and sent by the executor itself."""
    options = session.options
    if options.executor_key is None:
        raise ConfigurationError(
            f"no executor's key was named: say --executor-key FILE or set {EXECUTOR_KEY_VARIABLE}"
        )
    signer = session.signer(options.executor_key)
    deployment = session.deployment()
    reader = ContractReader(session.ledger, deployment.roots())
    await reader.confirm_chain()
    cluster = await reader.cluster()
    announcement = Announcement.following(cluster, signer.address)
    target: Path = options.sealing_key
    reused = _key_to_reuse(target, reuse=options.reuse)
    if reused and cluster.executors[signer.address].hpke_key == reused.public_bytes():
        say(f"the key in {target} is announced already, as generation {announcement.generation - 1}")
        return
    made = "announce the key in" if reused else "make a sealing key in"
    if not session.agreed(
        f"{made} {target} as generation {announcement.generation} of the executor {to_hex(signer.address)}"
    ):
        return
    key = reused or SealingPrivateKey.generate()
    if reused is None:
        # On disk before it is announced: a key that is announced and lost makes every command unreadable.
        write_new_secret(target, key.private_bytes().hex() + "\n")
    public = SealingPublicKey.from_bytes(key.public_bytes())
    payer = session.payer(options.executor_key)
    outcome = await payer.run(
        lambda builder: announcement.add_to(
            builder, deployment.package_latest, cluster, signer=signer, key=public
        )
    )
    say_done([outcome])
    say(f"sealing key {public.key_id.hex()}")
    say(f"next: restart the listener with {target}, then erase the old key's file")


def _key_to_reuse(target: Path, *, reuse: bool) -> SealingPrivateKey | None:
    """The key of an announcement that failed, or None for a new one, for which there is a place then."""
    if reuse:
        return read_sealing_key(target)
    if target.exists():
        raise ConfigurationError(
            f"{target} exists: name a new file, or say --reuse to announce the key in it "
            "(after an announcement that failed)"
        )
    assert_writable(target)
    return None


def read_sealing_key(path: Path) -> SealingPrivateKey:
    """A sealing key's file: its hex digits. Raises `ConfigurationError`, which never quotes the content."""
    try:
        return SealingPrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip()))
    except OSError as error:
        raise ConfigurationError(f"cannot read the sealing key {path}: {error.strerror}") from None
    except (ValueError, SealedDataError):
        raise ConfigurationError(f"{path} does not hold a sealing key in hex") from None


def run_key_generate(path: Path) -> None:
    """Makes a signing key for development and small installations."""
    try:
        signer = FileSigner.generate(path)
    except OSError as error:
        raise ConfigurationError(f"cannot make the key file {path}: {error.strerror}") from None
    _show(signer.public_key)


def run_key_show(path: Path) -> None:
    """Address and public key of a signing key's file, or of a public key that a KMS handed out."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read the key file {path}: {error.strerror}") from None
    if not is_public_key_file(data):
        _show(FileSigner.load(path).public_key)
        return
    try:
        _show(public_key_of(data))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _show(public_key: bytes) -> None:
    say(f"address    {to_hex(address_of(public_key))}")
    say(f"public key 0x{public_key.hex()}")
