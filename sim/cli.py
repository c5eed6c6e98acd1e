"""The `meshsim` command. Exit status: 0 every property held, 1 some were violated, 2 the input cannot be used.

`main` parses and says what is wrong with the input in one error with a next step; `sim/show.py` prints results. With
--json exactly one JSON document goes to stdout and nothing else does; errors and progress go to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated

import typer
import typer.main

from sim.errors import ScenarioError

if TYPE_CHECKING:
    from sim.scenario import Scenario

PROGRAM = "meshsim"
SEEDS_MAX = 10_000_000
JOBS_MAX = 1024


class Exit(IntEnum):
    """Exit statuses."""

    HELD = 0
    VIOLATED = 1
    UNUSABLE = 2
    INTERRUPTED = 130


app = typer.Typer(
    name=PROGRAM,
    help="Runs a mesh in virtual time, breaks its network and its nodes, and checks what must hold all the same.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _commands() -> None:
    """Keeps `run` a command of its own while it is the only one."""


@app.command("run")
def run_command(
    nodes: Annotated[int, typer.Option(help="How many nodes.")] = 5,
    seconds: Annotated[float, typer.Option(help="Virtual seconds, before the mesh is given time to settle.")] = 60.0,
    seed: Annotated[int, typer.Option(help="What all chance is drawn from. The same seed is the same run.")] = 0,
    seeds: Annotated[str, typer.Option(metavar="A..B", help="Run every seed from A up to, not including, B.")] = "",
    jobs: Annotated[int, typer.Option(help="Processes for --seeds; 0: one per core. Results do not depend on it.")] = 0,
    partition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC", help="halves@30-60, isolate:2@10-40 (2 nodes), oneway:2@10-40 (unheard). Repeatable."
        ),
    ] = None,
    crash: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="3@20-35: 3 nodes are down from 20 to 35 s; 3@20: for good. Repeatable."),
    ] = None,
    disk_full: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="2@20-40: every write of 2 nodes fails from 20 to 40 s. Repeatable."),
    ] = None,
    loss: Annotated[float, typer.Option(metavar="P", help="Probability that a datagram is lost.")] = 0.0,
    duplicate: Annotated[float, typer.Option(metavar="P", help="Probability that a datagram arrives twice.")] = 0.0,
    reorder: Annotated[float, typer.Option(metavar="P", help="Probability that a datagram is overtaken.")] = 0.0,
    tasks: Annotated[float, typer.Option(metavar="RATE", help="Tasks that callers hand in per virtual second.")] = 0.0,
    start: Annotated[
        str, typer.Option(help="converged: all know each other; join: they find each other by seeds.")
    ] = "converged",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Run a mesh, or one per seed, and say what was violated."""
    from sim.faults.short import parse_crash, parse_disk_full, parse_partition
    from sim.network import LinkProfile
    from sim.scenario import Scenario

    faults = [parse_partition(spec) for spec in partition or ()]
    faults += [parse_crash(spec) for spec in crash or ()]
    faults += [parse_disk_full(spec) for spec in disk_full or ()]
    scenario = Scenario(
        nodes=nodes,
        seconds=seconds,
        seed=seed,
        start=start,  # type: ignore[arg-type]  # `validate` names the nearest valid one
        link=LinkProfile(loss=loss, duplicate=duplicate, reorder=reorder),
        faults=tuple(faults),
        tasks_per_s=tasks,
    )
    scenario.validate()
    if not 0 <= jobs <= JOBS_MAX:
        raise ScenarioError(f"--jobs {jobs}: it is a number of processes, 1 to {JOBS_MAX}, or 0 for one per core.")
    if not seeds:
        return _run_one(scenario, as_json)
    return _run_sweep(scenario, parse_seeds(seeds), jobs, as_json)


def _run_one(scenario: Scenario, as_json: bool) -> int:
    from sim.scenario import run
    from sim.show import print_json, run_document, show_report

    report = run(scenario)
    if as_json:
        print_json(run_document(scenario, report))
    else:
        show_report(scenario, report)
    return Exit.HELD if report.held else Exit.VIOLATED


def _run_sweep(scenario: Scenario, seeds: range, jobs: int, as_json: bool) -> int:
    from sim.show import print_json, show_sweep, sweep_document, with_progress
    from sim.sweep import sweep, usable_cores

    reports = list(with_progress(sweep(scenario, seeds, jobs or usable_cores()), len(seeds), quiet=as_json))
    if as_json:
        print_json(sweep_document(scenario, reports))
    else:
        show_sweep(scenario, reports)
    return Exit.HELD if all(report.held for report in reports) else Exit.VIOLATED


def parse_seeds(text: str) -> range:
    """Read `A..B`: A, A+1, … B−1. Raises `ScenarioError`."""
    first, dots, last = text.partition("..")
    if not dots or not _is_number(first) or not _is_number(last):
        raise ScenarioError(f"Cannot read the seeds {text!r}: they are written A..B, as in 0..500.")
    seeds = range(int(first), int(last))
    if not seeds:
        turned = f"{last}..{first}" if int(last) < int(first) else f"{first}..{int(first) + 1}"
        raise ScenarioError(f"There are no seeds in {text}: B is not included. Did you mean {turned}?")
    if len(seeds) > SEEDS_MAX:
        raise ScenarioError(f"{text} are {len(seeds)} seeds; at most {SEEDS_MAX} go into one sweep.")
    return seeds


def _is_number(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: the process's own) name. Its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = typer.main.get_command(app).main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except ScenarioError as error:
        return _unusable(str(error))
    except typer.TyperException as error:
        return _unusable(_usage(error))
    except (KeyboardInterrupt, typer.Abort):
        print(f"{PROGRAM}: interrupted; nothing was reported.", file=sys.stderr)
        return Exit.INTERRUPTED
    return status if isinstance(status, int) else Exit.HELD


def _unusable(text: str) -> int:
    print(f"{PROGRAM}: {text}", file=sys.stderr)
    return Exit.UNUSABLE


def _usage(error: typer.TyperException) -> str:
    """The parser's complaint, with the nearest option. Its subclasses are not public, so fields are looked for."""
    option = getattr(error, "option_name", None)
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", PROGRAM)
    if option is None or getattr(error, "possibilities", option) is option:
        message = error.format_message()
        return f"{message} `{path} --help` shows what there is."
    parameters = getattr(getattr(context, "command", None), "params", ())
    known = [name for parameter in parameters for name in parameter.opts if name.startswith("--")]
    near = get_close_matches(option, [*known, "--help"], n=1, cutoff=0.6)
    hint = f"Did you mean {near[0]}?" if near else f"`{path} --help` shows what there is."
    return f"There is no option {option} of `{path}`. {hint}"
