"""What goes on without an `await` ends, with its line; what only takes long does not."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Iterator

import pytest

from sim import Sim
from sim.kernel import Kernel
from sim.testing import watchdog
from sim.testing.errors import Stuck
from tests.sim.testing.kit import passes, play

SOON_S = 0.05


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Looks that come soon, and a timer that is left to others afterwards."""
    monkeypatch.setattr(watchdog, "LOOK_EVERY_S", SOON_S)
    yield
    assert signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def goes_on() -> bool:
    while True:  # here
        try:
            _ = 1 + 1
        except Exception:
            continue


async def in_the_test(sim: Sim) -> None:
    await sim.sleep(1)
    goes_on()


async def in_a_task(sim: Sim) -> None:
    async def task() -> None:
        goes_on()

    sim.start_soon(task)
    await sim.sleep(5)


async def in_a_predicate(sim: Sim) -> None:
    await sim.sleep(1)
    sim.always("never told", lambda s: s.now < 2 or goes_on())
    await sim.sleep(5)


async def in_a_handler(sim: Sim) -> None:
    sim.handler("endless", lambda payload: goes_on())
    await sim.nodes[0].submit("endless", {}, wait=30)


@pytest.mark.parametrize("body", [in_the_test, in_a_task, in_a_predicate, in_a_handler])
def test_an_endless_loop_ends_with_its_line(body: object) -> None:
    error = play(body, nodes=1).error  # type: ignore[arg-type]  # each is a body
    assert type(error) is Stuck
    assert "a loop without an `await`" in str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    assert last.name == "goes_on"
    assert last.filename == __file__


def test_what_computes_for_long_and_comes_to_an_await_is_left_alone() -> None:
    async def body(sim: Sim) -> None:
        for _ in range(20):
            _ = sum(range(200_000))
            await sim.sleep(0.1)

    passes(body, nodes=1)


def test_a_timer_that_somebody_else_uses_is_left_alone() -> None:
    signal.signal(signal.SIGVTALRM, signal.SIG_IGN)
    try:
        with watchdog.watchdog(Kernel(0)):
            assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
    finally:
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)


def test_away_from_the_main_thread_it_does_nothing() -> None:
    entered: list[bool] = []

    def elsewhere() -> None:
        with watchdog.watchdog(Kernel(0)):
            entered.append(True)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert entered == [True]
