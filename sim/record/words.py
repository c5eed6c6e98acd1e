"""Facts in words for people, and which of them are marks: what changes what a node stands for.

`MARKS` is the one place to extend: a protocol that adds terms, owners or leases adds a line here, and recordings, the
last events before a violation and the view know it. A fact that is not in `FACTS` or `MARKS` is told field by field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import NamedTuple, TypeAlias, cast

from msgspec.structs import fields

from protocols.core import NANOS_PER_S, Fact, NodeId
from protocols.membership.facts import (
    Announced,
    EventDelivered,
    Forgotten,
    JoinedMesh,
    MemberChanged,
    NameConflict,
    NodeStarted,
    Overslept,
    QueryClosed,
    Refuted,
    ViewChanged,
)
from protocols.tasks.task import RunStarted, TaskAccepted, TaskFinished, TaskReassigned

VALUE_CHARS_MAX = 60
ID_CHARS_MAX = 8

Names: TypeAlias = Mapping[NodeId, str]
"""Node id → name."""


class Told(NamedTuple):
    """A fact in words. `about` is the other node that it is about, if one; `label` is the short form of a mark."""

    text: str
    about: NodeId = ""
    label: str = ""


Teller: TypeAlias = Callable[[Fact, Names], Told]


def tell(fact: Fact, names: Names) -> Told:
    """`fact` in words; with a label where it is a mark."""
    teller = TELLERS.get(type(fact))
    return Told(_field_by_field(fact, names)) if teller is None else teller(fact, names)


def clipped(text: str, chars_max: int = VALUE_CHARS_MAX) -> str:
    """`text` on one line of at most `chars_max` characters."""
    line = " ".join(text.split())
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"


def short_id(task_id: str) -> str:
    """Enough of a task's id to tell it from others: its beginning; the end says who coordinates it."""
    return task_id[:ID_CHARS_MAX].partition(".")[0]


# Marks.


def _member_changed(fact: MemberChanged, names: Names) -> Told:
    state = fact.state.name.lower()
    name = names.get(fact.node_id, fact.name)
    said_by = "" if fact.by == fact.node_id else f", by the word of {names.get(fact.by, fact.by)}"
    text = f"{name} is {state}, generation {fact.generation}, incarnation {fact.incarnation}{said_by}"
    return Told(text, fact.node_id, f"{state} {name}")


def _refuted(fact: Refuted, names: Names) -> Told:
    accuser = names.get(fact.accuser, fact.accuser)
    text = f"refutes {accuser} and is incarnation {fact.incarnation} now"
    return Told(text, fact.accuser, f"incarnation {fact.incarnation}")


def _announced(fact: Announced, names: Names) -> Told:
    return Told(f"announces something else as incarnation {fact.incarnation}", "", f"incarnation {fact.incarnation}")


def _node_started(fact: NodeStarted, names: Names) -> Told:
    return Told(f"takes part as generation {fact.generation}", "", f"generation {fact.generation}")


def _task_accepted(fact: TaskAccepted, names: Names) -> Told:
    task = short_id(fact.task_id)
    return Told(f"coordinates task {task} for {fact.handler}", "", f"owns {task}")


def _run_started(fact: RunStarted, names: Names) -> Told:
    task = short_id(fact.task_id)
    return Told(f"runs task {task}, attempt {fact.attempt}, as {fact.handler}", "", f"attempt {fact.attempt} {task}")


def _task_reassigned(fact: TaskReassigned, names: Names) -> Told:
    task = short_id(fact.task_id)
    worker = names.get(fact.worker, fact.worker)
    why = fact.why.replace("_", " ")
    return Told(f"takes task {task}, attempt {fact.attempt}, back from {worker}: {why}", fact.worker, f"revoked {task}")


# Facts that are told in words but change nothing that a node stands for.


