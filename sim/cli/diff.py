"""`meshsim diff`: where two runs part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli.operand import load_operand
from sim.cli.status import Exit

if TYPE_CHECKING:
    from sim.failure.compare import Compared, Record
    from sim.scenario import Scenario

RUN = "FILE.toml, or FILE.toml@SEED."


def diff_command(
    a: Annotated[str, typer.Argument(metavar="A", help=RUN)],
    b: Annotated[str, typer.Argument(metavar="B", help=f"{RUN} The same as A: is a run of it determined?")],
    source: Annotated[
        str, typer.Option(metavar="DIR", help="Run B with the code in DIR, another checkout of this repository.")
    ] = "",
) -> int:
    """Run two scenarios and show the first thing that differs, with what came before it on both sides.

    Where A and B are one run, or --source is given, B runs in a fresh process under another hash seed.
    """
    from sim.failure.compare import compare
    from sim.scenario import expand

    one, other = (load_operand(text) for text in (a, b))
    apart = bool(source) or expand(one) == expand(other)
    compared = compare(_recorder(one), _recorder_apart(other, source) if apart else _recorder(other))
    name_b = f"{b} in {source}" if source else f"{b}, in a fresh process" if apart else b
    _tell(compared, a, name_b)
    return Exit.HELD if compared.a.trace_hash == compared.b.trace_hash else Exit.VIOLATED


def _recorder(scenario: Scenario) -> Record:
    from sim.failure.watched import RECORDED_MAX
    from sim.record.recorder import record

    return lambda until_s: record(scenario, limit=RECORDED_MAX, until_s=until_s)[1]


def _recorder_apart(scenario: Scenario, source: str) -> Record:
    from sim.failure.elsewhere import record_elsewhere
    from sim.failure.watched import RECORDED_MAX

    where = Path(source) if source else None
    return lambda until_s: record_elsewhere(scenario, limit=RECORDED_MAX, until_s=until_s, source=where)


def _tell(compared: Compared, name_a: str, name_b: str) -> None:
    from sim.failure.divergence import show_divergence

    a, b, divergence = compared.a, compared.b, compared.divergence
    if a.trace_hash == b.trace_hash:
        print(f"The runs are the same: trace hash {a.trace_hash}.")
        return
    print(f"A  {a.trace_hash}  {_verdict(compared.a.violations)}  {name_a}")
    print(f"B  {b.trace_hash}  {_verdict(compared.b.violations)}  {name_b}")
    if divergence is None:
        print("They differ in times and order, but the same kinds of things happen in both.")
        return
    print("First divergence: " + "\n".join(show_divergence(divergence, a, b, f"A, {name_a}", f"B, {name_b}")))


def _verdict(violations: tuple[object, ...]) -> str:
    return f"{len(violations)} violated" if violations else "held"
