"""The experiments of the membership study, and which trials of them are run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from sim.errors import ScenarioError, nearest
from sim.scenario.model import NODES_MAX
from sim.study.detection import Detection
from sim.study.dissemination import Dissemination
from sim.study.false_positives import FalsePositives
from sim.study.findings import Study
from sim.study.healing import Healing
from sim.study.stability import Stability
from sim.study.traffic import Traffic
from sim.study.trial import Experiment, Figures, Samples, Trial

NAME = "membership"
EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (Detection(), FalsePositives(), Dissemination(), Healing(), Traffic(), Stability())
}
"""By name, in the order in which they are told."""


def parse_sizes(option: str, text: str) -> tuple[int, ...]:
    """Read `5,20,100`. Raises `ScenarioError`."""
    sizes: list[int] = []
    for word in text.split(","):
        digits = word.strip()
        if not (digits.isascii() and digits.isdigit() and 2 <= int(digits) <= NODES_MAX):
            raise ScenarioError(
                f"{option} {text[:80]}: numbers of nodes are written 5,20,100; each from 2 to {NODES_MAX}."
            )
        sizes.append(int(digits))
    return tuple(sorted(set(sizes)))


def chosen(option: str, names: Sequence[str]) -> list[Experiment]:
    """The experiments of those names; all where there is none. Raises `ScenarioError`."""
    for name in names:
        if name not in EXPERIMENTS:
            raise ScenarioError(
                f"{option} {name}: there is no such experiment. {nearest(name, EXPERIMENTS)} "
                f"There are: {', '.join(EXPERIMENTS)}."
            )
    return [experiment for name, experiment in EXPERIMENTS.items() if not names or name in names]


def plan(experiments: Sequence[Experiment], sizes: Sequence[int], seeds: range | None) -> Iterator[Trial]:
    """Every trial, one of each experiment in turn, so that who breaks off has something of everything."""
    for turn in zip_longest(*(experiment.trials(sizes, seeds) for experiment in experiments)):
        yield from (trial for trial in turn if trial is not None)


def run_trial(trial: Trial) -> Figures:
    """Measure one. Raises `StudyError`."""
    return EXPERIMENTS[trial.experiment].run(trial)


def conclude(
    experiments: Sequence[Experiment],
    sizes: Sequence[int],
    seeds: range | None,
    taken: Sequence[tuple[Trial, Figures]],
    planned: int,
) -> Study:
    """What all that was measured says."""
    sections = [
        experiment.section(Samples([each for each in taken if each[0].experiment == experiment.name]))
        for experiment in experiments
    ]
    usual = "the usual share (fewer the larger the mesh, and without what takes minutes)"
    which = usual if seeds is None else f"{seeds.start}..{seeds.stop}"
    return Study(NAME, tuple(sizes), which, len(taken), planned, tuple(sections))
