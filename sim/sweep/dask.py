"""A sweep over a Dask cluster, for what one machine is too small for. Needs the extra `meshnode[dask]`.

Order, bookkeeping and reports are those of `local.py`. The cluster must run the very code that runs here, or its traces
would be others: every worker is asked before the first seed, and says so again with every answer, because workers come
and go.

The scheduler gives the jobs of a lost worker to others. A job that it gives up, because it lost its worker again and
again, is tried once more with nothing else under way: who dies then dies by himself, and is reported.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from sim.errors import ScenarioError
from sim.scenario import Report, Scenario
from sim.sweep.fingerprint import Code, code_here
from sim.sweep.local import SweepInterrupted
from sim.sweep.seed import Work, lost, run_seed, run_whatever_comes
from sim.sweep.window import DEATHS_MAX, Job, Pace, Window

CONNECT_S = 10
WORKERS_S = 10
"""How long to wait for a first worker."""
WORKERLESS_MAX_S = 60
"""How long a sweep goes on without any."""
ANSWER_S = 60
"""How long the result of a finished job may take to get here."""
POLL_S = 2.0
BATCHES_PER_WORKER = 2
WINDOW = 4096

LOADED = code_here()
"""The code of this process, as of its import: a worker that has been up for long may run what is no longer there."""

Client: TypeAlias = Any
Future: TypeAlias = Any
"""`distributed` is imported only when it is needed, and hardly typed."""

Answer: TypeAlias = tuple[Code, list[tuple[int, Report, float]]]
_one_at_a_time = threading.Lock()


def run_jobs(scenario: Scenario, jobs: list[Job], work: Work) -> Answer:
    """On a worker: run some seeds, one after the other, and say by what code.

    A run sets the garbage collector of its process, so threads of one worker take turns; they share a core anyway.
    """
    done: list[tuple[int, Report, float]] = []
    for job in jobs:
        with _one_at_a_time:
            begun = time.perf_counter()
            report = run_whatever_comes(work, scenario, job.seed)
            done.append((job.position, report, time.perf_counter() - begun))
    return LOADED, done


def dask_sweep(scenario: Scenario, seeds: Iterable[int], address: str, work: Work = run_seed) -> Iterator[Report]:
    """The report of every seed, in the order of `seeds`, run by the workers of the cluster at `address` (tcp://…).

    Raises `ScenarioError` where that cannot be: no `distributed` here, nobody there, no workers, workers without this
    package or with other code, or a cluster that is lost on the way; and `SweepInterrupted` on Ctrl-C.
    """
    scenario.validate()
    if not re.fullmatch(r"[a-z]+://[^/\s]+(/.*)?", address):
        raise ScenarioError(f"{address!r} is no address of a Dask scheduler: it is written as in tcp://10.0.0.5:8786.")
    window = Window(seeds, WINDOW)
    try:
        client = _connect(address)
        try:
            _check_workers(client, address)
            yield from _Cluster(client, address, scenario, window, work).reports()
        finally:
            client.close(timeout=CONNECT_S)
    except KeyboardInterrupt:
        raise SweepInterrupted(window) from None


def _connect(address: str) -> Client:
    try:
        import distributed
    except ImportError as error:
        raise ScenarioError(
            f"A sweep over a Dask cluster needs the package `distributed` ({error}). Install it with: "
            "python -m pip install 'meshnode[dask]'"
        ) from error
    try:
        return distributed.Client(  # type: ignore[no-untyped-call]  # `distributed` is hardly typed
            address, timeout=CONNECT_S, set_as_default=False, name="meshsim"
        )
    except (OSError, ValueError) as error:
        raise ScenarioError(
            f"No Dask scheduler answers at {address} within {CONNECT_S} s ({error}). Is one running there? "
            "`dask scheduler` starts one and prints its address."
        ) from error


def _check_workers(client: Client, address: str) -> None:
    """Raise `ScenarioError` unless there are workers, and all of them run the code that runs here."""
    try:
        client.wait_for_workers(1, timeout=WORKERS_S)
    except TimeoutError as error:
        raise ScenarioError(
            f"The Dask cluster at {address} has no workers. Start some where this package is installed: "
            f"dask worker {address}"
        ) from error
    for worker, code in sorted(client.run(_probe(), on_error="return").items()):
        if not isinstance(code, Code):
            raise ScenarioError(
                f"The Dask worker {worker} cannot import this package ({type(code).__name__}: {code}). Install the "
                "same version of it in the environment of every worker, and start them again."
            )
        _check_code(code, f"The Dask worker {worker}")


def _probe() -> Callable[[], Code]:
    """A function that travels as code, because a worker may not have this package to import it from."""

    def probe() -> Code:
        from sim.sweep.dask import LOADED

        return LOADED

    return probe


def _check_code(code: Code, who: str) -> None:
    if code != LOADED:
        raise ScenarioError(
            f"{who} runs other code ({code}) than this process ({LOADED}): its runs would be other runs. Install the "
            "same code on both sides and start the workers again."
        )


class _Cluster:
    """The jobs of one sweep on a cluster."""

    def __init__(self, client: Client, address: str, scenario: Scenario, window: Window, work: Work) -> None:
        self._client = client
        self._address = address
        self._scenario = scenario
        self._window = window
        self._work = work
        self._pace = Pace()
        self._under_way: dict[Future, list[Job]] = {}
        self._suspects: deque[Job] = deque()
        """Jobs that lost their worker too often, maybe by the fault of others: each is run alone."""
        self._alone: Future = None
        self._answered: SimpleQueue[Future] = SimpleQueue()
        self._workers = 0
        self._looked_at = 0.0
        self._workers_at = time.monotonic()

    def reports(self) -> Iterator[Report]:
        """Run everything; cancel what is under way however this ends."""
        try:
            while True:
                self._look_at_workers()
                self._hand_out()
                yield from self._window.ready()
                if self._window.over:
                    return
                self._listen()
        finally:
            if self._under_way:
                self._client.cancel(list(self._under_way))

    def _look_at_workers(self) -> None:
        """Count the workers now and then; raise `ScenarioError` where there have been none for too long."""
        now = time.monotonic()
        if now - self._looked_at < POLL_S:
            return
        self._looked_at = now
        self._workers = self._count_workers()
        if self._workers:
            self._workers_at = now
        elif now - self._workers_at > WORKERLESS_MAX_S:
            raise self._lost("has had no workers for a minute")

    def _count_workers(self) -> int:
        """How many there are; none where the cluster goes away this very moment: its jobs are cancelled soon."""
        try:
            return len(self._client.nthreads()) if self._client.status == "running" else 0
        except OSError:
            return 0

    def _hand_out(self) -> None:
        if self._suspects:
            if not self._under_way:
                self._alone = self._submit([self._suspects.popleft()])
            return
        while len(self._under_way) < BATCHES_PER_WORKER * max(1, self._workers):
            jobs = self._window.take(self._pace.ahead)
            if not jobs:
                return
            self._submit(jobs)

    def _submit(self, jobs: list[Job]) -> Future:
        future = self._client.submit(run_jobs, self._scenario, jobs, self._work, pure=False)
        self._under_way[future] = jobs
        future.add_done_callback(self._answered.put)
        return future

    def _listen(self) -> None:
        """Wait for an answer, though not for ever, and take what has come."""
        try:
            future = self._answered.get(timeout=POLL_S)
            while True:
                self._heard(future, self._under_way.pop(future))
                future = self._answered.get_nowait()
        except Empty:
            return

    def _heard(self, future: Future, jobs: list[Job]) -> None:
        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        try:
            answer: Answer = future.result(timeout=ANSWER_S)
        except KilledWorker:
            self._given_up(jobs, alone=future is self._alone)
            return
        except (ScenarioError, KeyboardInterrupt):
            raise
        except (TimeoutError, CommClosedError):
            # The answer was lost on its way. Where the whole cluster is lost, the next jobs are told so.
            for job in jobs:
                self._window.again(job)
            return
        except ImportError as error:
            raise ScenarioError(f"A Dask worker that has joined cannot import this package ({error}).") from error
        except BaseException as error:
            if future.cancelled():
                raise self._lost("went away") from error
            raise
        code, done = answer
        _check_code(code, "A Dask worker that has joined")
        for position, report, seconds in done:
            self._pace.took(seconds)
            self._window.done(position, report)

    def _given_up(self, jobs: list[Job], alone: bool) -> None:
        """The scheduler has given up some jobs: it has lost several workers that held them."""
        if alone:
            (job,) = jobs
            self._window.done(
                job.position, lost(self._scenario, job.seed, DEATHS_MAX, "on the workers of a Dask cluster")
            )
        else:
            self._suspects.extend(jobs)

    def _lost(self, how: str) -> ScenarioError:
        return ScenarioError(
            f"The Dask cluster at {self._address} {how}; {self._window.progress} were done by then. Their reports are "
            "lost with it: start it again, or sweep here with --jobs."
        )
