"""Where generations are kept: the port, and the one Secret of the listener's namespace behind it.

The Secret is made by whoever sets the namespace up (`infra/kubernetes/rbac.py`): the listener may read and
replace it, and nothing else. Each executor of a cluster on a chain has an entry of its own in it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Protocol

from k3s_daas.errors import ConfigurationError
from listener_service.keys.generations import Generations, decode, encode
from listener_service.kube_objects import (
    Json,
    KubeForbiddenError,
    KubeObjects,
    KubeRefusedError,
    ObjectChangedError,
)

SECRET_NAME = "daas-listener-keys"  # noqa: S105  the name of a Secret
ROTATE = "daas.io/rotate-key"
"""Annotation with which an operator asks for a new key now; the listener takes it away."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was read: the generations, whether an operator asks for a new one, and the version read."""

    generations: Generations
    rotation_asked: bool
    version: str


class GenerationStore(Protocol):
    """The generations of one executor.

    1. `read` tells the state at a moment after it was called.
    2. `replace` succeeds only if nobody wrote since `kept` was read, else `ObjectChangedError`. What it
       returns is durable. With `answered` a rotation that was asked for counts as done, in the same write.
    3. After a `KubeUnavailableError` of `replace` it may have taken effect, also later.
    4. Both raise `ConfigurationError` if a person is needed.
    """

    async def read(self) -> Kept:
        """The present state."""
        ...

    async def replace(self, kept: Kept, generations: Generations, *, answered: bool = False) -> Kept:
        """As stored."""
        ...


class SecretStore:
    """`GenerationStore` in a Secret. `entry` is its key in there. Every method may raise `KubeError`:
    `KubeForbiddenError`, too, which passes when an API server has restarted, or when its manifests are there.
    """

    def __init__(self, objects: KubeObjects, namespace: str, entry: str) -> None:
        self._objects = objects
        self._target = f"/api/v1/namespaces/{namespace}/secrets/{SECRET_NAME}"
        self._namespace = namespace
        self._entry = entry

    async def read(self) -> Kept:
        return self._kept(await self._get())

    async def replace(self, kept: Kept, generations: Generations, *, answered: bool = False) -> Kept:
        # Read again for what is not ours in it: labels, annotations, the entries of other executors.
        found = await self._get()
        metadata = found["metadata"]
        if metadata.get("resourceVersion") != kept.version:
            raise ObjectChangedError(409, f"somebody wrote the Secret {SECRET_NAME} in between")
        if answered:
            metadata.get("annotations", {}).pop(ROTATE, None)
        found["data"] = {
            **(found.get("data") or {}),
            self._entry: base64.b64encode(encode(generations)).decode(),
        }
        try:
            return self._kept(await self._objects.replace(self._target, found))
        except ObjectChangedError:
            raise
        except KubeRefusedError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Ends the threads and connections behind it."""
        self._objects.close()

    async def _get(self) -> Json:
        try:
            return await self._objects.get(self._target)
        except KubeRefusedError as error:
            raise self._refused(error) from error

    def _refused(self, error: KubeRefusedError) -> ConfigurationError | KubeForbiddenError:
        advice = "apply its manifests, which make the Secret and let the listener get and update it"
        if isinstance(error, KubeForbiddenError):
            return KubeForbiddenError(error.status, f"{error.message}: if this goes on, {advice}")
        return ConfigurationError(
            f"the listener cannot use the Secret {SECRET_NAME} in {self._namespace} ({error}): {advice}"
        )

    def _kept(self, found: Json) -> Kept:
        metadata = found.get("metadata") or {}
        asked = ROTATE in (metadata.get("annotations") or {})
        text = (found.get("data") or {}).get(self._entry)
        try:
            content = None if text is None else base64.b64decode(text, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise ConfigurationError(f"the entry {self._entry} of {SECRET_NAME} is not base64") from None
        generations = Generations() if content is None else decode(content)
        return Kept(generations, asked, str(metadata.get("resourceVersion", "")))
