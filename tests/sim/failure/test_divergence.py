"""Where two runs part: exactly for one seed, by kinds of happenings for two."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from msgspec.structs import replace

from protocols.config import NodeConfig
from protocols.core import Put
from protocols.node import Node
from sim.failure.compare import compare
from sim.failure.divergence import How, first_divergence, show_divergence
from sim.faults import Crash
from sim.record.happening import Kind, Recording
from sim.record.recorder import record
from sim.scenario import Scenario
from tests.sim.failure.planted import TWELVE, ForgetsItsGeneration
from tests.sim.failure.recordings import fell, happened, ping, recording, verdict

# One seed.


def test_of_one_seed_the_first_happening_that_differs_counts() -> None:
    same = [ping(at, 0, 1) for at in range(8)]
    a = recording(*same, verdict(9, 0, 1, "dead", 1), ping(10, 0, 1), trace_hash="a")
    b = recording(*same, verdict(9, 0, 1, "suspect", 1), ping(10, 0, 1), trace_hash="b")
    found = first_divergence(a, b)
    assert found is not None
    assert (found.how, found.at_a, found.at_b) == (How.EXACT, 8, 8)
    assert found.before_a == found.before_b == (3, 4, 5, 6, 7)
    text = "\n".join(show_divergence(found, a, b, "ours", "theirs"))
    assert "n1 is dead" in text
    assert "n1 is suspect" in text
    assert text.index("ours:") < text.index("theirs:")


def test_a_run_that_goes_on_differs_from_one_that_ends() -> None:
    a, b = recording(ping(1, 0, 1), trace_hash="a"), recording(ping(1, 0, 1), ping(2, 0, 1), trace_hash="b")
    found = first_divergence(a, b)
    assert found is not None
    assert (found.at_a, found.at_b) == (None, 1)
    assert "(ends here)" in "\n".join(show_divergence(found, a, b, "a", "b"))


def test_equal_runs_do_not_part() -> None:
    a = recording(ping(1, 0, 1), verdict(2, 0, 1, "dead", 1))
    assert first_divergence(a, a) is None


def test_what_is_not_recorded_shows_in_the_hash_alone() -> None:
    found = first_divergence(recording(ping(1, 0, 1), trace_hash="a"), recording(ping(1, 0, 1), trace_hash="b"))
    assert found is not None
    assert (found.at_a, found.at_b) == (None, None)
    assert "trace hashes are not" in found.text


def test_recordings_that_forgot_differently_are_brought_in_line() -> None:
    whole = [ping(at, 0, 1) for at in range(9)]
    a = recording(*whole[2:], verdict(9, 0, 1, "dead", 1), forgotten=2, trace_hash="a")
    b = recording(*whole[5:], verdict(9, 0, 1, "left", 1), forgotten=5, trace_hash="b")
    found = first_divergence(a, b)
    assert found is not None
    assert a.happenings[found.at_a or 0].text.startswith("n1 is dead")
    assert b.happenings[found.at_b or 0].text.startswith("n1 is left")


@pytest.mark.parametrize("limit", [100, 100_000])
def test_however_little_is_kept_the_place_is_found(limit: int) -> None:
    scenario = Scenario(nodes=4, seconds=20, seed=3)
    later = replace(scenario, faults=(Crash(5, 8, nodes=("n2",)),))

    def recorder(wanted: Scenario) -> RecordUntil:
        return RecordUntil(wanted, limit)

    compared = compare(recorder(scenario), recorder(later))
    found = compared.divergence
    assert found is not None
    assert found.at_b is not None
    assert compared.b.happenings[found.at_b].kind is Kind.CRASH
    assert compared.b.happenings[found.at_b].at == 5_000_000_000
    assert compare(recorder(scenario), recorder(scenario)).divergence is None


class RecordUntil:
    """Records a scenario up to a time."""

    def __init__(self, scenario: Scenario, limit: int) -> None:
        self.scenario, self.limit = scenario, limit

    def __call__(self, until_s: float | None) -> Recording:
        return record(self.scenario, limit=self.limit, until_s=until_s)[1]


# Two seeds.


def story(shift_ms: int, nodes: tuple[int, int, int], *, seed: int, incarnation: int = 0) -> Recording:
    """A suspicion and its refutation, told by another node each time, at other times, among pings."""
    one, two, three = nodes
    return recording(
        ping(shift_ms, one, two),
        verdict(shift_ms + 10, one, two, "suspect", incarnation),
        ping(shift_ms + 11, three, one),
        verdict(shift_ms + 30, one, two, "alive", incarnation + 1),
        verdict(shift_ms + 31, three, two, "alive", incarnation + 1),
        seed=seed,
    )


def test_times_names_and_sizes_of_numbers_do_not_tell_seeds_apart() -> None:
    assert first_divergence(story(0, (0, 1, 2), seed=1), story(500, (2, 0, 1), seed=2, incarnation=7)) is None


def test_a_kind_of_mark_that_the_other_never_shows_is_where_they_part() -> None:
    good = story(0, (0, 1, 2), seed=1)
    bad = story(100, (2, 1, 0), seed=2)
    dead = verdict(115, 2, 1, "dead", 0)
    bad = replace(bad, happenings=(*bad.happenings[:3], dead, *bad.happenings[3:], fell(200, 2, "no")))
    found = first_divergence(bad, good)
    assert found is not None
    assert (found.how, found.at_a, found.at_b) == (How.NEW, 3, None)
    assert "never in seed 1: OTHER is dead" in found.text
    assert found.before_a == (1,)


def test_both_sides_are_shown_and_the_signs_explained() -> None:
    good = story(0, (0, 1, 2), seed=1)
    number = happened(40, Kind.FACT, 0, "Counted", "counts 4 for n1", 1)
    bad = replace(good, scenario=replace(good.scenario, seed=2), happenings=(*good.happenings, number))
    found = first_divergence(bad, good)
    assert found is not None
    assert found.text == "never in seed 1: counts # for OTHER"
    lines = show_divergence(found, bad, good, "A", "B")
    text = " ".join(lines)
    assert (
        "In this pattern, OTHER stands for any other node and # for a number that is told for the first time." in text
    )
    theirs = lines[lines.index("B, up to the same time:") :]
    assert any("n1 is suspect" in line for line in theirs)
    assert theirs[-1] == "> (what is marked above does not follow here)"
    assert "(ends here)" not in text


def test_a_number_that_goes_back_is_where_they_part() -> None:
    good = story(0, (0, 1, 2), seed=1, incarnation=3)
    back = verdict(40, 0, 1, "alive", 3)
    bad = replace(good, scenario=replace(good.scenario, seed=2), happenings=(*good.happenings, back))
    found = first_divergence(bad, good)
    assert found is not None
    assert found.at_a == 5
    assert "incarnation ↓" in found.text


def test_an_order_that_the_other_never_shows_is_where_they_part() -> None:
    """Both kinds of marks are in both runs; only that a node is dead without having been suspected is new."""
    good = recording(
        verdict(1, 0, 1, "suspect", 0), verdict(2, 0, 1, "dead", 0), verdict(3, 0, 2, "suspect", 0), seed=1
    )
    bad = recording(verdict(1, 2, 0, "suspect", 0), verdict(2, 2, 0, "dead", 0), verdict(5, 2, 1, "dead", 0), seed=2)
    found = first_divergence(bad, good)
    assert found is not None
    assert found.at_a == 2
    assert "only the order is new" in found.text


def test_what_comes_before_the_violation_counts_first() -> None:
    good = story(0, (0, 1, 2), seed=1)
    after = recording(*story(0, (1, 2, 0), seed=2).happenings, fell(50, 1, "no"), verdict(60, 1, 2, "dead", 1), seed=2)
    found = first_divergence(after, good)
    assert found is not None
    assert found.at_a == 6
    assert "comes after the violation" in found.text
    before = replace(after, happenings=(happened(1, Kind.CRASH, 0), *after.happenings))
    found = first_divergence(before, good)
    assert found is not None
    assert found.at_a == 0
    assert "comes after" not in found.text


def test_any_difference_before_the_violation_counts_more_than_a_mark_after_it() -> None:
    good = story(0, (0, 1, 2), seed=1)
    told = happened(5, Kind.FACT, 1, "Forgotten", "forgets n2", 2)
    bad = recording(told, *good.happenings, fell(50, 1, "no"), verdict(60, 1, 2, "dead", 1), seed=2)
    found = first_divergence(bad, good)
    assert found is not None
    assert found.at_a == 0


def test_what_any_of_several_passing_runs_shows_is_no_difference() -> None:
    bad = recording(verdict(1, 0, 1, "suspect", 0), verdict(2, 0, 1, "dead", 0), seed=3)
    one = recording(verdict(1, 1, 2, "suspect", 0), seed=1)
    other = recording(verdict(1, 2, 0, "suspect", 0), verdict(2, 2, 0, "dead", 0), seed=2)
    assert first_divergence(bad, one) is not None
    assert first_divergence(bad, one, also=[other]) is None
    found = first_divergence(replace(bad, happenings=(*bad.happenings, happened(3, Kind.CRASH, 0))), one, also=[other])
    assert found is not None
    assert found.text.startswith("never in seeds 1 and 2")


def test_of_a_planted_bug_the_mark_that_gives_it_away_is_found() -> None:
    """Only n1 forgets its generation. Where n1 crashes, it starts twice as generation 1, which no other seed shows."""

    def only_one_forgets(config: NodeConfig, saved: Iterable[Put], rng: Random) -> Node:
        return ForgetsItsGeneration(config, saved, rng) if config.name == "n1" else Node(config, saved, rng)

    scenario = replace(TWELVE, nodes=4, seconds=20, tasks_per_s=0.0, faults=(Crash(8, 14),))
    runs = [record(replace(scenario, seed=seed), core_factory=only_one_forgets)[1] for seed in range(8)]
    bad = [each for each in runs if each.violations]
    good = [each for each in runs if not each.violations]
    assert bad
    assert good
    found = first_divergence(bad[0], good[0], also=good[1:])
    assert found is not None
    assert bad[0].happenings[found.at_a or 0].text == "takes part as generation 1"
    assert "takes part as generation =" in found.text
