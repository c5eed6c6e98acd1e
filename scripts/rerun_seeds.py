"""Runs a sample of seeds here and in fresh processes, and fails where they are not the same: scripts/rerun.

    python -m scripts.rerun_seeds [FIRST [COUNT]]

The sample has every kind of fault that there is, every imperfection of links, both starts, and every scenario of
`examples/scenarios`. Exit status: 0 all the same, 1 some differ, 2 unusable input, or a process that does not answer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from sim.errors import ScenarioError
from sim.faults import KINDS, AnyFault
from sim.files.read import load
from sim.network import LinkProfile
from sim.scenario import Scenario
from sim.sweep.rerun import PLACES, RerunFailed, rerun

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "scenarios"
COUNT = 2
COUNT_MAX = 1000
KINDS_PER_SCENARIO = 5
NODES = 5
SECONDS = 40.0
ROUGH = LinkProfile(loss=0.03, duplicate=0.03, reorder=0.05, reset=0.01)
NEEDED: dict[str, dict[str, object]] = {"groups": {"groups": [["n0", "n1"], ["n3"]]}}
"""What a kind must be told besides when it begins and ends."""


def fault_of(kind: str, start_s: float, end_s: float) -> AnyFault:
    """A fault of `kind`. Raises `msgspec.ValidationError` for one that needs more than `NEEDED` says."""
    fields = {"kind": kind, "start_s": start_s, "end_s": end_s, **NEEDED.get(kind, {})}
    return msgspec.convert(fields, AnyFault)  # type: ignore[no-any-return]  # a union is no type to mypy


def sample(kinds: Sequence[str] = tuple(KINDS), folder: Path = EXAMPLES) -> dict[str, Scenario]:
    """What is run again, by name."""
    scenarios: dict[str, Scenario] = {}
    for first in range(0, len(kinds), KINDS_PER_SCENARIO):
        some = kinds[first : first + KINDS_PER_SCENARIO]
        faults = tuple(fault_of(kind, 4.0 + 5 * place, 12.0 + 5 * place) for place, kind in enumerate(some))
        scenarios[", ".join(some)] = Scenario(nodes=NODES, seconds=SECONDS, tasks_per_s=3, faults=faults)
    scenarios["rough links, joining"] = Scenario(
        nodes=NODES, seconds=SECONDS, tasks_per_s=3, start="join", link=ROUGH, faults=(fault_of("crash", 10, 20),)
    )
    for path in sorted(folder.glob("*.toml")):
        scenarios[path.name] = load(path)
    return scenarios


def _number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise ScenarioError(f"{text!r} is no number from {least} to {most}. Usage: scripts/rerun [FIRST [COUNT]]")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    """Run the sample again. The exit status."""
    try:
        if len(arguments) > 2:
            raise ScenarioError("There are too many arguments. Usage: scripts/rerun [FIRST [COUNT]]")
        first = _number(arguments[0], 0, 1 << 60) if arguments else 0
        count = _number(arguments[1], 1, COUNT_MAX) if len(arguments) == 2 else COUNT
        scenarios = sample()
        differences = 0
        for difference in rerun(scenarios, range(first, first + count)):
            differences += 1
            print(difference, flush=True)
    except (ScenarioError, RerunFailed) as error:
        print(f"rerun: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("rerun: interrupted.", file=sys.stderr)
        return 130
    where = " and ".join(place.name for place in PLACES)
    runs = f"{count} seed{'s' * (count > 1)} of each of {len(scenarios)} scenarios, again in {where}"
    print(f"{runs}: {f'{differences} differ' if differences else 'all the same'}.")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
