"""Real nodes on this machine, each a process of its own with a data directory, for the demo and for tests.

Processes are started in sessions of their own and are ended by process id, with everything that they started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import trio

from meshnode.calls import CallerCommand, CallerOutcome, CreateToken, TokenCreated
from meshnode.control.client import connect
from meshnode.errors import MeshError

READY_S_MAX = 60.0
STOP_S_MAX = 30.0
POLL_S = 0.02


class StartError(Exception):
    """A node did not come up; the text ends with what it wrote."""


@dataclass
class LocalNode:
    """One node on loopback. `start` waits until it serves; `ready` holds the fields of its ready line."""

    directory: Path
    name: str
    workdir: Path
    prefix: tuple[str, ...] = ()
    """Command that runs the node's, such as one that enters a network namespace. It must become the node's process."""
    log_to: int | None = None
    """File descriptor that takes the log instead of the file."""
    process: subprocess.Popen[bytes] | None = None
    ready: dict[str, str] = field(default_factory=dict)
    starts: int = 0

    @property
    def log_path(self) -> Path:
        return self.directory / "log"

    @property
    def ready_path(self) -> Path:
        return self.directory / "ready"

    def configure(self, toml: str) -> None:
        """Write the node's meshnode.toml."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "meshnode.toml").write_text(toml)

    async def start(self, *flags: str) -> None:
        """Run `meshnode up` with `flags` and wait for its ready line. Raises `StartError`."""
        process = self._spawn(*flags)
        with trio.move_on_after(READY_S_MAX):
            while process.poll() is None:
                line = self.ready_path.read_text()
                if line.endswith("\n"):
                    self.ready = dict(part.split("=", 1) for part in line.split() if "=" in part)
                    return
                await trio.sleep(POLL_S)
        raise StartError(f"{self.name} did not come up:\n{self.log_path.read_text()[-2000:]}")

    @trio.lowlevel.enable_ki_protection  # what was started is known, and ended
    def _spawn(self, *flags: str) -> subprocess.Popen[bytes]:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.starts += 1
        argv = [
            *self.prefix,
            sys.executable,
            "-m",
            "meshnode",
            "up",
            "--dir",
            str(self.directory),
            "--name",
            self.name,
            *flags,
        ]
        with open(self.ready_path, "wb") as out, open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log if self.log_to is None else self.log_to,
                cwd=self.workdir,
                start_new_session=True,
            )
        return self.process

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def call(self, command: CallerCommand) -> CallerOutcome:
        """One command over a connection of its own. Raises `MeshError` where no daemon answers."""
        async with connect(self.directory) as client:
            return await client.call(command)

    def kill(self) -> None:
        """kill -9: the node alone, as it may happen to one."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    async def stop(self) -> int:
        """SIGTERM, and SIGKILL where that takes too long, or is cancelled; returns the exit status."""
        process = self.process
        if process is None:
            return 0
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with trio.move_on_after(STOP_S_MAX):
                    await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
        finally:  # a second Ctrl-C leaves nobody behind
            self.kill()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


async def form_mesh(nodes: list[LocalNode], *flags: str) -> None:
    """Start the first node as the founder and let the others join it by token. Raises `StartError`, `MeshError`."""
    await nodes[0].start(*flags)
    outcome = await nodes[0].call(CreateToken(uses=max(1, len(nodes) - 1)))
    if not isinstance(outcome, TokenCreated):
        raise MeshError("no_token", f"The founder made no token: {outcome}.")
    async with trio.open_nursery() as nursery:
        for node in nodes[1:]:
            nursery.start_soon(node.start, "--join", outcome.token, *flags)


async def stop_all(nodes: list[LocalNode]) -> None:
    """Stop every node, even where the caller is being cancelled."""
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(node.stop)
