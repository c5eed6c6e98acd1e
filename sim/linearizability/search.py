"""The search for an order: Wing and Gong's algorithm with Lowe's memoization.

The history of one object is a list of calls and returns in time. Take any operation whose call comes before the first
return in the list: it may be next, if its answer is what the model says in the present state. If it is, lift it out of
the list and go on; if no operation can be next, take the last one back and try another. What has been tried is
remembered as (operations lifted, state): coming there again by another way tells nothing new, which is what keeps the
search feasible (Lowe, "Testing for linearizability", 2017, section 3).

Operations without an answer may take effect at any time after their call, or never: they have no return in the list,
any answer of theirs will do, and the search is over when all others are lifted.

The search is bounded by steps, not by a clock, so that it gives the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from enum import Enum
from typing import TypeVar

from msgspec import Struct

from sim.linearizability.history import OPEN, Operation
from sim.linearizability.models import Model, same

STEPS_MAX = 5_000_000
"""About ten seconds of computing."""
NOBODY = -1

StateT = TypeVar("StateT", bound=Hashable)


class Answer(Enum):
    """What came of a search."""

    HELD = "linearizable"
    VIOLATED = "not linearizable"
    GAVE_UP = "not known: the search took too many steps"


class Verdict(Struct, frozen=True):
    """What came of it. `steps` counts the work on all objects; the rest is about the first one whose answer is not
    HELD, `key`, and empty where there is none. `order` explains as many of its operations as possible.
    """

    answer: Answer
    steps: int
    key: str = ""
    operations: tuple[Operation, ...] = ()
    """Of that object, in the order of their calls."""
    order: tuple[Operation, ...] = ()
    model: object = None


def check(operations: Sequence[Operation], model: Model[StateT], steps_max: int = STEPS_MAX) -> Verdict:
    """Whether `operations` are linearizable with regard to `model`, object by object, in `steps_max` steps for each.

    A violation of one object is the answer even where the search gave up on another.
    """
    by_key: dict[str, list[Operation]] = {}
    for operation in sorted(operations, key=lambda each: (each.begin, each.number)):
        by_key.setdefault(operation.command.key, []).append(operation)
    steps = 0
    gave_up: Verdict | None = None
    for key, of_key in by_key.items():
        answer, order, taken = search(of_key, model, (model.initial(),), steps_max)
        steps += taken
        if answer is not Answer.HELD:
            verdict = Verdict(answer, steps, key, tuple(of_key), order, model)
            if answer is Answer.VIOLATED:
                return verdict
            gave_up = gave_up or verdict
    return gave_up or Verdict(Answer.HELD, steps)


def search(
    operations: Sequence[Operation], model: Model[StateT], initial: Sequence[StateT], steps_max: int = STEPS_MAX
) -> tuple[Answer, tuple[Operation, ...], int]:
    """(answer, the longest order found, steps) for the operations of one object that may begin in any state given."""
    steps = 0
    best: tuple[Operation, ...] = ()
    for state in initial:
        one = _Search(operations, model, state, steps_max - steps)
        answer = one.run()
        steps += one.steps
        if len(one.best) >= len(best):
            best = tuple(operations[index] for index in one.best)
        if answer is not Answer.VIOLATED:
            return answer, best, steps
    return Answer.VIOLATED, best, steps


class _Search:
    """One search. Operation i calls at entry 2·i and returns at entry 2·i + 1 of a doubly linked list in time."""

    def __init__(self, operations: Sequence[Operation], model: Model[StateT], state: StateT, steps_max: int) -> None:
        self._operations = operations
        self._model = model
        self._state: Hashable = state
        self._steps_max = steps_max
        self.steps = 0
        self.best: list[int] = []
        self._to_lift = sum(not operation.open for operation in operations)
        entries = [(each.begin, 0, 2 * index) for index, each in enumerate(operations)]
        entries += [(each.end, 1, 2 * index + 1) for index, each in enumerate(operations) if not each.open]
        entries.sort()
        self._head = head = 2 * len(operations)
        self._next = [NOBODY] * (head + 1)
        self._before = [NOBODY] * (head + 1)
        last = head
        for _, _, entry in entries:
            self._next[last] = entry
            self._before[entry] = last
            last = entry

    def run(self) -> Answer:
        """Search until an order is found, there is none, or the steps are used up."""
        operations, step = self._operations, self._model.step
        lifted: list[tuple[int, Hashable]] = []
        done = 0
        done_bits = 0
        tried: set[tuple[int, type, Hashable]] = set()
        entry = self._next[self._head]
        while done < self._to_lift:
            self.steps += 1
            if self.steps > self._steps_max:
                return Answer.GAVE_UP
            if entry & 1:
                # A return: its operation has to be lifted before this point, and was not. Take the last one back.
                if not lifted:
                    return Answer.VIOLATED
                index, self._state = lifted.pop()
                done_bits &= ~(1 << index)
                done -= not operations[index].open
                self._put_back(index)
                entry = self._next[2 * index]
                continue
            index = entry >> 1
            operation = operations[index]
            state, result = step(self._state, operation.command)  # type: ignore[arg-type]  # states are the model's own
            possible = not same(state, self._state) if operation.open else same(result, operation.result)
            bits = done_bits | 1 << index
            way = bits, type(state), state  # states of two types may be equal: 1 and True
            if possible and way not in tried:
                tried.add(way)
                lifted.append((index, self._state))
                self._state, done_bits = state, bits
                done += not operation.open
                if len(lifted) > len(self.best):
                    self.best = [each for each, _ in lifted]
                self._lift(index)
                entry = self._next[self._head]
            else:
                entry = self._next[entry]
        self.best = [each for each, _ in lifted]
        return Answer.HELD

    def _lift(self, index: int) -> None:
        self._unlink(2 * index)
        if self._operations[index].returned_at != OPEN:
            self._unlink(2 * index + 1)

    def _put_back(self, index: int) -> None:
        if self._operations[index].returned_at != OPEN:
            self._link(2 * index + 1)
        self._link(2 * index)

    def _unlink(self, entry: int) -> None:
        before, after = self._before[entry], self._next[entry]
        self._next[before] = after
        if after != NOBODY:
            self._before[after] = before

    def _link(self, entry: int) -> None:
        before, after = self._before[entry], self._next[entry]
        self._next[before] = entry
        if after != NOBODY:
            self._before[after] = entry
