"""The command line of the benchmarks: which to run, and in what form the figures come out.

    scripts/bench [--quick] [NAME ...] [--json] [--list] [--no-peers] [--serf PATH]

Exit status 0 when every benchmark did its work, whether goals were met or not (these are figures, not tests); 1 when
one broke, the others' figures still being told; 2 for arguments that mean nothing. With --json, stdout carries one JSON
document and nothing else: {"machine", "commit", "rows"}. Progress and errors go to stderr.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import msgspec
from msgspec import Struct

from scripts.benchmarks.figures import BenchBroken, Benchmark, Row, Setting
from scripts.benchmarks.machine import Machine, commit, look_at_machine
from scripts.benchmarks.peers import Peers, cache_directory
from scripts.benchmarks.suite import BENCHMARKS
from scripts.stoppable import stoppable

OK, BROKEN, USAGE, INTERRUPTED = 0, 1, 2, 130
INSTALL_S_MAX = 180.0
INSTALL_QUICK_S_MAX = 45.0


class Report(Struct, frozen=True):
    """The JSON document."""

    machine: Machine
    commit: str
    rows: list[Row]


def main(arguments: Sequence[str] | None = None, benchmarks: Sequence[Benchmark] = BENCHMARKS) -> int:
    """Run what `arguments` (default: the process's own) name out of `benchmarks`. The exit status."""
    parser = _parser(benchmarks)
    try:
        options = parser.parse_args(arguments)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    if options.list:
        _print_list(benchmarks)
        return OK
    by_name = {benchmark.name: benchmark for benchmark in benchmarks}
    for name in options.names:
        if name not in by_name:
            return _unknown(name, list(by_name))
    chosen = [by_name[name] for name in dict.fromkeys(options.names)] or list(benchmarks)
    try:
        with stoppable():
            report, whole = run_all(chosen, quick=options.quick, peers_allowed=not options.no_peers, serf=options.serf)
    except (KeyboardInterrupt, BaseExceptionGroup) as error:
        if isinstance(error, BaseExceptionGroup) and not error.subgroup(KeyboardInterrupt):
            raise
        _say("interrupted; nothing is told of what was measured so far")
        return INTERRUPTED
    except OSError as error:
        _say(f"error: {cache_directory()} cannot be used: {error.strerror or error}")
        _say("  next: set XDG_CACHE_HOME to a directory on the disk that is to be measured")
        return BROKEN
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    else:
        from scripts.benchmarks.table import print_report

        print_report(report)
    return OK if whole else BROKEN


def run_all(
    chosen: Sequence[Benchmark], *, quick: bool, peers_allowed: bool, serf: str = "serf"
) -> tuple[Report, bool]:
    """Every figure, and whether all benchmarks did their work. Raises `OSError` where nothing can be written."""
    cache = cache_directory()
    install_s_max = INSTALL_QUICK_S_MAX if quick else INSTALL_S_MAX
    peers = Peers(cache, install_s_max=install_s_max, allowed=peers_allowed, programs={"serf": serf})
    rows: list[Row] = []
    whole = True
    with _scratch(cache) as scratch:
        machine = look_at_machine(scratch)
        for benchmark in chosen:
            measured = _run_one(benchmark, quick, scratch, peers)
            if measured is None:
                whole = False
                rows.append(Row(bench=benchmark.name, metric="", value=None, unit="", note="broke; see stderr"))
            else:
                rows += measured
    return Report(machine, commit(), rows), whole


def _run_one(benchmark: Benchmark, quick: bool, scratch: Path, peers: Peers) -> list[Row] | None:
    """The rows of one benchmark; None where it broke, which is told here."""
    begun = time.perf_counter()

    def say(text: str) -> None:
        _say(f"  {benchmark.name}: {text}")

    try:
        with _scratch(scratch) as directory:
            rows = benchmark.run(Setting(quick, directory, peers, say))
    except Exception as error:
        broken = _found(error, BenchBroken)
        if broken is None:
            traceback.print_exc(file=sys.stderr)
        _say(f"error: {benchmark.name} broke: {broken or repr(error)}")
        return None
    _say(f"{benchmark.name}: {time.perf_counter() - begun:.1f} s")
    return rows


def _found(error: BaseException, kind: type[BenchBroken]) -> BenchBroken | None:
    """The first of its kind in an error that may be a group of them."""
    if isinstance(error, kind):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _found(inner, kind))), None)
    return None


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A directory that is gone afterwards, with what killed nodes may have left in it."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=parent, ignore_cleanup_errors=True) as path:
        yield Path(path)


def _parser(benchmarks: Sequence[Benchmark]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="How fast and how small meshnode is on this machine, each figure beside its peer.",
        epilog="Peers are installed through pip into a cache directory of their own, at their first use; serf comes "
        "from the system (Debian: apt-get install serf). A missed goal is told, and is no error. Names: "
        + ", ".join(benchmark.name for benchmark in benchmarks)
        + ".",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (default: all)")
    parser.add_argument("--quick", action="store_true", help="a few minutes in all: shorter, hence noisier")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--list", action="store_true", help="show what there is, and run nothing")
    parser.add_argument("--no-peers", action="store_true", help="install and run no peer")
    parser.add_argument("--serf", metavar="PATH", default="serf", help="where serf is (default: looked for on PATH)")
    return parser


def _print_list(benchmarks: Sequence[Benchmark]) -> None:
    for benchmark in benchmarks:
        print(f"{benchmark.name:<10} {benchmark.about}")


def _unknown(name: str, known: list[str]) -> int:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    _say(f"error: there is no benchmark {name!r}.")
    _say(f"  next: did you mean {near[0]!r}?" if near else f"  next: choose from {', '.join(known)}.")
    return USAGE


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
