"""A recording as plain data for the page: columns of numbers and one table of strings, so that 100,000 messages stay
a few megabytes. Times are virtual nanoseconds; columns of times hold differences.

Decides what the header says and in what order things come; it draws nothing.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec.structs import replace

from protocols.core import NANOS_PER_S, Instant
from sim.record.happening import Happening, Kind, Recording
from sim.record.words import tone_of
from sim.scenario.model import Scenario
from sim.show.words import headline
from sim.view.stage import cuts, down_times, faults, span

Payload: TypeAlias = dict[str, Any]
"""What becomes JSON; `recording.js` reads it and is the other half of this file."""

TRAFFIC = (Kind.MESSAGE, Kind.LOST)
EVENTS = (Kind.BOOT, Kind.CRASH, Kind.MARK, Kind.FACT, Kind.DURABLE, Kind.START, Kind.REPLY)
BY_WHAT = (Kind.MARK, Kind.FACT, Kind.REPLY)
"""Events of these kinds are filtered by what they are; the others by their kind alone."""


class _Strings:
    """Every text once; the page knows it by number."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.all)
            self.all.append(text)
        return number


def payload(recording: Recording) -> Payload:
    """Everything that the page shows."""
    begin, end = span(recording)
    strings = _Strings()
    inside = [happening for happening in recording.happenings if begin <= happening.at <= end]
    shown = [happening for happening in inside if happening.kind in (*TRAFFIC, *EVENTS)]
    return {
        "title": title(recording.scenario),
        "words": headline(replace(recording.scenario, name="")),
        "seed": str(recording.scenario.seed),
        "hash": recording.trace_hash,
        "begin": begin,
        "end": end,
        "run_end": recording.end,
        "forgotten": recording.forgotten,
        "names": list(recording.names),
        "messages": _messages([happening for happening in shown if happening.kind in TRAFFIC], strings),
        "events": _events([happening for happening in shown if happening.kind in EVENTS], strings),
        "down": [[[each.begin, each.end, strings(each.text)] for each in node] for node in down_times(recording)],
        "faults": [[each.begin, each.end, strings(each.text)] for each in faults(recording)],
        "cuts": [[each.begin, each.end, strings(each.text), each.letters] for each in cuts(recording)],
        "violations": _violations(recording, strings),
        "strings": strings.all,
    }


def title(scenario: Scenario) -> str:
    """The scenario's name, or how large it is."""
    return scenario.name or f"{scenario.nodes} nodes, {scenario.seconds:g} s"


def _messages(messages: list[Happening], strings: _Strings) -> Payload:
    """`took` is the time under way, −1 while it waits; `lost` is why, −1 where it arrives; `notes` are rare."""
    return {
        "at": _differences([each.at for each in messages]),
        "from": [each.node for each in messages],
        "to": [each.peer for each in messages],
        "type": [strings(each.what) for each in messages],
        "took": [-1 if each.until < 0 else each.until - each.at for each in messages],
        "lost": [strings(each.text.replace("_", " ")) if each.kind is Kind.LOST else -1 for each in messages],
        "notes": {
            str(index): strings(each.text)
            for index, each in enumerate(messages)
            if each.kind is Kind.MESSAGE and each.text
        },
    }


def _events(events: list[Happening], strings: _Strings) -> Payload:
    sorts: dict[tuple[str, str], int] = {}
    numbers = [
        sorts.setdefault((each.kind.value, each.what if each.kind in BY_WHAT else ""), len(sorts)) for each in events
    ]
    return {
        "sorts": [list(sort) for sort in sorts],
        "at": _differences([each.at for each in events]),
        "sort": numbers,
        "node": [each.node for each in events],
        "peer": [each.peer for each in events],
        "what": [strings(each.what) for each in events],
        "text": [strings(each.text) for each in events],
        "label": [strings(each.label) for each in events],
        "tone": [strings(tone_of(each.label) if each.label else "") for each in events],
    }


def _violations(recording: Recording, strings: _Strings) -> list[list[int]]:
    nodes = {name: index for index, name in enumerate(recording.names)}
    return [
        [round(each.time_s * NANOS_PER_S), nodes.get(each.node, -1), strings(each.property), strings(each.text)]
        for each in recording.violations
    ]


def _differences(times: list[Instant]) -> list[int]:
    """Each time less the one before it; the first as it is."""
    return [time - before for time, before in zip(times, [0, *times], strict=False)]
