"""The fence: what touches the outside is caught and named, wherever it was imported; everything else goes on."""

from __future__ import annotations

import builtins
import copy
import datetime
import email.utils
import gc
import logging
import os
import queue
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from enum import Enum
from os import urandom
from random import Random, randint
from socket import create_connection
from threading import Thread
from time import monotonic as clock
from time import perf_counter, process_time, sleep
from typing import Any, NamedTuple

import pytest

from protocols.config import HandlerSpec
from protocols.core import Event, Instant, Step
from protocols.node import Node
from sim.fence import FenceError, fence, strictly
from sim.fence.guards import fenced
from sim.scenario import Scenario, run

SMALL = Scenario(nodes=2, seconds=2)
Moment = datetime.datetime


class Colour(Enum):
    RED = 1


class Dated(Moment):
    """A subclass, of which no module holds the method."""


class Point(NamedTuple):
    x: int
    name: str


def held_in_a_default(read: Callable[[], float] = time.time) -> float:
    return read()


KEPT: dict[str, Callable[..., object]] = {
    "clock": time.monotonic,
    "draw": random.random,
    "identity": id,
    "today": datetime.datetime.now,
}

CULPRITS: dict[str, tuple[Callable[[], object], str]] = {
    "time": (lambda: time.time(), "time.time()"),
    "time_ns": (lambda: time.time_ns(), "time.time_ns()"),
    "monotonic": (lambda: time.monotonic(), "time.monotonic()"),
    "perf_counter": (lambda: time.perf_counter_ns(), "time.perf_counter_ns()"),
    "process_time": (lambda: process_time(), "time.process_time()"),
    "imported by another name": (lambda: clock(), "time.monotonic()"),
    "localtime": (lambda: time.localtime(), "time.localtime()"),
    "strftime": (lambda: time.strftime("%H"), "time.strftime()"),
    "sleep": (lambda: sleep(0), "time.sleep()"),
    "datetime.now": (lambda: Moment.now(), "datetime.datetime.now()"),
    "datetime.utcnow": (lambda: datetime.datetime.utcnow(), "datetime.datetime.utcnow()"),
    "datetime.today": (lambda: Moment.today(), "datetime.date.today()"),
    "date.today": (lambda: date.today(), "datetime.date.today()"),
    "a subclass of datetime": (lambda: Dated.now(datetime.UTC), "datetime.datetime.now()"),
    "random.random": (lambda: random.random(), "random.random()"),
    "random.shuffle": (lambda: random.shuffle([1, 2]), "random.shuffle()"),
    "random.seed": (lambda: random.seed(4), "random.seed()"),
    "randint, imported": (lambda: randint(1, 6), "random.randint()"),
    "Random()": (lambda: Random(), "random.Random() without a seed"),
    "SystemRandom": (lambda: random.SystemRandom().random(), "os.urandom()"),
    "os.urandom": (lambda: os.urandom(1), "os.urandom()"),
    "urandom, imported": (lambda: urandom(1), "os.urandom()"),
    "secrets": (lambda: secrets.token_hex(), "secrets.token_hex()"),
    "secrets.choice": (lambda: secrets.choice("ab"), "os.urandom()"),
    "uuid1": (lambda: uuid.uuid1(), "uuid.uuid1()"),
    "uuid4": (lambda: uuid.uuid4(), "uuid.uuid4()"),
    "socket": (lambda: socket.socket(), "socket.socket"),
    "a socket by a function": (lambda: create_connection(("127.0.0.1", 1)), "socket.getaddrinfo()"),
    "socketpair": (lambda: socket.socketpair(), "socket.socketpair()"),
    "gethostname": (lambda: socket.gethostname(), "socket.gethostname()"),
    "thread": (lambda: Thread(target=print).start(), "threading.Thread.start()"),
    "start_new_thread": (lambda: sys.modules["_thread"].start_new_thread(print, ()), "_thread.start_new_thread()"),
    "subprocess": (lambda: subprocess.run(["true"], check=True), "subprocess.Popen"),
    "os.system": (lambda: os.system("true"), "os.system()"),  # noqa: S605  # never reached
    "fork": (lambda: os.fork(), "os.fork()"),
    "id": (lambda: id(SMALL), "id()"),
    "sorted by id": (lambda: sorted([Colour.RED, SMALL], key=id), "id()"),
    "hash of text": (lambda: hash("n1"), "hash()"),
    "hash by identity": (lambda: hash(object()), "hash()"),
    "hash of an enum": (lambda: hash(Colour.RED), "hash()"),
    "hash of a date": (lambda: hash(date(2026, 1, 1)), "hash()"),
    "hash of a struct": (lambda: hash(HandlerSpec("a", 1)), "hash()"),
    "hash of a tuple": (lambda: hash(Point(1, "n1")), "hash()"),
}

