"""Every checker is proven: planted bugs that it must catch, and the code as it stands, which it must leave alone."""

from __future__ import annotations

import pytest

from sim.checkers import BY_NAME
from tests.sim.planted.every import EVERY, FAMILIES, code_digest, sample
from tests.sim.planted.hashes import BUGS, trace_hashes
from tests.sim.planted.mutant import LOST, QUIET, Mutant, Tampered, false_alarms, mutant_of, prove


@pytest.mark.parametrize("mutant", sample(code_digest()), ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_caught_and_the_code_as_it_stands_holds(mutant: Mutant) -> None:
    proof = prove(mutant)
    assert proof.caught, f"{mutant.breaks} {mutant.caught_by} did not fall in {proof.seeds}, only {proof.fallen}"
    assert false_alarms(mutant, proof.seeds) == []


def test_a_bug_that_breaks_nothing_is_not_caught() -> None:
    harmless = mutant_of(Tampered, QUIET, "agreement", seeds=1)
    assert not prove(harmless).caught
    assert prove(harmless).fallen == ()


def test_a_bug_is_caught_only_when_all_that_must_fall_has_fallen() -> None:
    never_probes = next(mutant for mutant in EVERY if mutant.name == "never_probes")
    assert prove(never_probes).caught
    assert not prove(Mutant("x", "", LOST, ("completeness", "one_reply"), plant=never_probes.plant, seeds=1)).caught
    assert false_alarms(never_probes, range(2)) == []  # and the code is whole again


def test_every_checker_has_a_bug_that_it_catches() -> None:
    proven = {name for mutant in EVERY for name in mutant.caught_by}
    assert BY_NAME.keys() <= proven, f"nothing proves {sorted(BY_NAME.keys() - proven)}"


def test_every_bug_is_named_once_and_says_what_is_broken() -> None:
    assert len({mutant.name for mutant in EVERY}) == len(EVERY) >= 40
    assert all(mutant.breaks.endswith(".") for mutant in EVERY)


def test_three_samples_in_a_row_are_all_bugs_and_each_has_some_of_every_family() -> None:
    turns = [sample(turn) for turn in (7, 8, 9)]
    assert sorted(mutant.name for turn in turns for mutant in turn) == sorted(mutant.name for mutant in EVERY)
    assert all(any(mutant in turn for mutant in family) for turn in turns for family in FAMILIES.values())


@pytest.mark.parametrize("name", BUGS)
def test_a_run_that_follows_the_order_of_a_set_shows_in_another_process(name: str) -> None:
    hashes = trace_hashes(name, (1, 2))
    assert all(len(each) == 32 for each in hashes)
    assert (len(set(hashes)) == 1) == (name == "none")
