"""What the daemon tells its core of the machine, over a clock that jumps; machines that hide it."""

from __future__ import annotations

from typing import cast

import psutil
import pytest
import trio
import trio.testing

from meshnode.driver import Driver
from meshnode.machine import FIRST_AFTER_S, REPORT_EVERY_S, report_machine
from protocols.core import Command
from protocols.membership.vitals import Reported, ReportMachine


class Listener:
    """Stands for the driver, and keeps what it is asked."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, Command]] = []

    async def request(self, command: Command) -> Reported:
        await trio.lowlevel.checkpoint()
        self.heard.append((trio.current_time(), command))
        return Reported()


async def test_the_core_hears_of_the_machine_soon_and_then_every_few_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    listener = Listener()
    began = trio.current_time()
    with trio.move_on_after(FIRST_AFTER_S + 4.5 * REPORT_EVERY_S):
        await report_machine(cast(Driver, listener))
    assert [round(at - began) for at, _ in listener.heard] == [1, 6, 11, 16, 21]
    for _, report in listener.heard:
        assert isinstance(report, ReportMachine)
        assert report.cpu is not None
        assert 0 <= report.cpu <= 1000
    used = psutil.virtual_memory().percent * 10
    assert abs(listener.heard[0][1].memory - used) < 300  # type: ignore[attr-defined]  # looked at above


def hidden() -> float:
    raise FileNotFoundError("no /proc/stat here")


async def test_a_machine_that_hides_how_busy_it_is_stops_nothing_and_is_told_as_not_known(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    answers = iter([0.0, 50.0])

    def breaks_down() -> float:
        try:
            return next(answers)
        except StopIteration:
            raise OSError("it has gone") from None

    with trio.move_on_after(FIRST_AFTER_S + 3.5 * REPORT_EVERY_S):
        await report_machine(cast(Driver, listener), breaks_down, hidden)
    assert [report for _, report in listener.heard] == [ReportMachine(500, None), *[ReportMachine(None, None)] * 3]
    said = [record.getMessage() for record in caplog.records if record.name == "meshnode.machine"]
    assert len(said) == 2, said  # once each
    assert "use of memory" in said[0]
    assert "processor load" in said[1]


async def test_a_machine_that_tells_no_number_tells_nothing(autojump_clock: trio.testing.MockClock) -> None:
    listener = Listener()
    with trio.move_on_after(FIRST_AFTER_S + 1):
        await report_machine(cast(Driver, listener), lambda: float("nan"), lambda: float("inf"))
    assert [report for _, report in listener.heard] == [ReportMachine(None, None)]
