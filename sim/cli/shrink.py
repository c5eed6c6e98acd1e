"""`meshsim shrink`: the smallest scenario that still violates the same property, as a file to replay."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli.operand import load_operand, split_operand
from sim.cli.options import Seed
from sim.cli.outputs import check_file, check_folder, write_file
from sim.cli.status import Exit
from sim.errors import ScenarioError, nearest

if TYPE_CHECKING:
    from sim.failure.shrink import OnProgress, Shrunk
    from sim.scenario import Scenario

RUNS = 1000
SECONDS = 300.0


def shrink_command(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="A TOML file; FILE@N is the same as --seed N.")],
    seed: Seed = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the small scenario is written. (default: a free name in this folder)"),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs, at most.")] = RUNS,
    seconds: Annotated[float, typer.Option(min=0.0, help="Seconds of your time, at most.")] = SECONDS,
    keep: Annotated[
        str, typer.Option("--property", metavar="NAME", help="The property to keep violated. Without it: the first.")
    ] = "",
) -> int:
    """Drop faults, nodes, time and options from a failing scenario while it fails in the same way."""
    from sim.checkers import BY_NAME
    from sim.failure.render import RULES
    from sim.failure.shrink import End, NothingToShrink, shrink

    wanted = load_operand(scenario, seed)
    if keep and keep not in (known := (*BY_NAME, *RULES)):
        raise ScenarioError(f"There is no property {keep!r}. {nearest(keep, known)}")
    if out is None:
        check_folder("--out", Path())
    check_file("--out", out, Path(split_operand(scenario)[0]))
    try:
        shrunk = shrink(
            wanted, property_name=keep, budget_runs=runs, budget_s=seconds, on_progress=_progress(sys.stderr.isatty())
        )
    except NothingToShrink as error:
        print(error)
        return Exit.HELD
    path = out or _free_name(shrunk.scenario)
    if out is not None or not path.exists():  # one that is there holds this very run, maybe with words of its reader's
        write_file("--out", path, _text(shrunk, path))
    _tell(shrunk, path)
    return Exit.INTERRUPTED if shrunk.end is End.INTERRUPTED else Exit.VIOLATED


def _progress(shown: bool) -> OnProgress | None:
    if not shown:
        return None

    def on_progress(runs: int, best: Scenario) -> None:
        text = f"{runs} runs: {len(best.faults)} faults, {best.nodes} nodes, {best.seconds:g} s"
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    return on_progress


def _free_name(scenario: Scenario) -> Path:
    """The first name in this folder at which no file stands that holds another run, as may the one that was given."""
    from sim.failure.report import file_name, is_free

    stem = file_name(scenario, scenario.seed)
    names = (Path(f"{stem}{'' if number == 1 else f'-{number}'}-small.toml") for number in count(1))
    return next(path for path in names if is_free(path, scenario))


def _text(shrunk: Shrunk, path: Path) -> str:
    from sim.failure.render import violation_line
    from sim.failure.report import replay_command
    from sim.failure.source import commit_line
    from sim.files import dumps

    comment = [
        "The smallest form that meshsim shrink found of a failure.",
        f"violates  {shrunk.violation.property}: {' '.join(violation_line(shrunk.violation).split())}",
        f"seed      {shrunk.scenario.seed}",
        f"commit    {commit_line()}",
        f"run it    {replay_command(path)}",
    ]
    return dumps(shrunk.scenario, comment="\n".join(comment))


def _tell(shrunk: Shrunk, path: Path) -> None:
    from sim.failure.render import violation_line
    from sim.failure.report import replay_command

    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    print(f"{shrunk.violation.property}, {violation_line(shrunk.violation)}")
    for change in shrunk.changes or ("nothing could be dropped",):
        print(f"  {change}")
    print(f"{shrunk.runs} runs in {shrunk.wall_s:.1f} s; {shrunk.end}.")
    if shrunk.given_up:
        print(f"{shrunk.given_up} of them came to no end or broke down, and count as not failing.")
    print(f"It stands in {path}. Run it:\n  {replay_command(path)}")
