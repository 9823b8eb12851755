"""What a worker process and its parent say to each other, and how it is framed: u32 length, then a pickle."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass

from ..execution import ObjectValue, TxFrame
from .invocation import Result
from .linking import ModuleId

HEADER = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Request:
    """An invocation by the names of its modules; ``new_modules`` are those that this worker has not seen."""

    driver: ModuleId
    modules: tuple[ModuleId, ...]
    new_modules: dict[ModuleId, bytes]
    type_arguments: tuple[str, ...]
    arguments: tuple[bytes, ...]
    frame: TxFrame
    children: dict[bytes, tuple[ObjectValue, ...]]


@dataclass(frozen=True, slots=True)
class Aborted:
    module: str
    code: int
    function: str | None


@dataclass(frozen=True, slots=True)
class Failed:
    reason: str


Reply = Result | Aborted | Failed


def encode_frame(message: object) -> bytes:
    payload = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return HEADER.pack(len(payload)) + payload


def frame_length(header: bytes) -> int:
    length: int = HEADER.unpack(header)[0]
    return length


def decode_payload(payload: bytes) -> object:
    return pickle.loads(payload)  # noqa: S301 - between a process and the child that it started
