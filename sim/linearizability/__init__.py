"""Whether what clients saw of a shared object can be explained by one order of their operations (linearizability).

The condition is Herlihy and Wing's (1990): every operation takes effect at one instant between its call and its return.
The search is Wing and Gong's (1993) with Lowe's memoization (2017); histories are split by key first, for a history is
linearizable if and only if its part for each object is (Herlihy and Wing, theorem 1).

    history = History()
    write = history.call("client 1", 0, Write("x", 1))
    history.returned(write, 10, None)
    …
    verdict = check(history.operations, KeyValue())
    if verdict.answer is Answer.VIOLATED:
        print(picture(smallest_part(verdict)))
"""

from __future__ import annotations

from sim.linearizability.history import OPEN, History, HistoryError, Operation
from sim.linearizability.models import (
    Acquire,
    CompareAndSet,
    Delete,
    KeyValue,
    Lock,
    Model,
    Read,
    Release,
    Write,
)
from sim.linearizability.picture import picture
from sim.linearizability.search import Answer, Verdict, check
from sim.linearizability.smallest import Part, smallest_part

__all__ = [
    "OPEN",
    "Acquire",
    "Answer",
    "CompareAndSet",
    "Delete",
    "History",
    "HistoryError",
    "KeyValue",
    "Lock",
    "Model",
    "Operation",
    "Part",
    "Read",
    "Release",
    "Verdict",
    "Write",
    "check",
    "picture",
    "smallest_part",
]
