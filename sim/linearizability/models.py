"""Sequential specifications: what each operation does to the state, and what it answers, when nobody else is there.

A model is a pure function. `step(state, command)` gives the state afterwards and the answer; the search compares the
answer with what a client was told. States are compared and remembered, so they are hashable. A command names the one
object that it is about, its `key`: objects are judged one by one. That is sound only if no command is about two. Where
some are (a transaction, a scan), what they touch is one object, and all commands on any of it carry one key.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias, TypeVar

from msgspec import Struct

Value: TypeAlias = str | int | bool | None


def same(one: object, other: object) -> bool:
    """Whether two values are the same. In Python 1 is equal to True; who has written 1 must not read True."""
    return type(one) is type(other) and one == other


class Command(Struct, frozen=True):
    """What a client asks for."""

    key: str

    @property
    def reads_only(self) -> bool:
        """It never changes anything, whatever the state."""
        return False

    def words(self) -> str:
        """For people, without the key."""
        fields = [f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "key"]
        return " ".join([type(self).__name__.lower(), *fields])


StateT = TypeVar("StateT")


class Model(Protocol[StateT]):
    """The specification of one object."""

    def initial(self) -> StateT:
        """The state before the first operation."""
        ...

    def step(self, state: StateT, command: Command) -> tuple[StateT, Value]:
        """The state after `command`, and its answer. Raises `TypeError` for a command of another model."""
        ...


class Read(Command, frozen=True):
    """Answers the value, or None where there is none."""

    @property
    def reads_only(self) -> bool:
        return True


class Write(Command, frozen=True):
    """Sets the value; answers None."""

    value: Value


class CompareAndSet(Command, frozen=True):
    """Sets the value if it is `expected` (None: if there is none); answers whether it did."""

    expected: Value
    value: Value


class Delete(Command, frozen=True):
    """Removes the value; answers whether there was one."""


class KeyValue:
    """A register for each key, empty at first."""

    def initial(self) -> Value:
        return None

    def step(self, state: Value, command: Command) -> tuple[Value, Value]:
        match command:
            case Read():
                return state, state
            case Write():
                return command.value, None
            case CompareAndSet():
                return (command.value, True) if same(state, command.expected) else (state, False)
            case Delete():
                return None, state is not None
            case _:
                raise TypeError(f"a key-value store knows no {type(command).__name__}")


class Acquire(Command, frozen=True):
    """Takes the lock for `owner` if it is free; answers its fencing token, or None where another holds it."""

    owner: str


class Release(Command, frozen=True):
    """Gives the lock back if it is held under `token`; answers whether it was."""

    token: int


class LockState(Struct, frozen=True):
    """Who holds the lock (empty: nobody), and the last token that was given out."""

    owner: str = ""
    token: int = 0


class Lock:
    """An exclusive lock for each key with a fencing token that grows by one with each acquisition."""

    def initial(self) -> LockState:
        return LockState()

    def step(self, state: LockState, command: Command) -> tuple[LockState, Value]:
        match command:
            case Acquire():
                if state.owner:
                    return state, None
                return LockState(command.owner, state.token + 1), state.token + 1
            case Release():
                if state.owner and command.token == state.token:
                    return LockState("", state.token), True
                return state, False
            case Read():
                return state, state.owner or None
            case _:
                raise TypeError(f"a lock knows no {type(command).__name__}")
