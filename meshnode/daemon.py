"""The daemon: one node on this machine, wired together (DESIGN 2).

One nursery tree: executors, transport, driver, control socket and, where it is asked for, MCP over HTTP. The order of
start is the order of need: nobody can ask before the node's new generation is durable, and `ready` is printed last.
SIGTERM and SIGINT leave the mesh gracefully and then stop; a second one stops at once, which is as safe as kill -9.
SIGHUP reads the configuration again (`meshnode/reload.py`).
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, cast

import trio
from msgspec.structs import replace

from meshnode.admission import Admission, Entry, admission_of, enter_mesh
from meshnode.calls import CallerCommand, CallerOutcome, CreateToken, Inspect, Inspection, Reload
from meshnode.config import Config, load_config, parse_address, remember_listen
from meshnode.datadir import DataDir, read_note, write_note
from meshnode.driver import Driver
from meshnode.errors import ExitCode, MeshError
from meshnode.executors.pool import Executors
from meshnode.fact_log import FactLog
from meshnode.joining import JoinReply, JoinRequest
from meshnode.logs import Log, configure_logs
from meshnode.machine import report_machine, resident_bytes
from meshnode.namesakes import identity_in_use, name_taken
from meshnode.reload import Reloader
from meshnode.signing import IdentitySigner
from meshnode.storage import Storage
from meshnode.transport.transport import Transport
from meshnode.transport.twins import Twin
from protocols.config import NodeConfig
from protocols.core import Action, Endpoint, Fact, Message, NodeId, Received, Result
from protocols.keyring.keeper import keyring_at_start
from protocols.keyring.ring import KEY_BYTES, first_keyring, held, key_id
from protocols.keyring.views import AddKey, KeysChanged, TellKeys
from protocols.membership.facts import JoinedMesh, NameConflict, NodeStarted
from protocols.membership.hints import Hint, HungUp, Suggest, Suggested
from protocols.membership.member import State
from protocols.membership.views import Leave, Left
from protocols.node import VERSION, Node, saved_generation
from protocols.reconfiguring import Reconfigure
from protocols.tasks.task import RunBody, Submit
from protocols.tools import ListLocalTools

if TYPE_CHECKING:
    from meshnode.cli.options import UpOptions

LEAVE_S_MAX = 5.0
"""How long a graceful stop may take before the node stops all the same."""
NAME_CHECK_S = 10.0
"""A node that finds its name taken before anybody has answered it, within this time of its start, is the newcomer and
gives way. One that belongs to a mesh already is not driven out of it by a later namesake."""
SEEDS_TOLD_MAX = 4
"""Addresses in a join token."""
SERVING_S_MAX = 30.0
"""How long the first save may take before the start is given up."""

log = Log(__name__)


def run_daemon(options: UpOptions) -> int:
    """Run a node until it leaves or is stopped. Returns an exit status; raises `MeshError` where it can not start."""
    configure_logs(options.log_level)
    directory = DataDir(options.directory)
    directory.create()
    with directory.acquire():
        try:
            return trio.run(_run, directory, _load(options), options)
        except BaseExceptionGroup as group:
            raise _first_cause(group) from group


def _load(options: UpOptions) -> Config:
    """What the file, the environment and the flags of this start say now. Raises `MeshError`."""
    return load_config(
        options.directory,
        name=options.name,
        listen=options.listen,
        advertise=options.advertise,
        mcp=options.mcp,
        metrics=options.metrics,
        zeroconf=options.zeroconf,
        seeds=options.seeds or None,
        tags=options.tags or None,
    )


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a nursery wrapped: the `MeshError` that made it stop, if there is one."""
    errors = group.subgroup(MeshError) or group
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


async def _run(directory: DataDir, config: Config, options: UpOptions) -> int:
    entry = await enter_mesh(directory, config, join=options.join, name=options.name)
    storage = Storage.open(directory.database)
    try:
        daemon = Daemon(directory, config, entry, storage, load=partial(_load, options))
        return await daemon.run(partial(_print_ready, as_json=options.json))
    finally:
        storage.close()


def _print_ready(daemon: Daemon, *, as_json: bool) -> None:
    fields = {
        "name": daemon.entry.name,
        "id": daemon.entry.identity.node_id,
        "listen": daemon.address,
        "mcp": daemon.mcp_url or "off",
    }
    if daemon.metrics_url:
        fields["metrics"] = daemon.metrics_url
    if as_json:
        line = json.dumps({"ready": True, **fields})
    else:
        line = "ready " + " ".join(f"{key}={value}" for key, value in fields.items())
    try:
        print(line, flush=True)
    except OSError as error:
        # Whoever started the node does not listen, or the disk of what it keeps is full: no reason to stop the node.
        log.warning("the ready line could not be written", error=error.strerror or str(error))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # takes what the stream has buffered, at the latest when the process ends
        os.close(nowhere)


