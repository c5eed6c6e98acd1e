"""Which of several addresses leads to the right peer: one after the other, each with a head start, over a clock that
jumps."""

from __future__ import annotations

from typing import cast

import pytest
import trio
import trio.testing

from meshnode.transport.dialling import HEAD_START_S, first_greeted
from meshnode.transport.streams import Rejected, TlsStream

PASSING = frozenset({"connect_failed"})


class Line:
    """Stands for a stream: it can be closed, and no more."""

    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


class Addresses:
    """What is at each address: a line that is greeted after so many seconds, or once something has happened; or, at
    once, a reason why nobody is."""

    def __init__(self, **found: float | str | trio.Event) -> None:
        self.found = found
        self.dialled: list[tuple[str, float]] = []
        self.lines: dict[str, Line] = {}
        self._began = trio.current_time()

    async def dial(self, address: str) -> TlsStream:
        self.dialled.append((address, trio.current_time() - self._began))
        found = self.found[address]
        if isinstance(found, str):
            await trio.lowlevel.checkpoint()
            raise Rejected(found)
        if isinstance(found, trio.Event):
            await found.wait()
        else:
            await trio.sleep(found)
        self.lines[address] = Line()
        return cast(TlsStream, self.lines[address])

    async def first(self) -> tuple[str, float]:
        """Which address it was, and after how many seconds."""
        with trio.fail_after(60):
            address, stream = await first_greeted(tuple(self.found), self.dial, PASSING)
        assert cast(Line, stream) is self.lines[address]
        assert not self.lines[address].closed
        return address, trio.current_time() - self._began


async def test_an_address_that_never_answers_holds_up_the_next_one_for_a_moment_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    addresses = Addresses(silent=float("inf"), good=0.0, later=0.0)
    assert await addresses.first() == ("good", HEAD_START_S)
    assert addresses.dialled == [("silent", 0.0), ("good", HEAD_START_S)]


async def test_an_address_that_refuses_at_once_holds_up_nobody(autojump_clock: trio.testing.MockClock) -> None:
    assert await Addresses(closed="connect_failed", stranger="wrong_peer", good=0.1).first() == ("good", 0.1)


async def test_the_one_that_greets_first_wins_though_it_was_dialled_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    addresses = Addresses(slow=5.0, quick=0.1)
    assert await addresses.first() == ("quick", HEAD_START_S + 0.1)
    await trio.sleep(10)
    assert list(addresses.lines) == ["quick"], "the other one is given up"


async def test_of_two_in_one_moment_one_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    up = trio.Event()
    addresses = Addresses(one=up, two=up)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_set_after, up, 1.0)
        address, _ = await addresses.first()
    assert len(addresses.lines) == 2
    assert {name for name, line in addresses.lines.items() if not line.closed} == {address}


async def _set_after(event: trio.Event, seconds: float) -> None:
    await trio.sleep(seconds)
    event.set()


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"a": "connect_failed", "b": "wrong_peer"}, "connect_failed"),
        ({"a": "wrong_peer", "b": "connect_failed"}, "connect_failed"),
        ({"a": "wrong_mesh", "b": "wrong_peer"}, "wrong_peer"),
        ({"a": "connect_failed"}, "connect_failed"),
    ],
)
async def test_where_nobody_is_met_a_reason_that_may_pass_counts_most(
    autojump_clock: trio.testing.MockClock, found: dict[str, float | str | trio.Event], reason: str
) -> None:
    with pytest.raises(Rejected) as rejected:
        await Addresses(**found).first()
    assert rejected.value.reason == reason