ONLY_STRICTLY: dict[str, tuple[Callable[[], object], str]] = {
    "kept in a default argument": (held_in_a_default, "time.time()"),
    "kept in a container": (lambda: KEPT["clock"](), "time.monotonic()"),
    "global random, kept": (lambda: KEPT["draw"](), "random.random()"),
    "id, kept": (lambda: KEPT["identity"](SMALL), "id()"),
    "datetime.now, kept": (lambda: KEPT["today"](), "datetime.datetime.now()"),
}


def core_that(touches: Callable[[], object]) -> Any:
    """A core that does something at its tenth step."""

    class Curious(Node):
        steps = 0

        def step(self, now: Instant, event: Event) -> Step:
            self.steps += 1
            if self.steps == 10:
                with suppress(Exception):
                    touches()
            return super().step(now, event)

    return Curious


@pytest.mark.parametrize("name", CULPRITS)
def test_a_culprit_in_a_core_is_caught_and_named(name: str) -> None:
    touches, touched = CULPRITS[name]
    report = run(SMALL, core_factory=core_that(touches))
    assert [violation.property for violation in report.violations] == ["fence"]
    violation = report.violations[0]
    line = touches.__code__.co_firstlineno
    assert violation.text.startswith(f"tests/sim/test_fence.py:{line} in {touches.__qualname__} touched {touched}")
    assert violation.node in ("n0", "n1")
    assert violation.time_s > 0


def test_the_error_says_through_what_and_what_to_do_instead() -> None:
    with pytest.raises(FenceError) as caught, fence():
        email.utils.formatdate()
    error = caught.value
    assert error.culprit.startswith("tests/sim/test_fence.py:")
    assert "email.utils" in error.through
    with pytest.raises(FenceError, match="`now`"), fence():
        time.time()
    with pytest.raises(FenceError, match="hand"), fence():
        random.random()


def test_a_log_line_may_be_stamped(caplog: pytest.LogCaptureFixture) -> None:
    with fence():
        logging.getLogger("x").warning("from within")
    assert "from within" in caplog.text


def test_what_is_swallowed_is_raised_again_at_the_end() -> None:
    with pytest.raises(FenceError, match=r"touched time\.time"), fence(), suppress(BaseException):
        time.time()
    with pytest.raises(FenceError, match=r"touched time\.time"), fence():
        touch_and_raise(KeyError("another"))
    with pytest.raises(KeyboardInterrupt), fence():
        touch_and_raise(KeyboardInterrupt())


def touch_and_raise(error: BaseException) -> None:
    with suppress(FenceError):
        time.time()
    raise error


@pytest.mark.parametrize("name", [*CULPRITS, *ONLY_STRICTLY])
def test_strictly_every_culprit_is_caught(name: str) -> None:
    touches, touched = {**CULPRITS, **ONLY_STRICTLY}[name]
    with pytest.raises(FenceError) as caught, strictly(), fence():
        touches()
    assert caught.value.touched == touched
    assert sys.getprofile() is None


@pytest.mark.parametrize("name", ONLY_STRICTLY)
def test_what_no_module_holds_is_not_seen_otherwise(name: str) -> None:
    touches, _ = ONLY_STRICTLY[name]
    with fence():
        touches()