class Daemon:
    """One node and its parts. Answers callers (`meshnode.calls.Caller`)."""

    def __init__(
        self, directory: DataDir, config: Config, entry: Entry, storage: Storage, *, load: Callable[[], Config]
    ) -> None:
        self.directory = directory
        self.config = config
        self.mcp_url = ""
        self.metrics_url = ""
        self._storage = storage
        self._saved = storage.load()
        self._keyring = keyring_at_start(first_keyring(entry.secrets.keyring), self._saved)
        keys = tuple(key.secret for key in held(self._keyring))
        self.entry = dataclasses.replace(entry, secrets=dataclasses.replace(entry.secrets, keyring=keys))
        self._executors = Executors(config)
        self._reloader = Reloader(load, config, self._executors, self._request)
        self._transport: Transport | None = None
        self._driver: Driver | None = None
        self._admission: Admission | None = None
        self._node: Node | None = None
        self._serving = trio.Event()
        self._stop = trio.Event()
        self._gives_way: MeshError | None = None
        self._fact_log = FactLog(log, entry.identity.node_id, entry.name)
        self._joined = False
        self._started_at = time.monotonic()
        self._started_unix_s = round(time.time(), 3)

    @property
    def address(self) -> str:
        """`host:port` that peers are told."""
        assert self._transport is not None
        return self._transport.address

    async def run(self, on_ready: partial[None]) -> int:
        """Serve until left or stopped. Raises `MeshError` where a part can not start."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_signals)
            nursery.start_soon(self._reloader.watch_hangups)
            await nursery.start(self._executors.run)
            transport = self._bind_transport()
            await nursery.start(transport.run)
            self._transport = transport
            await self._look_for_twin(transport)
            self._driver = self._make_driver(transport)
            await nursery.start(self._driver.run)
            await self._wait_until_serving()
            nursery.start_soon(self._reloader.serve)
            nursery.start_soon(report_machine, self._driver)
            socket = self.directory.control_socket(serving=True)
            await self._serve_callers(nursery, socket)
            if self.config.zeroconf:
                nursery.start_soon(self._discover)
            gc.collect()
            gc.freeze()
            on_ready(self)
            await self._stop.wait()
            nursery.cancel_scope.cancel()
        if self._gives_way is not None:
            raise self._gives_way
        return ExitCode.OK

    async def _look_for_twin(self, transport: Transport) -> None:
        """Before anything is said to the mesh: whether this node still runs where it ran last, as in a directory that
        was copied. Raises `MeshError("identity_in_use")`."""
        note = self.directory.address_note
        last = read_note(note)
        # Its own present address leads elsewhere only where it was told to peers by hand: the copy was told so too.
        if last and (last != transport.address or self.config.advertise):
            await transport.greet(last)
        if self._gives_way is not None:
            raise self._gives_way
        if last != transport.address:
            write_note(note, transport.address)

    def _bind_transport(self) -> Transport:
        """Take the listening port; one that was only remembered from last time may be replaced by a free one."""
        host, port = parse_address(self.config.listen)
        self._admission = admission_of(
            self.directory,
            self.entry.identity,
            self.entry.secrets,
            name_in_use=self._name_in_use,
            seeds=self._seeds_for_newcomers,
        )
        try:
            transport = self._make_transport((host, port))
            transport.bind()
        except MeshError as error:
            if error.code != "port_busy" or not self.config.listen_remembered:
                raise
            log.warning("the port of the last start is taken, choosing another", listen=self.config.listen)
            transport = self._make_transport((host, 0))
            transport.bind()
        remember_listen(self.directory.root, transport.bound, self.config.advertise)
        return transport

    def _make_transport(self, listen: tuple[str, int]) -> Transport:
        return Transport(
            self.entry.identity,
            self.entry.secrets,
            listen=listen,
            advertise=self.config.advertise or None,
            on_message=self._on_message,
            on_drop=self._on_drop,
            on_unknown_key=self._on_unknown_key,
            on_join=self._let_in if self._admission else None,
            on_twin=self._on_twin,
            on_hung_up=self._on_hung_up,
            generation=saved_generation(self._saved) + 1,
        )

    def _make_driver(self, transport: Transport) -> Driver:
        node_config = NodeConfig(
            node_id=self.entry.identity.node_id,
            name=self.entry.name,
            mesh=self.entry.secrets.mesh,
            address=transport.address,
            seeds=tuple(dict.fromkeys((*self.config.seeds, *self.entry.seeds))),
            handlers=self._executors.capabilities,
            zone=self.config.zone,
            weight=self.config.weight,
            tags=self.config.tags,
            swim=self.config.swim,
            keyring=self._keyring,
            signer=IdentitySigner(self.entry.identity, self.entry.secrets.mesh),
        )
        self._node = Node(node_config, self._saved, SystemRandom())
        self._joined = self._node.membership.joined
        self._saved = []
        return Driver(
            self.entry.identity.node_id,
            transport.address,
            self._node,
            disk=self._storage,
            send=transport.send,
            perform=self._perform,
            on_fact=self._on_fact,
        )

    async def _wait_until_serving(self) -> None:
        with trio.move_on_after(SERVING_S_MAX):
            await self._serving.wait()
            return
        raise MeshError(
            "storage_failed",
            f"The node's first record could not be written to {self.directory.root} within {SERVING_S_MAX:.0f} s.",
            "Free or repair the disk, then start the node again. Nothing is lost.",
        )

    async def _serve_callers(self, nursery: trio.Nursery, socket: Path) -> None:
        from meshnode.control.server import serve_control

        await nursery.start(serve_control, socket, self)
        if self.config.mcp == self.config.metrics == "off":
            return
        from meshnode.mcp.http import serve_http, serve_metrics

        if self.config.metrics != "off":
            self.metrics_url = await nursery.start(partial(serve_metrics, self, port=self.config.metrics))
        if self.config.mcp != "off":
            token = self.directory.read_or_create_mcp_token()
            serve = partial(serve_http, self, port=self.config.mcp, token=token, node_name=self.entry.name)
            self.mcp_url = await nursery.start(serve)

    async def _discover(self) -> None:
        """Announce this node on the LAN and suggest to the core whom it may find there, until cancelled."""
        from meshnode.discovery.lan import Discovery, announced_as

        assert self._transport is not None
        identity = self.entry.identity
        announced = announced_as(
            identity.node_id,
            self.entry.secrets.mesh,
            identity.ca_fingerprint,
            bound=self._transport.bound,
            address=self._transport.address,
        )
        await Discovery(announced, self._suggest).run()

    async def _suggest(self, hints: tuple[Hint, ...]) -> int:
        """How many of `hints` are worth a try."""
        assert self._driver is not None
        outcome = await self._driver.request(Suggest(hints))
        return outcome.taken if isinstance(outcome, Suggested) else 0

    async def _watch_signals(self) -> None:
        for handled in (signal.SIGTERM, signal.SIGINT):
            # What holds again once nobody listens below: an impatient third one must not cut the closing short.
            signal.signal(handled, signal.SIG_IGN)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                if not self._serving.is_set() or self._stop.is_set():
                    break
                log.info("leaving the mesh; once more to stop at once", signal=signal.Signals(number).name)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._leave, nursery)
                    async for _ in signals:
                        break
                    nursery.cancel_scope.cancel()
                break
        if not self._serving.is_set():
            raise MeshError("interrupted", "Stopped before the node was up.", "", ExitCode.INTERRUPTED)
        self._stop.set()

    async def _leave(self, nursery: trio.Nursery) -> None:
        assert self._driver is not None
        with trio.move_on_after(LEAVE_S_MAX):
            await self._driver.request(Leave())
        nursery.cancel_scope.cancel()

    # From the parts.

    async def _let_in(self, request: JoinRequest) -> JoinReply:
        """For the join desk: whoever knocks waits until this node knows that it is no copy of another, and serves."""
        assert self._admission is not None
        await self._serving.wait()
        return await self._admission.on_join(request)

    def _on_message(self, sender: Endpoint, message: Message) -> None:
        if self._driver is not None:
            self._driver.feed(Received(sender, message))

    def _on_hung_up(self, peer: NodeId) -> None:
        if self._driver is not None:
            self._driver.tell(HungUp(peer))

    def _on_drop(self, reason: str) -> None:
        log.debug("dropped", reason=reason)

    def _on_unknown_key(self, sender: NodeId) -> None:
        # Whoever is no member, or makes senders up, costs no step of the core.
        if self._driver is not None and self._node is not None and self._node.swim.table.get(sender) is not None:
            self._driver.tell(TellKeys(sender))

    async def _perform(self, action: Action) -> Result:
        match action:
            case RunBody():
                return await self._executors.perform(action)
            case ListLocalTools():
                return await self._executors.list_tools(action.query)
            case _:
                raise AssertionError(f"no executor for {type(action).__name__}")

    def _on_fact(self, fact: Fact) -> None:
        match fact:
            case NodeStarted():
                if self._serving.is_set() and self._transport is not None:
                    log.warning("an older life of this node was outgrown", generation=fact.generation)
                    self._transport.renew(fact.generation)
                self._serving.set()
            case NameConflict():
                self._on_name_conflict(fact)
            case JoinedMesh():
                self._joined = True
                log.info("joined the mesh", via=fact.via[:8])
            case KeysChanged():
                self._rekey(fact)
            case _:
                self._fact_log.write(fact)

    def _rekey(self, changed: KeysChanged) -> None:
        """What seals and opens packets from now on, and what newcomers are given."""
        assert self._transport is not None
        self._transport.rekey(changed.keys, changed.retiring)
        if self._admission is not None:
            self._admission.rekey(changed.keys)
        log.info("packet keys", held=len(changed.keys), primary=key_id(changed.keys[0]).hex())

    def _on_name_conflict(self, conflict: NameConflict) -> None:
        log.error("another node has this node's name", name=self.entry.name, other=conflict.other, at=conflict.address)
        if not self._joined and time.monotonic() - self._started_at < NAME_CHECK_S:
            self._gives_way = name_taken(self.entry.name, conflict)
            self._stop.set()

    def _on_twin(self, twin: Twin) -> None:
        """Another process has this node's identity: the later one stops, without a word to the mesh."""
        if not twin.is_earlier:
            log.error("another process has this node's identity; it came later and was told to stop", at=twin.address)
            return
        self._gives_way = identity_in_use(self.entry, self.directory, twin)
        self._stop.set()

    def _name_in_use(self, name: str) -> str | None:
        """The id of the member that has the name, for the join desk."""
        if self._node is None:
            return None
        for member in self._node.members():
            if member.alive.profile.name == name and member.state <= State.SUSPECT:
                return member.alive.node_id
        return None

    def _seeds_for_newcomers(self) -> tuple[str, ...]:
        """This node first, then a few live ones, in case it is away when the newcomer comes."""
        others = [m.alive.profile.address for m in self._node.members() if m.state is State.ALIVE] if self._node else []
        return tuple(dict.fromkeys((self.address, *others)))[:SEEDS_TOLD_MAX]

    # Callers.

    async def call(self, command: CallerCommand) -> CallerOutcome:
        """Carry out a command of a caller on this machine."""
        match command:
            case CreateToken():
                return await self._create_token(command)
            case Inspect():
                return self._inspect()
            case Reload():
                return await self._reloader.reload()
            case Leave():
                outcome = await self._request(command)
                if isinstance(outcome, Left):
                    self._stop.set()
                return outcome
            case AddKey() if not command.secret:
                return await self._request(replace(command, secret=secrets.token_bytes(KEY_BYTES)))
            case Submit() if not command.submitted_unix_ms:
                return await self._request(replace(command, submitted_unix_ms=time.time_ns() // 1_000_000))
            case _:
                return await self._request(command)

    def _request(self, command: CallerCommand | Reconfigure) -> Awaitable[CallerOutcome]:
        assert self._driver is not None
        return cast(Awaitable[CallerOutcome], self._driver.request(command))

    async def _create_token(self, command: CreateToken) -> CallerOutcome:
        if self._admission is None:
            raise MeshError(
                "not_founder",
                "This node does not hold the key of the mesh's certificate authority, so it can not make tokens.",
                "Run `meshnode token` on the node that made the mesh (`meshnode init`).",
            )
        await self._serving.wait()
        return await self._admission.create_token(command)

    def _inspect(self) -> Inspection:
        assert self._transport is not None
        assert self._driver is not None
        times = os.times()
        return Inspection(
            pid=os.getpid(),
            version=VERSION,
            rss_bytes=resident_bytes(),
            mcp_url=self.mcp_url,
            drops=dict(self._transport.drops),
            saves=self._driver.saves,
            commits=self._driver.commits,
            streams_open=self._transport.streams_open,
            traffic=self._transport.traffic.by_type(),
            commit_s=round(self._driver.commit_s, 3),
            cpu_s=times.user + times.system,
            started_unix_s=self._started_unix_s,
            metrics_url=self.metrics_url or self.mcp_url.replace("/mcp", "/metrics"),
        )
