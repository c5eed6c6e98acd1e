"""What a checker is: one property, watched from outside of the nodes.

A checker never changes what it watches and never draws from a random stream: with or without it, a run is the same run.
It says what it has seen through `violated`; it does not raise. Cost is part of the contract: hooks that a checker does
not override are never called, facts are handed out by type, and what is expensive belongs into `finish`.

Safety is judged as things happen and in `finish`. Liveness is judged in the settling phase, after the faults: the run
goes on while any checker's `waits_for` names something that is still missing, and past its `deadline` that is a
violation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct

from protocols.core import NANOS_PER_MS, Command, Fact, Instant, Message, Outcome, Record, Save
from protocols.membership.messages import Ack, Gossip, Ping, PingReq
from protocols.tasks.task import RunBody

if TYPE_CHECKING:
    from sim.process import Process
    from sim.world import World


class Violation(Struct, frozen=True):
    """A property that did not hold: `time_s` in virtual seconds, `node` by name (empty: the mesh as a whole)."""

    property: str
    time_s: float
    node: str
    text: str


class Checker:
    """Base of all checkers. `name` is the property, as reports name it; `facts` and `messages` list the types that
    `on_fact` and `on_message` want, and `news` those that `on_message` wants only where they bring updates."""

    name: ClassVar[str]
    facts: ClassVar[tuple[type[Fact], ...]] = ()
    messages: ClassVar[tuple[type[Message], ...]] = ()
    news: ClassVar[tuple[type[Ping | PingReq | Ack | Gossip], ...]] = ()

    def __init__(self, world: World) -> None:
        self.world = world
        self._core_since: Instant = -1

    def violated(self, now: Instant, process: Process | None, text: str) -> None:
        """The property does not hold; `process` is the node at which that shows (None: the mesh)."""
        self.world.watch.violated(self.name, now, "" if process is None else process.name, text)

    # Safety: told as it happens.

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        """A node told a fact of one of the types in `facts`."""

    def on_message(self, now: Instant, process: Process, message: Any) -> None:
        """A node handled a message of one of the types in `messages`, or one with updates of those in `news`."""

    def on_durable(self, now: Instant, process: Process, records: tuple[Record, ...]) -> None:
        """Records have become durable."""

    def on_save(self, now: Instant, process: Process, save: Save) -> None:
        """A node hands a save to its disk."""

    def on_saved(self, now: Instant, process: Process, save: Save, why: str) -> None:
        """The disk answers for a save, before the node hears: all of it is durable, or nothing, and `why` says why."""

    def on_reply(self, now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
        """A caller got the one outcome of a command (an `Unknown` that the crash of its node stands for included)."""

    def on_start(self, now: Instant, process: Process, action: RunBody) -> None:
        """An executor starts a body."""

    def on_sample(self, now: Instant, message: Message) -> None:
        """A message is sent: the first of its type, or one in a few hundred after that."""

    def on_boot(self, now: Instant, process: Process) -> None:
        """A node has been built from its disk and is about to get its first event."""

    def on_crash(self, now: Instant, process: Process) -> None:
        """A node has crashed."""

    def on_trouble(self, now: Instant, what: str, begins: bool) -> None:
        """A fault has come into force, or is over; `what` says which in words."""

    # Liveness, and the end.

    def asked_since(self) -> Instant:
        """Since when liveness is asked for: the last disturbance, or, where only a core has been healed and the rest
        goes on disturbing, the first time that anything was found missing after that."""
        world = self.world
        if len(world.core) == len(world.processes):
            return world.disturbed_at
        if self._core_since < 0:
            self._core_since = world.kernel.now
        return self._core_since

    def disk_time(self, saves: int) -> Instant:
        """How long disks that are well may take for `saves` saves in turn, each behind a commit that has begun."""
        return 2 * saves * int(self.world.disk_profile.commit_ms_max * NANOS_PER_MS)

    def deadline(self) -> Instant:
        """Until when `waits_for` may still name something; 0 when this checker waits for nothing."""
        return 0

    def waits_for(self, now: Instant) -> str:
        """What is not as it should be yet, as a clause; empty when nothing. Asked once a virtual second: stay cheap."""
        return ""

    def finish(self, now: Instant) -> None:
        """The run is over: judge what can only be judged now."""
