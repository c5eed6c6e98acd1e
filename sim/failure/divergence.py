"""Where two runs part: the first thing that one of them did and the other did not.

*One seed* (another commit, another hash seed, other options): both draw the same, so their recordings are compared
happening by happening, and the first that differs is where they part.

*Two seeds* differ from the first draw on: no time, no victim, no order is the same. What can be compared is what kinds
of things happened. So each change (a verdict, an incarnation, an owner, a crash, a fault, a record) is brought into a
form without times and names: `OTHER is dead, generation =, incarnation ↑`; a number becomes how it relates to the
number before it in the same story (`#` the first, `=`, `↑`, `↓`). A *story* is all that one node tells of one subject,
such as another node or a task. The runs part at the first form that the passing run never shows; else at the first that
follows its predecessor in the story in a way that the passing run never shows. What lies before the violation is looked
at first, for the rest may be its consequence. More passing runs help: what they show is no difference either.
"""

from __future__ import annotations

import re
import textwrap
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import zip_longest
from typing import TypeAlias

from msgspec import Struct

from sim.failure.lines import TRAFFIC, WIDTH, concerns, lines_of
from sim.record.happening import Happening, Kind, Recording

CONTEXT = 5
MARKS = frozenset({Kind.MARK, Kind.CRASH, Kind.BOOT, Kind.FAULT})
TOLD = MARKS | {Kind.FACT, Kind.START, Kind.REPLY, Kind.DURABLE, Kind.CUT}
_TOKEN = re.compile(r"task (?P<task>\S+\b)|(?P<number>(?<![\w.…])\d+(?:\.\d+)?(?!\w))|(?P<word>[\w/.-]+)")
SIGNS = {
    "SELF": "the node that tells it",
    "OTHER": "any other node",
    "HANDLER": "any handler",
    "ID": "any identifier",
    "#": "a number that is told for the first time",
    "=": "the same number as the last time",
    "↑": "a larger number than the last time",
    "↓": "a smaller number than the last time",
}
"""What stands for names and numbers in a form."""
_IDENTIFIER = re.compile(r"(?=.*\d)(?=.*[a-z])[a-z0-9._-]{8,}")

Form: TypeAlias = str
Story: TypeAlias = tuple[int, str, str]
"""(node, whom or what it tells of, marks or what else)"""
Known: TypeAlias = dict[tuple[Form, ...], int | None]
"""Every sequence of forms in a story of the passing runs → where it first stands in the nearest of them, if there."""


class How(StrEnum):
    """By what rule the runs were told apart."""

    EXACT = "exact"
    """One seed, happening by happening."""
    NEW = "new"
    """Two seeds: a change, or a sequence of changes, that the other run does not show."""


class Divergence(Struct, frozen=True):
    """Where run `a` parts from run `b`, with the positions of what belongs to it in both recordings."""

    how: How
    text: str
    """In one sentence."""
    at_a: int | None
    """Position in `a` of the first difference; None where `a` ends before it."""
    at_b: int | None
    """Position of what `b` has in its place; None where there is nothing to set against it."""
    before_a: tuple[int, ...]
    """Positions of what came before it."""
    before_b: tuple[int, ...]
    legend: str = ""
    """What the signs in `text` stand for, in one sentence; empty where there are none."""


def first_divergence(
    a: Recording, b: Recording, *, also: Sequence[Recording] = (), context: int = CONTEXT
) -> Divergence | None:
    """Where `a` (the failing run, where one fails) parts from `b`; None where they are the same, or tell nothing apart.

    Runs of one seed and one size are compared exactly, others by what kinds of things happened; then `also` are more
    runs like `b`.
    """
    if a.scenario.seed == b.scenario.seed and a.names == b.names:
        return _exact(a, b, context)
    return _by_kinds(a, (b, *also), context)


def _exact(a: Recording, b: Recording, context: int) -> Divergence | None:
    begin = max(a.forgotten, b.forgotten)
    skip_a, skip_b = begin - a.forgotten, begin - b.forgotten
    pairs = zip_longest(a.happenings[skip_a:], b.happenings[skip_b:])
    for offset, (one, other) in enumerate(pairs):
        if one == other:
            continue
        here_a, here_b = skip_a + offset, skip_b + offset
        text = "the same until here" if offset or not begin else "already different here, where both recordings begin"
        if one is None or other is None:
            text = f"the same until one of them ends: {'the second' if one is None else 'the first'} goes on"
        return Divergence(
            How.EXACT,
            text,
            None if one is None else here_a,
            None if other is None else here_b,
            tuple(range(max(skip_a, here_a - context), here_a)),
            tuple(range(max(skip_b, here_b - context), here_b)),
        )
    if a.trace_hash != b.trace_hash:
        text = "all that was recorded is the same, but the trace hashes are not: they part in what is not recorded"
        return Divergence(How.EXACT, text, None, None, (), ())
    return None


def _by_kinds(a: Recording, passing: Sequence[Recording], context: int) -> Divergence | None:
    end = next((at for at, each in enumerate(a.happenings) if each.kind is Kind.VIOLATION), len(a.happenings))
    before, after = range(end), range(end, len(a.happenings))
    for places, length in ((before, 1), (after, 1), (before, 2), (before, 3)):
        for kinds in (MARKS, TOLD):
            known = _known(passing, kinds, length)
            for at, trail in _trails(a, kinds, length):
                if at in places and trail not in known:
                    at_b = known.get(trail[:-1]) if length > 1 else None
                    return _new(a, passing, at, at_b, trail[-1].split("|", 2)[-1], context)
    return None


