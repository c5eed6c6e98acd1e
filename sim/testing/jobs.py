"""Seeds of one test over several processes, with the results in the order of the seeds.

Processes are forked, because a test's function and fixtures live in this one and cannot travel. Child k takes every
jobs-th seed from the k-th on; none takes a seed behind the first that is known to have failed. What a seed gives does
not depend on the process that runs it. Ctrl-C is the parent's business, and no child outlives its parent for long.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, TypeVar

from sim.errors import ScenarioError
from sim.sweep.local import no_interrupt
from sim.world import quiet_collector

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

R = TypeVar("R")


def in_processes(one: Callable[[int], R], failed: Callable[[R], bool], seeds: Sequence[int], jobs: int) -> Iterator[R]:
    """`one(seed)` of every seed in order, up to and including the first that `failed`. Raises what `one` raises, and
    `ScenarioError` where this system cannot fork."""
    if "fork" not in multiprocessing.get_all_start_methods():
        raise ScenarioError(
            "--sim-jobs needs a system that can fork. Leave it out; pytest-xdist runs whole tests in parallel."
        )
    context = multiprocessing.get_context("fork")
    limit = context.Value("q", len(seeds))
    children: dict[Connection, BaseProcess] = {}
    found: dict[int, R | BaseException] = {}
    try:
        for child in range(min(jobs, len(seeds))):
            ours, theirs = context.Pipe(duplex=False)

            def work(child: int = child, ours: Connection = ours, theirs: Connection = theirs) -> None:
                for pipe in (*children, ours):
                    pipe.close()  # what only the parent reads breaks when the parent is gone, and so does this child
                with quiet_collector(), suppress(BrokenPipeError):
                    for position in range(child, len(seeds), jobs):
                        if position > limit.value:
                            break
                        _send(theirs, position, one, seeds[position])
                theirs.close()
                os._exit(0)  # the parent's exit handlers and fixtures are not this child's to run

            process: BaseProcess = context.Process(target=work, daemon=True)
            with no_interrupt(), warnings.catch_warnings():
                # Python warns of forking where other threads run; a child runs seeds, and touches nothing of theirs.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
                children[ours] = process
            theirs.close()
        for position in range(len(seeds)):
            while position not in found:
                _receive(children, found, failed, limit)
            result = found.pop(position)
            if isinstance(result, BaseException):
                raise result
            yield result
            if failed(result):
                return
    finally:
        for pipe, process in children.items():
            process.terminate()
            process.join()
            pipe.close()


def _send(pipe: Connection, position: int, one: Callable[[int], R], seed: int) -> None:
    try:
        result: R | BaseException = one(seed)
    except BaseException as error:  # a skip: the parent raises it
        result = error
    try:
        data = pickle.dumps((position, result))
    except Exception:
        data = pickle.dumps((position, RuntimeError(f"seed {seed} ended by {result!r}, which cannot travel")))
    pipe.send_bytes(data)


def _receive(
    children: dict[Connection, BaseProcess],
    found: dict[int, R | BaseException],
    failed: Callable[[R], bool],
    limit: Synchronized[int],
) -> None:
    """Take in what has come from any child; forget those that are done."""
    if not children:
        raise RuntimeError("a process that ran seeds died without a word. Run without --sim-jobs to see where.")
    for pipe in wait(list(children)):
        assert isinstance(pipe, Connection)
        try:
            position, result = pickle.loads(pipe.recv_bytes())
        except EOFError:
            children.pop(pipe).join()
            pipe.close()
            continue
        found[position] = result
        if isinstance(result, BaseException) or failed(result):
            limit.value = min(limit.value, position)
