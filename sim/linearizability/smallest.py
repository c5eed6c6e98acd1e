"""The smallest part of a history that cannot be explained: what a person has to look at.

Only steps that keep the meaning are taken; none can turn a linearizable history into one that is not:

1. The history is cut off at the first return that cannot be explained: what returned later has not returned yet.
2. Everything before the last quiescent moment (nobody is under way, nobody's fate unknown) is replaced by the states
   in which that moment can find the object.
3. Operations that only read are dropped, one by one, as long as the rest still cannot be explained. Others stay:
   without a write, what reads saw of it would seem to come from nowhere.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from sim.linearizability.history import LAST, OPEN, Moment, Operation
from sim.linearizability.models import Model, same
from sim.linearizability.search import STEPS_MAX, Answer, Verdict, search

STATES_MAX = 64
"""More possible states than this at a quiescent moment, and the part begins at the beginning instead."""
EFFORT_STEPS = 200_000
"""How long one look of the many may take; where it takes longer, nothing is dropped."""


class Part(Struct, frozen=True):
    """Operations that cannot be explained from any of the states `before`."""

    key: str
    before: tuple[Hashable, ...]
    operations: tuple[Operation, ...]
    order: tuple[Operation, ...]
    """A longest order that explains some of them."""
    dropped: int
    """Operations of the object that are not shown, because they change nothing about it."""
    model: object


def smallest_part(verdict: Verdict) -> Part:
    """The part of a violated history that matters. Raises `ValueError` for a verdict that is no violation."""
    if verdict.answer is not Answer.VIOLATED:
        raise ValueError(f"there is nothing to show: the history is {verdict.answer.value}")
    model: Model[Hashable] = verdict.model  # type: ignore[assignment]  # what `check` put there
    before: tuple[Hashable, ...] = (model.initial(),)
    operations = _until_it_breaks(verdict.operations, model, before)
    start, states = _last_quiescence(operations, model, before)
    operations, before = operations[start:], states
    operations = _without_idle_reads(operations, model, before)
    _, order, _ = search(operations, model, before)
    return Part(verdict.key, before, operations, order, len(verdict.operations) - len(operations), model)


def _broken(operations: Sequence[Operation], model: Model[Hashable], before: Sequence[Hashable], steps: int) -> bool:
    return search(operations, model, before, steps)[0] is Answer.VIOLATED


def _cut_off(operations: Sequence[Operation], end: Moment) -> tuple[Operation, ...]:
    """The history up to `end`: later calls have not been made, later returns have not come."""
    return tuple(
        each if each.end <= end else replace(each, returned_at=OPEN, result=None, returned_as=LAST)
        for each in operations
        if each.begin <= end
    )


def _until_it_breaks(
    operations: Sequence[Operation], model: Model[Hashable], before: Sequence[Hashable]
) -> tuple[Operation, ...]:
    ends = sorted({each.end for each in operations if not each.open})
    low, high = 0, len(ends) - 1
    while low < high:  # being broken stays: once a prefix cannot be explained, no longer one can
        middle = (low + high) // 2
        if _broken(_cut_off(operations, ends[middle]), model, before, STEPS_MAX):
            high = middle
        else:
            low = middle + 1
    return _cut_off(operations, ends[high])


def _last_quiescence(
    operations: tuple[Operation, ...], model: Model[Hashable], before: tuple[Hashable, ...]
) -> tuple[int, tuple[Hashable, ...]]:
    """(how many operations lie before the last quiescent moment, the states that it can find)."""
    best = 0, before
    latest: Moment = (-1, 0)
    start = 0
    states = before
    for position, operation in enumerate(operations):
        if position and latest < operation.begin:
            found = _final_states(operations[start:position], model, states)
            if found is None:
                break
            start, states = position, found
            best = start, states
        latest = max(latest, operation.end)
    return best


def _final_states(
    operations: Sequence[Operation], model: Model[Hashable], before: Sequence[Hashable]
) -> tuple[Hashable, ...] | None:
    """Every state in which all orders of finished `operations` can end; None where there are too many to tell."""
    seen: dict[tuple[int, type, Hashable], None] = {(0, type(state), state): None for state in before}
    frontier = list(seen)
    full = (1 << len(operations)) - 1
    ends: dict[tuple[type, Hashable], None] = {}
    while frontier:
        bits, kind, state = frontier.pop()
        if bits == full:
            ends[kind, state] = None
            continue
        first_return = min(each.end for index, each in enumerate(operations) if not bits >> index & 1)
        for index, operation in enumerate(operations):
            if bits >> index & 1 or operation.begin > first_return:
                continue
            after, result = model.step(state, operation.command)
            reached = (bits | 1 << index, type(after), after)
            if same(result, operation.result) and reached not in seen:
                seen[reached] = None
                frontier.append(reached)
                if len(seen) > EFFORT_STEPS // 10:
                    return None
    return tuple(state for _, state in ends) if 0 < len(ends) <= STATES_MAX else None


def _without_idle_reads(
    operations: tuple[Operation, ...], model: Model[Hashable], before: tuple[Hashable, ...]
) -> tuple[Operation, ...]:
    for operation in operations[::-1]:
        if operation.command.reads_only:
            rest = tuple(each for each in operations if each is not operation)
            if _broken(rest, model, before, EFFORT_STEPS):
                operations = rest
    return operations
