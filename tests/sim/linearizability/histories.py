"""Histories for the tests: a short notation, random ones, and an oracle that tries every order."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from itertools import permutations
from random import Random

from msgspec.structs import replace

from sim.linearizability import (
    OPEN,
    Acquire,
    CompareAndSet,
    Delete,
    KeyValue,
    Lock,
    Model,
    Operation,
    Read,
    Release,
    Write,
)
from sim.linearizability.models import Command, Value

_NOTATION = re.compile(r"(?P<client>\w+) (?P<what>\S+) (?P<begin>\d+)-(?P<end>\d+|\?)(?: (?P<result>\S+))?")


def told(text: str) -> tuple[Operation, ...]:
    """`A w1 0-10; B r 5-8 1; C c1>2 3-? ; D d 2-9 yes`: client, command, call and return, result.

    Commands: `wV` write, `r` read, `cV>W` compare and set, `d` delete; `a` acquire (result: the token), `fT` free under
    token T. `n` is no value; a key may be put in front: `x:w1`.
    """
    operations: list[Operation] = []
    for number, line in enumerate(filter(None, (part.strip() for part in text.split(";"))), start=1):
        match = _NOTATION.fullmatch(line)
        assert match is not None, line
        end = OPEN if match["end"] == "?" else int(match["end"])
        command = _command(match["what"], match["client"])
        operations.append(
            Operation(number, match["client"], command, int(match["begin"]), end, _value(match["result"]))
        )
    return tuple(operations)


def _command(what: str, client: str) -> Command:
    key, _, rest = what.rpartition(":")
    kind, argument = rest[0], rest[1:]
    if kind == "w":
        return Write(key, _value(argument))
    if kind == "c":
        expected, _, value = argument.partition(">")
        return CompareAndSet(key, _value(expected), _value(value))
    if kind == "a":
        return Acquire(key, client)
    if kind == "f":
        return Release(key, int(argument))
    return {"r": Read, "d": Delete}[kind](key)


def _value(text: str | None) -> Value:
    if text in (None, "n", ""):
        return None
    assert text is not None
    return {"yes": True, "no": False}.get(text, int(text) if text.isdigit() else text)


def explained_by_some_order(
    operations: Sequence[Operation], model: Model[Hashable], before: Sequence[Hashable] | None = None
) -> bool:
    """The oracle: tries every subset of the open operations, and every order of the rest with it."""
    finished = [each for each in operations if not each.open]
    unsure = [each for each in operations if each.open]
    for chosen in range(1 << len(unsure)):
        picked = finished + [each for index, each in enumerate(unsure) if chosen >> index & 1]
        for order in permutations(picked):
            if _respects_time(order) and any(_follows(order, model, state) for state in before or (model.initial(),)):
                return True
    return False


def _respects_time(order: Sequence[Operation]) -> bool:
    return all(later.end >= earlier.begin for position, earlier in enumerate(order) for later in order[position + 1 :])


def _follows(order: Sequence[Operation], model: Model[Hashable], state: Hashable) -> bool:
    for each in order:
        state, result = model.step(state, each.command)
        if not each.open and (type(result), result) != (type(each.result), each.result):
            return False
    return True


def random_command(draw: Random, client: str, *, locks: bool, keys: Sequence[str] = ("",)) -> Command:
    """Of a small domain, so that values meet."""
    key = draw.choice(keys)
    if locks:
        return draw.choice([Acquire(key, client), Acquire(key, client), Release(key, draw.randrange(1, 4)), Read(key)])
    value = draw.randrange(3)
    return draw.choice(
        [Read(key), Read(key), Write(key, value), CompareAndSet(key, draw.choice([None, 0, 1, 2]), value), Delete(key)]
    )


def truthful(
    draw: Random, count: int, clients: int, *, locks: bool, lost: float = 0.1, keys: Sequence[str] = ("",)
) -> tuple[Operation, ...]:
    """A history of a real object: each operation takes effect at one moment between its call and its return.

    A share `lost` of them gets no answer; half of those take effect all the same, some of them much later.
    """
    model: Model[Hashable] = Lock() if locks else KeyValue()  # type: ignore[assignment]  # states differ, both hash
    free_at = [0] * clients
    planned: list[tuple[int, Operation]] = []
    for number in range(1, count + 1):
        client = draw.randrange(clients)
        called = free_at[client] + draw.randrange(1, 20)
        effect = called + draw.randrange(30)
        returned = effect + draw.randrange(30)
        free_at[client] = returned + 1
        if draw.random() < lost:
            returned = OPEN
            effect = OPEN if draw.random() < 0.5 else effect + draw.randrange(500)
        name = f"c{client}"
        command = random_command(draw, name, locks=locks, keys=keys)
        planned.append((effect, Operation(number, name, command, called, returned)))
    states: dict[str, Hashable] = {}
    done: list[Operation] = []
    for effect, each in sorted(planned, key=lambda plan: (plan[0], plan[1].number)):
        result: Value = None
        if effect != OPEN:
            key = each.command.key
            states[key], result = model.step(states.get(key, model.initial()), each.command)
        done.append(each if each.open else replace(each, result=result))
    return tuple(sorted(done, key=lambda each: each.number))


def guesses(draw: Random, count: int, *, locks: bool) -> tuple[Operation, ...]:
    """A short history with answers out of thin air: often wrong, sometimes right."""
    operations: list[Operation] = []
    for number in range(1, count + 1):
        client = f"c{number}"
        command = random_command(draw, client, locks=locks)
        called = draw.randrange(20)
        returned = OPEN if draw.random() < 0.15 else called + draw.randrange(12)
        operations.append(Operation(number, client, command, called, returned, _guess(draw, command)))
    return tuple(operations)


def _guess(draw: Random, command: Command) -> Value:
    match command:
        case Read():
            return draw.choice([None, 0, 1, 2])
        case Write():
            return None
        case Acquire():
            return draw.choice([None, 1, 1, 2, 3])
        case _:
            return draw.random() < 0.6


def spoiled(draw: Random, operations: Sequence[Operation]) -> Iterator[tuple[Operation, ...]]:
    """The same history with one answer of a read changed, for each read in random order."""
    reads = [index for index, each in enumerate(operations) if isinstance(each.command, Read) and not each.open]
    draw.shuffle(reads)
    for index in reads:
        each = operations[index]
        yield (*operations[:index], replace(each, result=99), *operations[index + 1 :])
