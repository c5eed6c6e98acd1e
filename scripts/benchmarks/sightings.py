"""What the members of a mesh say of each other, as they say it, and what follows from that.

Each agent under test, meshnode and its peer alike, writes a log line the moment that its view of a member changes. The
line is stamped when it arrives here, through a pipe: there is no poll, and nobody is asked anything while it is timed.

Rules:
- `DEAD` counts when a member says it for good. A suspicion is told apart: it may be refuted, and changes no view.
- A false positive is a member taken for dead that was running and could be reached. What a member thinks that was cut
  off itself is none.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import trio


class Seen(StrEnum):
    """What is said of a member."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    GONE = "gone"
    """It left, or was forgotten."""


class Sighting(NamedTuple):
    """`observer` said of `member` that it is `seen`, at `at_s` of the monotonic clock."""

    at_s: float
    observer: str
    member: str
    seen: Seen


class Detection(NamedTuple):
    """Seconds from a fault until a first observer suspected the victim, until the first and until the last one took it
    for dead."""

    suspected_s: float
    first_s: float
    last_s: float


Reader = Callable[[str], tuple[str, Seen] | None]
"""A log line to (member, what is said of it); None for any other line."""

_MESHNODE = re.compile(r" member member=(?P<member>\S+) state=(?P<state>\w+)")
_MESHNODE_SEEN = {"alive": Seen.ALIVE, "suspect": Seen.SUSPECT, "dead": Seen.DEAD, "left": Seen.GONE}
_SERF = re.compile(r"serf: EventMember(?P<event>\w+): (?P<member>\S+)|memberlist: Suspect (?P<suspect>\S+) has failed")
_SERF_SEEN = {"Join": Seen.ALIVE, "Failed": Seen.DEAD, "Leave": Seen.GONE, "Reap": Seen.GONE}


def read_meshnode(line: str) -> tuple[str, Seen] | None:
    found = _MESHNODE.search(line)
    return (found["member"], _MESHNODE_SEEN[found["state"]]) if found else None


def read_serf(line: str) -> tuple[str, Seen] | None:
    """Only who suspects by a probe of its own says so, and nobody says when a suspicion was refuted."""
    found = _SERF.search(line)
    if found is None:
        return None
    if found["suspect"]:
        return found["suspect"], Seen.SUSPECT
    seen = _SERF_SEEN.get(found["event"])
    return (found["member"], seen) if seen else None


def written_unix_s(line: str) -> float | None:
    """When a line of meshnode's log was written, by its own stamp; None for other lines."""
    try:
        return datetime.fromisoformat(line.partition(" ")[0]).timestamp()
    except ValueError:
        return None


class Sightings:
    """All that was said in one mesh, in order, and what each member's view is by now."""

    def __init__(self, reader: Reader) -> None:
        self.all: list[Sighting] = []
        self.delays_s: list[float] = []
        """How long lines that bear a stamp took from there to here: the resolution of what is timed."""
        self._reader = reader
        self._views: dict[str, dict[str, Seen]] = {}
        self._news = trio.Event()

    def forget(self, observer: str) -> None:
        """The observer begins anew, and knows nobody."""
        self._views[observer] = {}

    def hear(self, observer: str, line: str) -> None:
        """A line of the log of `observer` has come."""
        at_s, read = time.monotonic(), self._reader(line)
        if read is None:
            return
        written_s = written_unix_s(line)
        if written_s is not None:
            self.delays_s.append(time.time() - written_s)
        member, seen = read
        self.all.append(Sighting(at_s, observer, member, seen))
        if seen is not Seen.SUSPECT:
            self._views.setdefault(observer, {})[member] = seen
        self._news.set()
        self._news = trio.Event()

    def whole(self, names: Collection[str]) -> bool:
        """Whether all of `names` see each other alive."""
        return all(
            self._views.get(observer, {}).get(member) is Seen.ALIVE
            for observer in names
            for member in names
            if member != observer
        )

    def all_know(self, names: Iterable[str], victim: str) -> bool:
        """Whether all of `names` take `victim` for dead."""
        return all(self._views.get(name, {}).get(victim) is Seen.DEAD for name in names if name != victim)

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `condition` holds, looking whenever something was said; False where it does not in time."""
        with trio.move_on_after(timeout_s):
            while not condition():
                await self._news.wait()
            return True
        return condition()


def detection(sightings: Iterable[Sighting], victim: str, since_s: float) -> Detection:
    """How long it took from `since_s` on until `victim` was taken for dead, by the first and by the last who did."""
    suspected = [each.at_s for each in sightings if _tells(each, victim, Seen.SUSPECT, since_s)]
    dead: dict[str, float] = {}
    for each in sightings:
        if _tells(each, victim, Seen.DEAD, since_s):
            dead.setdefault(each.observer, each.at_s)
    first_s = min(dead.values())
    return Detection(min([*suspected, first_s]) - since_s, first_s - since_s, max(dead.values()) - since_s)


def _tells(sighting: Sighting, member: str, seen: Seen, since_s: float) -> bool:
    return sighting.member == member and sighting.seen is seen and sighting.at_s >= since_s


def false_positives(
    sightings: Iterable[Sighting], since_s: float, until_s: float, *, gone: str = "", cut_off: str = ""
) -> list[Sighting]:
    """Who was taken for dead in that time and was not: all but `gone`, which was; `cut_off` is not to be believed."""
    return [
        each
        for each in sightings
        if each.seen is Seen.DEAD
        and since_s <= each.at_s < until_s
        and each.member not in (gone, cut_off)
        and (not cut_off or each.observer != cut_off)
    ]
