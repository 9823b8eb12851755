"""Keeps the ClusterRole of whom the listener may impersonate what the chain says: owners of live seals as
users, roles as groups.

The ClusterRole also carries, as annotations, which seals were live and up to which checkpoint the chain was
read, so that the next run reads on from there. Whoever may write it can make the listener impersonate
anybody: it is an administrator's object.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from k3s_daas.admin.listener_rbac import Manifest, impersonator, owner_user
from k3s_daas.admin.seal_owners import SealHistory, SealOwners
from k3s_daas.sui.ledger import ForgedReplyError

SEALS_ANNOTATION = "daas.io/live-seals"
UNTIL_ANNOTATION = "daas.io/read-until-checkpoint"

_ID_BYTES = 32
# Kubernetes takes 256 KiB of annotations; more seals than these are found by reading the whole history.
_MAX_SEALS_CHARS = 240 * 1024
# A checkpoint that is noted this much later is worth no write of its own (hours, at four a second).
_NOTE_EVERY_CHECKPOINTS = 50_000


@dataclass(frozen=True, slots=True)
class Difference:
    """What a sync changes: names to add and to remove. `needed` is also true for a note that is too old."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    needed: bool

    def lines(self) -> list[str]:
        """One line for each name, for people."""
        return [f"+ {name}" for name in self.added] + [f"- {name}" for name in self.removed]


def wanted_role(found: SealOwners, roles: Iterable[str]) -> Manifest:
    """The ClusterRole as it has to be, with its note of the history.

    Raises `ForgedReplyError` for a role whose name the contract would never have taken.
    """
    try:
        manifest = impersonator(map(owner_user, found.owners), roles)
    except ValueError as error:
        raise ForgedReplyError(f"the chain does not have what the endpoint says: {error}") from None
    seals = base64.b64encode(b"".join(sorted(found.history.seals))).decode()
    if len(seals) <= _MAX_SEALS_CHARS:
        manifest["metadata"]["annotations"] = {
            SEALS_ANNOTATION: seals,
            UNTIL_ANNOTATION: str(found.history.until),
        }
    return manifest


def known_history(current: Manifest | None) -> SealHistory | None:
    """The history that an earlier run has noted; None if there is none, or it is damaged."""
    notes = {} if current is None else current["metadata"].get("annotations") or {}
    until, text = notes.get(UNTIL_ANNOTATION, ""), notes.get(SEALS_ANNOTATION)
    if text is None or not (until.isascii() and until.isdecimal()):
        return None
    try:
        seals = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    if len(seals) % _ID_BYTES:
        return None
    ids = (seals[start : start + _ID_BYTES] for start in range(0, len(seals), _ID_BYTES))
    return SealHistory(frozenset(ids), int(until))


def difference(current: Manifest | None, wanted: Manifest) -> Difference:
    """What applying `wanted` over `current` changes."""
    before, after = _names(current), _names(wanted)
    return Difference(
        tuple(sorted(after - before)),
        tuple(sorted(before - after)),
        current is None or current.get("rules") != wanted["rules"] or _note_is_old(current, wanted),
    )


def _names(manifest: Manifest | None) -> set[str]:
    """`user X`, `group Y` and the like, for everything that may be impersonated."""
    rules: Sequence[Manifest] = [] if manifest is None else manifest.get("rules") or []
    found: set[str] = set()
    for rule in rules:
        for resource in rule.get("resources", []):
            kind = resource.removesuffix("s") if resource in ("users", "groups") else resource
            found |= {f"{kind} {name}" for name in rule.get("resourceNames") or ["(any)"]}
    return found


def _note_is_old(current: Manifest, wanted: Manifest) -> bool:
    known, new = known_history(current), known_history(wanted)
    if known is None or new is None:
        return known != new
    return known.seals != new.seals or abs(new.until - known.until) >= _NOTE_EVERY_CHECKPOINTS
