"""A fixed number of worker processes, of which each runs one call at a time.

Processes, because the native VM holds Python's lock for the whole of a call.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from ..execution import MoveAbortError, MoveExecutionError
from .invocation import Result
from .linking import ModuleId
from .messages import HEADER, Aborted, Failed, Request, decode_payload, encode_frame, frame_length

_PACKAGE = __name__.rpartition(".")[0]


class WorkerDiedError(Exception):
    """The process ended before it answered."""


class Worker:
    """One process, started at its first call and again after it died."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._known: set[ModuleId] = set()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def run(self, request: Request, modules: Mapping[ModuleId, bytes]) -> object:
        """Send a request with the code that the process does not have yet.

        Raises:
            WorkerDiedError: it ended instead of answering.
        """
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        new = {one: modules[one] for one in request.modules if one not in self._known}
        try:
            process.stdin.write(encode_frame(replace(request, new_modules=new)))
            await process.stdin.drain()
            self._known |= new.keys()
            length = frame_length(await process.stdout.readexactly(HEADER.size))
            return decode_payload(await process.stdout.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            code = await self.stop()
            raise WorkerDiedError(f"the Move VM's process ended with code {code}") from error

    async def stop(self) -> int | None:
        """End the process, whatever it is doing; the exit code, if there was one."""
        process, self._process = self._process, None
        self._known = set()
        if process is None:
            return None
        if process.returncode is None:
            # Not process.kill(), which would reap a process that just died, before asyncio learns its code.
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        code = await process.wait()
        # Closes the pipes now instead of at some later garbage collection.
        process._transport.close()  # type: ignore[attr-defined]  # asyncio offers no other way
        return code

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is not None:
            await self.stop()
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"{_PACKAGE}.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,  # Ctrl-C is for the parent, which then closes the worker's input
            )
        return self._process


class WorkerPool:
    """Hands each call to an idle worker."""

    def __init__(self, workers: int, call_seconds: float) -> None:
        if workers < 1:
            raise ValueError("at least one worker is needed")
        self._all = [Worker() for _ in range(workers)]
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        for worker in self._all:
            self._idle.put_nowait(worker)
        self._call_seconds = call_seconds

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that run."""
        return [worker.pid for worker in self._all if worker.pid is not None]

    async def run(self, request: Request, modules: Mapping[ModuleId, bytes]) -> Result:
        """Run a request in the next idle worker.

        Raises:
            MoveAbortError: the code aborted.
            MoveExecutionError: the VM refused, took too long, or died.
        """
        worker = await self._idle.get()
        try:
            async with asyncio.timeout(self._call_seconds):
                reply = await worker.run(request, modules)
        except TimeoutError as error:
            await worker.stop()
            raise MoveExecutionError(
                f"the call did not end within {self._call_seconds:g} s (this VM does not meter gas)"
            ) from error
        except WorkerDiedError as error:
            raise MoveExecutionError(str(error)) from error
        except asyncio.CancelledError:
            await worker.stop()  # its answer would be taken for that of the next call
            raise
        finally:
            self._idle.put_nowait(worker)
        match reply:
            case Result():
                return reply
            case Aborted(module, code, function):
                raise MoveAbortError(module, code, function)
            case Failed(reason):
                raise MoveExecutionError(reason)
        raise MoveExecutionError("the Move VM's process gave no understandable answer")

    async def close(self) -> None:
        """End all workers."""
        await asyncio.gather(*(worker.stop() for worker in self._all))
