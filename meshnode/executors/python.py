"""Python handlers: bodies in worker processes, started on demand, kept warm, and killed when they must stop.

- One run at a time in a worker; at most `concurrency` workers. The daemon never imports a body.
- A run that is cancelled, that crashes or that breaks the protocol costs its worker: the group is killed and reaped
  before the run is over, and the next run starts another. So no body runs on behind our back.
- Workers are replaced after RUNS_MAX runs (leaks end) and ended after IDLE_S without work (memory is given back).
"""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from pathlib import Path

import msgspec
import trio

from meshnode.config import PythonHandler
from meshnode.executors.bodies import failed
from meshnode.executors.process import (
    CHUNK_BYTES,
    REAP_S,
    Child,
    Tail,
    closed_environment,
    describe_exit,
    describe_spawn_failure,
    spawn,
)
from protocols.limits import DETAIL_CHARS_MAX
from protocols.tasks.task import BodyEnded, BodyStatus, RunBody

WORKER = Path(__file__).with_name("worker.py")
READY, BROKEN, OK, ERROR, OUTPUT_LIMIT = range(5)
"""Kinds of frames, as in worker.py."""
FRAME_SLACK_BYTES = 16 * 1024
"""What a frame may hold beside the output: a detail, and the envelope."""
IDLE_S = 60.0
IDLE_CHECK_S = 5.0
RUNS_MAX = 1000
RETIRE_S = 2.0
"""How long a worker may take to end by itself (exit handlers of the body's libraries)."""
PIPE_GRACE_S = 0.2
"""How long after a worker's death its pipe may stay open: a process that got away from the group may hold it."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, bytes, str]).decode


class WorkerLost(Exception):
    """The worker has closed its pipe."""


class WorkerBroken(Exception):
    """The worker sent something that is no answer."""


class Worker:
    """One process and its side of the protocol."""

    def __init__(self, child: Child, frame_bytes_max: int) -> None:
        self.child = child
        self.runs = 0
        self.idle_since = 0.0
        self.output = Tail()
        self.returncode: int | None = None
        self.gone = trio.Event()
        self._frame_bytes_max = frame_bytes_max
        self._buffer = b""

    async def send(self, request: tuple[str, int, bytes]) -> None:
        frame = _encode(request)
        try:
            await self.child.stdin.send_all(len(frame).to_bytes(4, "big") + frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WorkerLost from error

    async def receive(self) -> tuple[int, bytes, str]:
        """The next frame: kind, output, detail. Raises `WorkerLost`, `WorkerBroken`."""
        while len(self._buffer) < 4:
            self._buffer += await self._read()
        end = 4 + int.from_bytes(self._buffer[:4], "big")
        if end > self._frame_bytes_max:
            raise WorkerBroken
        while len(self._buffer) < end:
            self._buffer += await self._read()
        frame, self._buffer = self._buffer[4:end], self._buffer[end:]
        try:
            return _decode(frame)
        except msgspec.DecodeError as error:
            raise WorkerBroken from error

    async def _read(self) -> bytes | bytearray:
        try:
            chunk = await self.child.stdout.receive_some(CHUNK_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WorkerLost from error
        if not chunk:
            raise WorkerLost
        return chunk


class PythonExecutor:
    """Runs the bodies of one python handler. `serve` must run for `run` to work."""

    def __init__(self, handler: PythonHandler, workdir: Path) -> None:
        self._handler = handler
        self._workdir = workdir
        self._slots = trio.CapacityLimiter(handler.concurrency)
        self._idle: deque[Worker] = deque()
        """Most recently used last."""
        self._nursery: trio.Nursery | None = None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the workers until cancelled; every one of them is dead when this returns."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                while True:
                    await trio.sleep(IDLE_CHECK_S)
                    while self._idle and trio.current_time() - self._idle[0].idle_since > IDLE_S:
                        self._retire(self._idle.popleft())
            finally:
                self._nursery = None

    def resize(self, concurrency: int) -> None:
        self._slots.total_tokens = concurrency

    async def run(self, action: RunBody) -> BodyEnded:
        """One body to its end. Cancelled: the worker is killed and reaped first."""
        async with self._slots:
            worker = self._idle.pop() if self._idle else None
            if worker is None:
                started = await self._start()
                if isinstance(started, BodyEnded):
                    return started
                worker = started
            worker.output.clear()
            ended: BodyEnded | None = None
            try:
                await worker.send((action.task_id, action.attempt, action.payload.encode(errors="replace")))
                ended = self._ended(worker, *await worker.receive())
            except (WorkerLost, WorkerBroken) as error:
                return await self._crashed(worker, error)
            finally:
                if ended is None:
                    await self._destroy(worker)
            self._release(worker)
            return ended

    async def _start(self) -> Worker | BodyEnded:
        """A worker that has imported the body, or why there is none."""
        if self._nursery is None:
            return failed(BodyStatus.UNAVAILABLE, "This node is stopping, or has not started yet.")
        try:
            worker = await self._nursery.start(self._own)
        except (OSError, ValueError) as error:
            reason = describe_spawn_failure(error, sys.executable, self._handler.cwd)
            return failed(BodyStatus.UNAVAILABLE, reason)
        assert isinstance(worker, Worker)
        target, importable = self._handler.target, False
        try:
            kind, _, detail = await worker.receive()
            importable = kind == READY
        except (WorkerLost, WorkerBroken):
            detail = f"Its worker process {describe_exit(await self._wait_gone(worker))}."
        finally:
            if not importable:
                worker.output.catch_up(worker.child.stderr)
                await self._destroy(worker)
        if importable:
            return worker
        return failed(
            BodyStatus.UNAVAILABLE,
            f"{target} cannot be imported on this node: {detail}\nInstall what is missing for {sys.executable}, or "
            f"correct `target` or `cwd` of this handler ({self._handler.cwd} is searched first).",
            worker.output.text(DETAIL_CHARS_MAX),
        )

    async def _own(self, *, task_status: trio.TaskStatus[Worker]) -> None:
        """The life of one worker, from its start to its burial."""
        paths = list(dict.fromkeys((self._handler.cwd, os.fspath(self._workdir))))
        limit = self._handler.output_bytes_max
        child = await spawn(
            [sys.executable, "-P", os.fspath(WORKER), self._handler.target, str(limit), *paths],
            cwd=self._handler.cwd,
            env=closed_environment(self._handler.env, "PYTHONPATH", "VIRTUAL_ENV"),
        )
        worker = Worker(child, limit + FRAME_SLACK_BYTES)
        try:
            task_status.started(worker)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.output.follow, child.stderr)
                worker.returncode = await child.wait()
                nursery.cancel_scope.deadline = trio.current_time() + PIPE_GRACE_S
        finally:
            worker.returncode = await child.destroy()
            worker.gone.set()
            if worker in self._idle:
                self._idle.remove(worker)

    def _ended(self, worker: Worker, kind: int, output: bytes, detail: str) -> BodyEnded:
        if kind == OK:
            return BodyEnded(BodyStatus.OK, output=output.decode(errors="replace"))
        worker.output.catch_up(worker.child.stderr)
        status = BodyStatus.OUTPUT_LIMIT if kind == OUTPUT_LIMIT else BodyStatus.ERROR
        return failed(status, detail, worker.output.text(DETAIL_CHARS_MAX))

    async def _crashed(self, worker: Worker, error: Exception) -> BodyEnded:
        worker.output.catch_up(worker.child.stderr)
        if isinstance(error, WorkerBroken):
            reason = "wrote something else than an answer into the daemon's pipe, and was stopped"
        else:
            reason = f"{describe_exit(await self._wait_gone(worker))} under the body"
        reason = f"The worker process of {self._handler.target} {reason}."
        return failed(BodyStatus.CRASHED, reason, worker.output.text(DETAIL_CHARS_MAX))

    def _release(self, worker: Worker) -> None:
        worker.runs += 1
        worker.idle_since = trio.current_time()
        if worker.runs >= RUNS_MAX:
            self._retire(worker)
        elif not worker.gone.is_set():
            self._idle.append(worker)

    def _retire(self, worker: Worker) -> None:
        """Let a worker end by itself, in the background."""
        worker.child.stdin.close()
        if self._nursery is not None:
            self._nursery.start_soon(self._see_off, worker)

    async def _see_off(self, worker: Worker) -> None:
        with trio.move_on_after(RETIRE_S):
            await worker.gone.wait()
        worker.child.signal_group(signal.SIGKILL)

    async def _wait_gone(self, worker: Worker) -> int | None:
        """The exit status of a worker whose pipe has ended; it is killed if it lives on."""
        with trio.move_on_after(RETIRE_S):
            await worker.gone.wait()
        if not worker.gone.is_set():
            await self._destroy(worker)
        return worker.returncode

    async def _destroy(self, worker: Worker) -> None:
        """Kill the group and see that it is gone, whether cancelled or not."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * REAP_S):
            worker.child.signal_group(signal.SIGKILL)
            await worker.gone.wait()
