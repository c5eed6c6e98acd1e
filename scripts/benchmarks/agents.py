"""Two systems under test, each a number of real processes on this machine: meshnode, and HashiCorp's serf.

Both run at their default `lan` profile, which is memberlist's, and are observed alike: each agent's log comes through a
pipe, line by line. Starting is gentle, a few at a time. Every process is ended by its id, whatever happens.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import trio

from meshnode.calls import CreateToken, TokenCreated
from meshnode.errors import MeshError
from scripts.benchmarks.figures import BenchBroken
from scripts.benchmarks.machine import ROOT
from scripts.benchmarks.mesh import pid_of
from scripts.benchmarks.networks import Place
from scripts.benchmarks.sightings import Sightings, read_meshnode, read_serf
from scripts.localmesh import LocalNode, StartError

STARTING_MAX = 2
"""Agents that start at a time: more would starve those that are up already."""
WHOLE_S_MAX = 120.0
LINE_BYTES_MAX = 1 << 16
CHUNK_BYTES = 1 << 16
TAIL_LINES = 10


class System(Protocol):
    """A mesh of agents, by name. `start` returns once the agent runs; that it is known everywhere is seen later."""

    label: str
    sightings: Sightings

    @property
    def names(self) -> list[str]: ...

    async def start(self, name: str) -> None: ...

    def kill(self, name: str) -> None:
        """kill -9, by its id, where it runs."""
        ...

    def pid(self, name: str) -> int: ...


class _Logs:
    """Pipes that agents write their logs to. Every line is heard as it comes; the last ones are kept."""

    def __init__(self, nursery: trio.Nursery, sightings: Sightings) -> None:
        self._nursery = nursery
        self._sightings = sightings
        self._tails: dict[str, deque[str]] = {}

    def open(self, name: str) -> int:
        """The end for the agent to write to; ours to close once it has it."""
        self._sightings.forget(name)
        self._tails[name] = deque(maxlen=TAIL_LINES)
        ours, theirs = os.pipe()
        self._nursery.start_soon(self._follow, name, ours)
        return theirs

    def tail(self, name: str) -> str:
        return "\n".join(self._tails[name])

    async def _follow(self, name: str, descriptor: int) -> None:
        rest = b""
        async with trio.lowlevel.FdStream(descriptor) as stream:
            while chunk := await stream.receive_some(CHUNK_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    text = line.decode(errors="replace")
                    self._sightings.hear(name, text)
                    self._tails[name].append(text)
                rest = rest[-LINE_BYTES_MAX:]


class MeshnodeAgents:
    """Nodes of ours, without MCP and without handlers. The first makes the mesh, the others join it by token."""

    def __init__(self, directory: Path, places: Mapping[str, Place], nursery: trio.Nursery) -> None:
        self.label = "meshnode"
        self.sightings = Sightings(read_meshnode)
        self._logs = _Logs(nursery, self.sightings)
        self._nodes = {
            name: LocalNode(directory / name, name, ROOT, prefix=place.prefix) for name, place in places.items()
        }
        for name, place in places.items():
            # In its file, so that it holds for every start; the port of the first start is remembered beside it.
            self._nodes[name].configure(f'listen = "{place.host}:0"\n')
        self._join: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return list(self._nodes)

    async def start(self, name: str) -> None:
        """The first time it joins the mesh; started again, it finds it by itself, and listens where it did before."""
        node = self._nodes[name]
        # At this level it tells what it believes of each member, as serf does at `info`; below, what it publishes.
        flags = ("--log-level", "debug", *(() if node.starts else self._join))
        node.log_to = self._logs.open(name)
        try:
            await node.start(*flags)
        except StartError as error:
            raise BenchBroken(f"{error}{self._logs.tail(name)}") from error
        finally:
            os.close(node.log_to)
        if not self._join:
            outcome = await node.call(CreateToken(uses=max(1, len(self._nodes) - 1)))
            if not isinstance(outcome, TokenCreated):
                raise MeshError("no_token", f"The founder made no token: {outcome}.")
            self._join = ("--join", outcome.token)

    def kill(self, name: str) -> None:
        self._nodes[name].kill()

    def pid(self, name: str) -> int:
        return pid_of(self._nodes[name])


class SerfAgents:
    """Agents of serf, which write their log to stdout. The first is the seed of the others."""

    def __init__(self, program: Path, places: Mapping[str, Place], nursery: trio.Nursery) -> None:
        self.label = f"{_serf_version(program)}, packets not encrypted"
        self.sightings = Sightings(read_serf)
        self._logs = _Logs(nursery, self.sightings)
        self._program = program
        self._places = places
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        ports = _free_ports(2 * len(places))
        self._binds = {name: f"{place.host}:{ports.pop()}" for name, place in places.items()}
        self._calls = {name: f"127.0.0.1:{ports.pop()}" for name in places}

    @property
    def names(self) -> list[str]:
        return list(self._places)

    async def start(self, name: str) -> None:
        log = self._logs.open(name)
        try:
            self._spawn(name, log)
        finally:
            os.close(log)

    @trio.lowlevel.enable_ki_protection  # what was started is known, and ended
    def _spawn(self, name: str, log: int) -> None:
        seed = self.names[0]
        argv = [str(self._program), "agent", f"-node={name}", "-profile=lan", f"-bind={self._binds[name]}"]
        argv += [f"-rpc-addr={self._calls[name]}"]
        if name != seed:
            argv += [f"-retry-join={self._binds[seed]}", "-retry-interval=1s"]
        self._processes[name] = subprocess.Popen(
            [*self._places[name].prefix, *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def kill(self, name: str) -> None:
        process = self._processes.get(name)
        if process is not None:
            process.kill()
            process.wait()

    def pid(self, name: str) -> int:
        return self._processes[name].pid


def _serf_version(program: Path) -> str:
    try:
        done = subprocess.run(
            [program, "version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchBroken(f"{program} cannot be run: {error}") from None
    first = done.stdout.partition("\n")[0].strip()
    return first if first.lower().startswith("serf") else f"serf {first}".strip()


def _free_ports(count: int) -> list[int]:
    """Ports that nobody uses on loopback just now, for TCP or UDP."""
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            tcp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            tcp.bind(("127.0.0.1", 0))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports


@asynccontextmanager
async def running(make: Callable[[trio.Nursery], System]) -> AsyncIterator[System]:
    """A system whose agents all know each other. Raises `BenchBroken` where they do not meet."""
    async with trio.open_nursery() as logs:
        system = make(logs)
        try:
            await _start_all(system)
            await wait_until_whole(system)
            yield system
        finally:
            kill_all(system)
            logs.cancel_scope.cancel()


@trio.lowlevel.enable_ki_protection
def kill_all(system: System) -> None:
    """Every agent, though one may resist, and though whoever waits presses Ctrl-C once more."""
    with ExitStack() as stack:
        for name in system.names:
            stack.callback(system.kill, name)


async def _start_all(system: System) -> None:
    places = trio.CapacityLimiter(STARTING_MAX)

    async def start(name: str) -> None:
        async with places:
            await system.start(name)

    first, *others = system.names
    await start(first)
    async with trio.open_nursery() as nursery:
        for name in others:
            nursery.start_soon(start, name)


async def wait_until_whole(system: System) -> None:
    """Until every agent sees every other one alive. Raises `BenchBroken` where that takes too long."""
    if not await system.sightings.wait_for(lambda: system.sightings.whole(system.names), WHOLE_S_MAX):
        raise BenchBroken(f"{system.label}: not all agents saw all others alive within {WHOLE_S_MAX:.0f} s")
