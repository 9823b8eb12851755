"""A process that runs invocations, one after the other: ``python -m infra.local.sui.vm.worker``.

Frames come on standard input and go out on what standard output was at the start. The native library has
neither afterwards, nor standard error, so that nothing it prints gets anywhere. The process ends when its
input does.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import BinaryIO

from ..execution import MoveAbortError, MoveExecutionError
from .invocation import Invocation, invoke
from .linking import ModuleId
from .messages import HEADER, Aborted, Failed, Reply, Request, decode_payload, encode_frame, frame_length


@dataclass(slots=True)
class Runner:
    """What a worker remembers: code, and the field types that drivers borrowed. Neither changes a result."""

    modules: dict[ModuleId, bytes] = field(default_factory=dict)
    field_types: dict[tuple[tuple[ModuleId, ...], tuple[str, ...]], list[str]] = field(default_factory=dict)
    """By everything that is loaded: another version of a package may lack the types of this one."""

    def run(self, request: Request) -> Reply:
        self.modules.update(request.new_modules)
        invocation = Invocation(
            request.driver[1],
            [self.modules[module_id] for module_id in request.modules],
            request.type_arguments,
            request.arguments,
            request.frame,
            request.children,
        )
        known = self.field_types.setdefault((request.modules, request.type_arguments), [])
        try:
            return invoke(invocation, known)
        except MoveAbortError as abort:
            return Aborted(abort.module, abort.code, abort.function)
        except MoveExecutionError as error:
            return Failed(str(error))
        except BaseException as error:  # noqa: BLE001 - a panic of the native library is an answer too
            return Failed(f"the Move VM failed: {type(error).__name__}: {error}")


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    runner = Runner()
    while len(header := requests.read(HEADER.size)) == HEADER.size:
        request = decode_payload(requests.read(frame_length(header)))
        assert isinstance(request, Request)
        replies.write(encode_frame(runner.run(request)))
        replies.flush()


def main() -> None:
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    sys.stderr = os.fdopen(os.dup(2), "w")  # Python's own tracebacks are to be seen
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    _serve(requests, replies)


if __name__ == "__main__":
    main()