def _task_finished(fact: TaskFinished, names: Names) -> Told:
    worker = names.get(fact.worker, fact.worker)
    by = f", at {worker}" if worker else ""
    return Told(f"task {short_id(fact.task_id)} {fact.state.name.lower()}, attempt {fact.attempt}{by}", fact.worker)


def _view_changed(fact: ViewChanged, names: Names) -> Told:
    lists = {
        "joined": fact.joined,
        "returned": fact.returned,
        "failed": fact.failed,
        "left": fact.left,
        "changed": fact.changed,
    }
    said = [
        f"{how} {', '.join(names.get(each, each) for each in node_ids)}" for how, node_ids in lists.items() if node_ids
    ]
    text = f"publishes view {fact.number}, {fact.serving} serve: {'; '.join(said)}"
    return Told(clipped(text, 2 * VALUE_CHARS_MAX))


def _forgotten(fact: Forgotten, names: Names) -> Told:
    return Told(f"forgets {names.get(fact.node_id, fact.node_id)}", fact.node_id)


def _overslept(fact: Overslept, names: Names) -> Told:
    return Told(f"has not run for {fact.late / NANOS_PER_S:.1f} s, and probes anew before it accuses anybody")


def _joined(fact: JoinedMesh, names: Names) -> Told:
    return Told(f"joined by way of {names.get(fact.via, fact.via)}", fact.via)


def _name_conflict(fact: NameConflict, names: Names) -> Told:
    return Told(f"another node, at {fact.address}, has the same name", fact.other)


def _event_delivered(fact: EventDelivered, names: Names) -> Told:
    origin = names.get(fact.origin, fact.origin)
    return Told(f"gives its users event {fact.number} of {origin}, Lamport time {fact.ltime}", fact.origin)


def _query_closed(fact: QueryClosed, names: Names) -> Told:
    return Told(f"its query {clipped(fact.name)} is over: {fact.answered} of {fact.asked} members answered")


MARKS: dict[type[Fact], Teller] = {
    MemberChanged: cast(Teller, _member_changed),
    Refuted: cast(Teller, _refuted),
    Announced: cast(Teller, _announced),
    NodeStarted: cast(Teller, _node_started),
    TaskAccepted: cast(Teller, _task_accepted),
    RunStarted: cast(Teller, _run_started),
    TaskReassigned: cast(Teller, _task_reassigned),
}
"""The facts that are marks. Every one of these tellers gives a label; its first word decides the tone (`TONES`)."""

FACTS: dict[type[Fact], Teller] = {
    TaskFinished: cast(Teller, _task_finished),
    ViewChanged: cast(Teller, _view_changed),
    Overslept: cast(Teller, _overslept),
    Forgotten: cast(Teller, _forgotten),
    JoinedMesh: cast(Teller, _joined),
    NameConflict: cast(Teller, _name_conflict),
    EventDelivered: cast(Teller, _event_delivered),
    QueryClosed: cast(Teller, _query_closed),
}

TELLERS: dict[type[Fact], Teller] = MARKS | FACTS

TONES: dict[str, str] = {
    "alive": "good",
    "suspect": "doubt",
    "dead": "bad",
    "left": "bad",
    "revoked": "doubt",
    "owns": "owner",
    "attempt": "owner",
}
"""First word of a label → how a picture shows the mark: good, doubt, bad, owner, and `change` for every other."""


def tone_of(label: str) -> str:
    """How a picture shows a mark of this label."""
    return TONES.get(label.partition(" ")[0], "change")


# Facts that nobody has found words for.


def _field_by_field(fact: Fact, names: Names) -> str:
    parts = [f"{field.name} {_value(getattr(fact, field.name), names)}" for field in fields(fact)]
    return clipped(", ".join(parts).replace("_", " "), 2 * VALUE_CHARS_MAX)


def _value(value: object, names: Names) -> str:
    if isinstance(value, str):
        return clipped(names.get(value, value))
    if isinstance(value, IntEnum):
        return value.name.lower()
    return clipped(str(value))