def _known(passing: Sequence[Recording], kinds: frozenset[Kind], length: int) -> Known:
    known: Known = {}
    for place, recording in enumerate(passing):
        nearest = place == 0
        for at, trail in _trails(recording, kinds, length):
            known.setdefault(trail, at if nearest else None)
            known.setdefault(trail[:-1], at if nearest else None)
    return known


def _new(a: Recording, passing: Sequence[Recording], at: int, at_b: int | None, form: Form, context: int) -> Divergence:
    seeds = [str(recording.scenario.seed) for recording in passing]
    listed = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(seeds[:-1])} and {seeds[-1]}"
    text = f"never in {listed}: {form}"
    if at_b is not None:
        text = f"a weak hint, for only the order is new: never in {listed} after what came before it there: {form}"
    if any(each.kind is Kind.VIOLATION for each in a.happenings[:at]):
        text += "; it comes after the violation, and may be its consequence"
    here, there = a.happenings[at], passing[0].happenings
    before_a = _before(a, at, here.node, context)
    if at_b is None:  # what the other did at that node by that time
        before_b = _before(passing[0], bisect_right(there, here.at, key=lambda each: each.at), here.node, context)
    else:
        before_b = _before(passing[0], at_b, there[at_b].node, context)
    return Divergence(How.NEW, text, at, at_b, before_a, before_b, _legend(form))


def _legend(form: Form) -> str:
    stands = [f"{sign} for {words}" for sign, words in SIGNS.items() if re.search(rf"(?<!\w){sign}(?!\w)", form)]
    listed = " and ".join([", ".join(stands[:-1]), stands[-1]] if len(stands) > 1 else stands)
    return f"In this pattern, {listed.replace(' for ', ' stands for ', 1)}." if listed else ""


def _before(recording: Recording, end: int, node: int, context: int) -> tuple[int, ...]:
    """The last changes before position `end` at a node, or of the mesh (−1)."""
    nodes = frozenset({node} - {-1})
    found: list[int] = []
    for position in range(end - 1, -1, -1):
        happening = recording.happenings[position]
        if happening.kind not in TRAFFIC and concerns(happening, nodes):
            found.append(position)
            if len(found) == context:
                break
    return tuple(reversed(found))


# Forms.


def _trails(recording: Recording, kinds: frozenset[Kind], length: int) -> Iterator[tuple[int, tuple[Form, ...]]]:
    """(position, the last `length` forms of its story) of every happening of one of `kinds`.

    The beginning of a story counts as a form of its own, so that what begins one can be told from what goes on.
    """
    words = dict.fromkeys(recording.names, "OTHER")
    words |= {handler.name: "HANDLER" for handler in recording.scenario.handlers}
    stories: dict[Story, tuple[Form, ...]] = {}
    numbers: dict[tuple[Story, str], list[float]] = {}
    for at, happening in enumerate(recording.happenings):
        if happening.kind not in kinds:
            continue
        own = recording.names[happening.node] if happening.node >= 0 else ""
        masked, subject, values = _masked(happening, own, words)
        story = (happening.node, subject, "" if happening.kind in MARKS else happening.kind)
        before = numbers.get((story, masked))
        numbers[story, masked] = values
        if happening.kind is Kind.FAULT:
            before = None
        form = f"{happening.kind}|{_related(masked, values, before)}"
        trail = (*stories.get(story, ("",) * length), form)[-length:]
        stories[story] = trail
        yield at, trail


def _masked(happening: Happening, own: str, words: Mapping[str, str]) -> tuple[str, str, list[float]]:
    """The text without names, identifiers and numbers; whom or what it is about; the numbers."""
    subject = "" if happening.peer < 0 else f"node {happening.peer}"
    values: list[float] = []

    def mask(token: re.Match[str]) -> str:
        nonlocal subject
        if token["number"] is not None:
            values.append(float(token["number"]))
            return "\0"
        if token["task"] is not None:
            subject = token["task"]
            return "task ID"
        word = token["word"]
        if word == own:
            return "SELF"
        prefix, slash, _ = word.partition("/")
        if slash:
            subject = subject or word
            return f"{prefix}/ID"
        return words.get(word, "ID" if _IDENTIFIER.fullmatch(word) else word)

    # What a cut or a start is of is in its text too; other kinds are told apart by the name of their type.
    what = "" if happening.kind in (Kind.CUT, Kind.START) else happening.what
    return f"{what}|{_TOKEN.sub(mask, happening.text)}", subject, values


def _related(masked: str, values: Sequence[float], before: Sequence[float] | None) -> Form:
    """`masked` with each number as how it relates to the one in its place the last time."""
    relations = iter(
        [
            "#" if before is None else "=" if value == was else "↑" if value > was else "↓"
            for value, was in zip(values, before if before is not None else values, strict=True)
        ]
    )
    return re.sub("\0", lambda _: next(relations), masked)


# For people.

SET_IN = 2


def show_divergence(divergence: Divergence, a: Recording, b: Recording, name_a: str, name_b: str) -> list[str]:
    """The difference and what came before it, on both sides; a report sets it in by `SET_IN`."""
    width = WIDTH - SET_IN
    lines = [*textwrap.wrap(divergence.text + ".", width), *textwrap.wrap(divergence.legend, width)]
    is_new = divergence.how is How.NEW
    for name, recording, before, at in (
        (name_a, a, divergence.before_a, divergence.at_a),
        (name_b, b, divergence.before_b, divergence.at_b),
    ):
        if at is None and not before and not is_new:
            continue
        lines += ["", f"{name}, up to the same time:" if at is None and is_new else f"{name}:"]
        lines += lines_of(recording, [*before, *([] if at is None else [at])], marked=-1 if at is None else at)
        if at is None:
            lines.append("> (what is marked above does not follow here)" if is_new else "> (ends here)")
    return lines
