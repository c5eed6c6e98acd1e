"""Hands what happens in a run to the checkers that want it, and keeps what they find.

Every hook is a list of bound methods, empty when no checker overrides it: a run pays only for what is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from protocols.core import NANOS_PER_S, Command, Event, Fact, Instant, Message, Outcome, Record, Save
from protocols.tasks.task import RunBody
from sim.checkers.checker import Checker, Violation
from sim.counter import Counter

if TYPE_CHECKING:
    from sim.process import Process

VIOLATIONS_MAX = 100
"""A run that has broken so much is stopped: what follows tells nothing new."""

FactListener: TypeAlias = "Callable[[Instant, Process, Fact], None]"
MessageListener: TypeAlias = "Callable[[Instant, Process, Any], None]"


MessageListeners: TypeAlias = tuple[tuple[MessageListener, ...], tuple[MessageListener, ...]]
"""Who is told of every message of a type, and who of those that brought updates about members."""


class _Listeners(dict[type[Fact], tuple[FactListener, ...]]):
    """Fact type → who wants it; `everything` wants all types, and is told first."""

    def __init__(self) -> None:
        super().__init__()
        self.everything: tuple[FactListener, ...] = ()

    def __missing__(self, fact_type: type[Fact]) -> tuple[FactListener, ...]:
        return self.everything


class Watch:
    """The checkers of one run and what they found. `facts` counts facts by type."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self.checkers: tuple[Checker, ...] = ()
        self.violations: list[Violation] = []
        self.facts: Counter = Counter()
        self.listeners = _Listeners()
        self.on_message: dict[type, MessageListeners] = {}
        """Told of messages that a node has handled, by type. In a large mesh most probes bring no updates."""
        self.on_step: list[Callable[[Instant, Process, Event], None]] = []
        """Told of every event that a node has handled. Expensive."""
        self.on_durable: list[Callable[[Instant, Process, tuple[Record, ...]], None]] = []
        self.on_save: list[Callable[[Instant, Process, Save], None]] = []
        self.on_saved: list[Callable[[Instant, Process, Save, str], None]] = []
        """Told of the fate of every save before the node is: why it failed, or empty where it is durable."""
        self.on_reply: list[Callable[[Instant, Process, Command, Outcome], None]] = []
        self.on_start: list[Callable[[Instant, Process, RunBody], None]] = []
        self.on_sample: list[Callable[[Instant, Message], None]] = []
        self.on_boot: list[Callable[[Instant, Process], None]] = []
        self.on_crash: list[Callable[[Instant, Process], None]] = []
        self.on_trouble: list[Callable[[Instant, str, bool], None]] = []
        """Told in words of every fault that begins (True) or ends (False)."""
        self.on_violation: list[Callable[[Violation], None]] = []

    def install(self, checkers: Sequence[Checker]) -> None:
        """Subscribe `checkers` to the hooks that they override."""
        self.checkers = (*self.checkers, *checkers)
        for checker in checkers:
            kind = type(checker)
            for fact_type in checker.facts:
                self.listeners[fact_type] = (*self.listeners[fact_type], checker.on_fact)
            for message_type in checker.messages:
                every, news = self.on_message.get(message_type, ((), ()))
                self.on_message[message_type] = ((*every, checker.on_message), news)
            for message_type in checker.news:
                every, news = self.on_message.get(message_type, ((), ()))
                self.on_message[message_type] = (every, (*news, checker.on_message))
            if kind.on_durable is not Checker.on_durable:
                self.on_durable.append(checker.on_durable)
            if kind.on_save is not Checker.on_save:
                self.on_save.append(checker.on_save)
            if kind.on_saved is not Checker.on_saved:
                self.on_saved.append(checker.on_saved)
            if kind.on_reply is not Checker.on_reply:
                self.on_reply.append(checker.on_reply)
            if kind.on_start is not Checker.on_start:
                self.on_start.append(checker.on_start)
            if kind.on_sample is not Checker.on_sample:
                self.on_sample.append(checker.on_sample)
            if kind.on_boot is not Checker.on_boot:
                self.on_boot.append(checker.on_boot)
            if kind.on_crash is not Checker.on_crash:
                self.on_crash.append(checker.on_crash)
            if kind.on_trouble is not Checker.on_trouble:
                self.on_trouble.append(checker.on_trouble)

    def on_every_fact(self, listener: FactListener) -> None:
        """Tell `listener` every fact, of whatever type, before the checkers that want it."""
        listeners = self.listeners
        for fact_type, wanted in listeners.items():
            listeners[fact_type] = (listener, *wanted)
        listeners.everything = (listener, *listeners.everything)

    def violated(self, property_name: str, now: Instant, node: str, text: str) -> None:
        """Record a violation; past `VIOLATIONS_MAX` the run stops."""
        if len(self.violations) < VIOLATIONS_MAX:
            violation = Violation(property_name, now / NANOS_PER_S, node, text)
            self.violations.append(violation)
            for listener in self.on_violation:
                listener(violation)
        else:
            self._stop()