def test_a_socket_that_was_open_before_is_seen_strictly() -> None:
    one, other = socket.socketpair()
    with one, other:
        with fence():
            one.send(b"x")
        with pytest.raises(FenceError, match=r"touched socket\.socket\.send"), strictly(), fence():
            one.send(b"x")


INNOCENT: dict[str, Callable[[], object]] = {
    "a seeded Random": lambda: Random("7/n1").random(),
    "a time given": lambda: (
        time.gmtime(0),
        time.strftime("%H", time.gmtime(0)),
        Moment.fromtimestamp(0, datetime.UTC),
    ),
    "a lock": lambda: threading.Lock().acquire(),
    "a queue": lambda: queue.SimpleQueue[int]().put(1),
    "copying": lambda: copy.deepcopy([SMALL, [1]]),
    "hash of numbers": lambda: (hash(1), hash((1, 2.0)), hash(frozenset({1}))),
    "sets and dicts": lambda: {Colour.RED: {"a", "b"}, HandlerSpec("a", 1): 1},
    "a hash method": lambda: {Hashed("a")},
    "isinstance of datetime": lambda: [isinstance(x, Moment) for x in (Moment(2026, 1, 1), 1)],
    "uuid5": lambda: uuid.uuid5(uuid.NAMESPACE_URL, "x"),
    "an exception": lambda: logging.Formatter().formatException((KeyError, KeyError("x"), None)),
}


class Hashed:
    def __init__(self, name: str) -> None:
        self.name = name

    def __hash__(self) -> int:
        return hash(self.name)


@pytest.mark.parametrize("name", INNOCENT)
def test_the_innocent_are_left_alone(name: str) -> None:
    with fence():
        INNOCENT[name]()
    with strictly(), fence():
        INNOCENT[name]()


def places() -> list[object]:
    """Everything that a fence replaces, seen from here."""
    functions = [clock, sleep, urandom, randint, time.time, random.random, os.urandom, uuid.uuid4, socket.socketpair]
    types_ = [vars(Moment)["now"], vars(date)["today"], Random.seed, Thread.start]
    return [*functions, *types_, builtins.id, builtins.hash, dict(vars(random._inst))]


def test_everything_is_as_before_after_it() -> None:
    before = places()
    with fence():
        assert places() != before
        with fence():
            pass
        assert places() != before
    assert places() == before
    with pytest.raises(FenceError), fence():
        clock()
    assert places() == before
    with pytest.raises(KeyboardInterrupt), strictly(), fence():
        raise KeyboardInterrupt
    assert places() == before
    assert sys.getprofile() is None
    assert clock() > 0
    assert Moment.now() > Moment(2026, 1, 1)


def test_an_inner_fence_leaves_the_outer_one_up() -> None:
    around, within = fence(), fence()
    around.__enter__()
    with within:
        pass
    with pytest.raises(FenceError, match="monotonic"):
        clock()
    with pytest.raises(FenceError, match="monotonic"):
        around.__exit__(None, None, None)
    assert clock() > 0


def interrupted_at(line: int) -> int:
    """Put up a fence and take it down, with Ctrl-C at the `line`-th line of its own code. How many lines that took."""
    seen = 0

    def trace(frame: types.FrameType, event: str, arg: object) -> Any:
        nonlocal seen
        if "/sim/fence/" not in frame.f_code.co_filename:
            return None
        seen += event == "line"
        if seen == line:
            seen += 1
            signal.raise_signal(signal.SIGINT)
        return trace

    sys.settrace(trace)
    try:
        with suppress(KeyboardInterrupt), fence():
            pass
    finally:
        sys.settrace(None)
    return seen


def test_an_interrupt_while_it_is_put_up_or_taken_down_leaves_nothing() -> None:
    with fence():
        pass
    before = places()
    handler = signal.getsignal(signal.SIGINT)
    lines = interrupted_at(-1)
    assert lines > 500
    # What lies between is one loop after the other, over all modules; both ends are tried line by line.
    for line in [*range(1, 120), *range(120, lines - 80, 61), *range(lines - 80, lines + 1)]:
        interrupted_at(line)
        assert places() == before, line
        assert not fenced, line
        assert signal.getsignal(signal.SIGINT) is handler, line


