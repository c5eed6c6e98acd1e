"""All seeds of one test, in their order, up to the first that fails; and what only all of them together can tell."""

from __future__ import annotations

import contextlib
import gc
import io
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct

from sim.testing.drive import Ended, Plan, TestBody, is_failure, run_seed
from sim.testing.errors import NeverHappened
from sim.testing.frames import raised_at
from sim.testing.jobs import in_processes
from sim.testing.options import Options
from sim.testing.tell import repro, tell
from sim.world import quiet_collector

Place: TypeAlias = tuple[str, int, int, str]
"""Where the test stands: its file, its first line, twice, and its name. What no line of it raised is raised there."""
COLLECT_EVERY = 16
"""Seeds between two looks of the garbage collector, which is quiet meanwhile: a run leaves some MB of cycles."""


class Result(Struct):
    """What is left of a seed once it is over: small, and fit to travel between processes."""

    seed: int
    failed: bool
    reached: dict[str, bool]
    fired: dict[str, int]
    ended: Ended | None = None
    """All there is of a seed that failed in this process."""


def seeds_of(declared: range, options: Options) -> range:
    """The seeds to run."""
    if options.seed is not None:
        return range(options.seed, options.seed + 1)
    return declared if options.seeds is None else options.seeds


def run_test(plan: Plan, declared: range, body: TestBody, options: Options, place: Place) -> int:
    """Run a test with all of its seeds; how many those were. Raises what the first that fails raises, with its report
    as the attribute `sim_report`; or `NeverHappened`."""
    __tracebackhide__ = True
    seeds = seeds_of(declared, options)
    together: list[Result] = []
    failing: Result | None = None
    for result in _results(plan, seeds, body, options.jobs):
        if result.failed:
            failing = result
            break
        together.append(result)
    options.ran(len(together) + (failing is not None))
    if failing is not None:
        raise_failure(plan, failing, body, options, place)
    if len(seeds) >= len(declared) and options.seed is None:
        never = never_happened(together)
        if never:
            raise raised_at(NeverHappened(never), *place)
    return len(seeds)


def _results(plan: Plan, seeds: Sequence[int], body: TestBody, jobs: int) -> Iterator[Result]:
    def one(seed: int, keep: bool = False) -> Result:
        ended = run_seed(plan, seed, body)
        failed = ended.error is not None
        return Result(seed, failed, ended.reached, ended.fired, ended if failed and keep else None)

    if jobs > 1 and len(seeds) > 1:
        yield from in_processes(one, lambda result: result.failed, seeds, jobs)
        return
    with quiet_collector():
        for number, seed in enumerate(seeds, start=1):
            yield one(seed, keep=True)
            if number % COLLECT_EVERY == 0:
                gc.collect()


def raise_failure(plan: Plan, failing: Result, body: TestBody, options: Options, place: Place) -> None:
    """Run a failing seed again, recorded this time, and raise its error with its report."""
    __tracebackhide__ = True
    seed = failing.seed
    first = failing.ended or run_seed(plan, seed, body)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            again: Ended | None = run_seed(plan, seed, body, record=True)
        except BaseException as raised:  # only a test that is not the same twice gets here
            if not is_failure(raised):
                raise
            again = None
    ended = first if first.error is not None else again
    if ended is None or ended.error is None:
        error: BaseException = AssertionError(
            f"Seed {seed} failed, and then passed when it was run again: the test is not determined by its seed. "
            "Something outlives a run (a module's or a fixture's state), or differs between processes."
        )
        raise raised_at(error, *place)
    error = ended.error if ended.error.__traceback__ is not None else raised_at(ended.error, *place)
    # For the plugin, which prints it; nobody else looks for these two.
    error.sim_report = tell(ended, again, options)  # type: ignore[attr-defined]  # see above
    error.sim_repro = repro(seed, options)  # type: ignore[attr-defined]  # see above
    raise error


def never_happened(results: Sequence[Result]) -> str:
    """What did not come in any of the seeds, in words; empty where everything did."""
    reached: dict[str, bool] = {}
    fired: dict[str, int] = {}
    for result in results:
        for name, held in result.reached.items():
            reached[name] = reached.get(name, False) or held
        for kind, count in result.fired.items():
            fired[kind] = fired.get(kind, 0) + count
    lines = [f"{name!r} held in none of them" for name, held in reached.items() if not held]
    lines += [f"the fault {kind!r} never struck" for kind, count in fired.items() if not count]
    if not lines:
        return ""
    return (
        f"All {len(results)} seeds passed, but " + "; ".join(lines) + ". What never happens proves nothing: "
        "change the test so that it comes about, run more seeds (--sim-seeds=A..B), or take it out."
    )
