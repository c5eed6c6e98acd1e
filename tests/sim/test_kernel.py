"""The heap and the clock of the simulator."""

from __future__ import annotations

import pytest

from protocols.core import Instant
from sim import kernel as kernel_module
from sim.kernel import Kernel, Livelock


class Log:
    """Remembers which events ran when."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.seen: list[tuple[Instant, str]] = []

    def note(self, now: Instant, name: str, _: None) -> None:
        self.seen.append((now, name))

    def stop(self, now: Instant, name: str, _: None) -> None:
        self.note(now, name, None)
        self.kernel.stop()


def test_events_run_by_time_and_then_in_the_order_of_scheduling() -> None:
    kernel = Kernel(0)
    log = Log(kernel)
    for at, name in ((30, "c"), (10, "a"), (30, "d"), (20, "b")):
        kernel.push(at, log.note, name)
    assert kernel.run(100)
    assert log.seen == [(10, "a"), (20, "b"), (30, "c"), (30, "d")]
    assert kernel.now == 100
    assert kernel.events == 4


def test_a_run_includes_its_last_instant_and_what_is_pushed_for_it_meanwhile() -> None:
    kernel = Kernel(0)
    log = Log(kernel)
    kernel.push(50, lambda now, a, b: kernel.push(now, log.note, "late"))
    kernel.push(51, log.note, "after")
    assert kernel.run(50)
    assert log.seen == [(50, "late")]
    assert kernel.run(51)
    assert log.seen[-1] == (51, "after")


def test_stop_leaves_the_rest_for_the_next_run() -> None:
    kernel = Kernel(0)
    log = Log(kernel)
    kernel.push(10, log.stop, "stops")
    kernel.push(10, log.note, "same instant")
    kernel.push(20, log.note, "later")
    assert not kernel.run(100)
    assert log.seen == [(10, "stops")]
    assert kernel.now == 10
    assert kernel.run(100)
    assert [name for _, name in log.seen] == ["stops", "same instant", "later"]


def test_two_stops_in_one_event_are_one() -> None:
    kernel = Kernel(0)
    log = Log(kernel)

    def twice(now: Instant, a: None, b: None) -> None:
        kernel.stop()
        kernel.stop()

    kernel.push(5, twice)
    kernel.push(6, log.note, "x")
    assert not kernel.run(10)
    assert kernel.run(10)
    assert log.seen == [(6, "x")]


def test_the_past_is_refused() -> None:
    kernel = Kernel(0)
    kernel.run(100)
    with pytest.raises(ValueError, match="before the present"):
        kernel.push(99, lambda now, a, b: None)
    with pytest.raises(ValueError, match="already"):
        kernel.run(99)


def test_an_error_in_an_event_comes_out_of_run() -> None:
    kernel = Kernel(0)

    def fail(now: Instant, a: None, b: None) -> None:
        raise RuntimeError("from the event")

    kernel.push(1, fail)
    with pytest.raises(RuntimeError, match="from the event"):
        kernel.run(10)


def test_time_that_stands_still_is_a_livelock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_module, "EVENTS_PER_INSTANT_MAX", 10_000)
    kernel = Kernel(0)

    def again(now: Instant, a: None, b: None) -> None:
        kernel.push(now, again)

    kernel.push(7, again)
    with pytest.raises(Livelock, match="7 ns"):
        kernel.run(10)


def test_on_slice_is_called_once_per_slice_and_at_the_end() -> None:
    kernel = Kernel(0)
    slices: list[int] = []
    kernel.on_slice = lambda now: slices.append(kernel.events)
    for at in range(2 * kernel_module.SLICE_EVENTS + 10):
        kernel.push(at, lambda now, a, b: None)
    kernel.run(10_000)
    assert slices == [1024, 2048, 2058]


def test_each_concern_has_its_own_stream_which_the_seed_decides() -> None:
    one, same, other = Kernel(1), Kernel(1), Kernel(2)
    network = [one.random("network").random() for _ in range(5)]
    assert one.random("network") is one.random("network")
    same.random("disk").random()  # draws of one concern do not move those of another
    assert [same.random("network").random() for _ in range(5)] == network
    assert [other.random("network").random() for _ in range(5)] != network