def test_other_threads_do_not_notice() -> None:
    told: list[object] = []
    up, free = threading.Event(), threading.Event()

    def host() -> None:
        up.wait(10)
        told.extend([clock(), time.time(), random.random(), Moment.now(), id(told), hash("x"), Random(), uuid.uuid4()])
        with socket.socket():
            free.set()

    thread = Thread(target=host)
    thread.start()

    def simulate() -> None:
        up.set()
        free.wait(10)
        assert len(told) == 8
        time.time()

    with pytest.raises(FenceError, match=r"time\.time"), fence():
        simulate()
    thread.join(10)


def test_two_threads_may_be_fenced_at_once() -> None:
    before = places()
    errors: list[FenceError] = []
    both = threading.Barrier(2)

    def simulate(stay: bool) -> None:
        try:
            with fence():
                both.wait(10)
                if stay:
                    both.wait(10)
                clock()
        except FenceError as error:
            errors.append(error)
        if not stay:
            both.wait(10)

    threads = [Thread(target=simulate, args=(stay,)) for stay in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [error.touched for error in errors] == ["time.monotonic()", "time.monotonic()"]
    assert places() == before


def test_what_interrupts_a_run_is_not_of_the_run() -> None:
    seen: list[float] = []

    def on_signal(number: int, frame: object) -> None:
        seen.append(time.time())

    def on_collection(phase: str, info: dict[str, int]) -> None:
        seen.append(clock())

    def host(kind: str) -> Iterator[None]:
        if kind == "signal":
            before = signal.signal(signal.SIGUSR1, on_signal)
            yield
            signal.signal(signal.SIGUSR1, before)
        else:
            gc.callbacks.append(on_collection)
            yield
            gc.callbacks.remove(on_collection)

    for kind, happen in (("signal", lambda: signal.raise_signal(signal.SIGUSR1)), ("gc", gc.collect)):
        seen.clear()
        around = host(kind)
        next(around)
        with fence():
            happen()
        next(around, None)
        assert seen, kind


def test_a_finalizer_of_the_host_may_do_as_it_likes() -> None:
    seen: list[float] = []

    class Resource:
        pass

    resource = Resource()
    weakref.finalize(resource, lambda: seen.append(time.time()))
    with fence():
        del resource
    assert len(seen) == 1


def test_a_module_that_is_imported_behind_the_fence_keeps_no_guard(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_handler.py").write_text("from time import time\ndef touch():\n    return time()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FenceError, match=r"late_handler\.py:3 in touch touched time\.time"), fence():
        __import__("late_handler").touch()
    late = sys.modules.pop("late_handler")
    assert late.time is time.time
    assert late.touch() > 0


def test_a_library_may_be_imported_behind_the_fence() -> None:
    script = "from sim.fence import fence\nwith fence():\n    import multiprocessing.process, http.client, asyncio\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_guard_that_a_class_took_along_is_no_method() -> None:
    with fence():

        class Holder:
            read = staticmethod(time.time)
            clock = vars(time)["time"]

    assert Holder().read() > 0
    assert Holder().clock() > 0


def test_a_temporary_file_is_the_runs_own_doing() -> None:
    with pytest.raises(FenceError) as caught, fence():
        tempfile._RandomNameSequence().rng.random()  # type: ignore[attr-defined]  # as mkstemp does
    assert "tempfile" in caught.value.through


def test_it_costs_next_to_nothing() -> None:
    with fence():
        pass
    best = 1.0
    for _ in range(20):
        begun = perf_counter()
        with fence():
            pass
        best = min(best, perf_counter() - begun)
    assert best < 0.005  # a hundred times what it takes


def test_the_fence_does_not_change_a_run() -> None:
    scenario = Scenario(nodes=3, seconds=10, tasks_per_s=2)
    plain = run(scenario).trace_hash
    with strictly():
        assert run(scenario).trace_hash == plain
