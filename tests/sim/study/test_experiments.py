"""A bounded share of the study: the goals hold at it, and each measure sees what it is there to see."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from meshnode.transport.seal import SEAL_OVERHEAD_BYTES
from protocols.core import NANOS_PER_S
from protocols.membership.facts import MemberChanged, ViewChanged
from protocols.membership.member import State, precedence_of
from protocols.membership.messages import Ping, PushPull
from protocols.membership.settings import MembershipSettings
from protocols.wire import encode_message
from sim.scenario import Scenario
from sim.study.closed_forms import merge_bound_s
from sim.study.detection import Detection
from sim.study.dissemination import LOSSES, Dissemination, arm_of
from sim.study.false_positives import QUIET, FalsePositives
from sim.study.findings import Section
from sim.study.healing import CUTS, Healing
from sim.study.mesh import Disagreement, Mesh
from sim.study.stability import ARMS, Stability
from sim.study.traffic import Traffic, wire_bytes
from sim.study.trial import Experiment, Figures, Samples, StudyError, Trial
from sim.study.views import in_table, published


def measured(experiment: Experiment, wanted: Sequence[tuple[str, int, range]]) -> Samples:
    """Some trials, of (arm, nodes, seeds)."""
    trials = [Trial(experiment.name, arm, nodes, seed) for arm, nodes, seeds in wanted for seed in seeds]
    return Samples([(trial, experiment.run(trial)) for trial in trials])


def missed(section: Section) -> list[str]:
    return [f"{goal.what}: {goal.figure}" for goal in section.goals if goal.met is False]


# Detection.


def test_a_crash_is_known_to_all_when_the_formula_says() -> None:
    crashes = [("crash", 5, range(8)), ("crash", 20, range(4)), ("crash", 100, range(1))]
    samples = measured(Detection(), crashes)
    section = Detection().section(samples)
    assert missed(section) == []
    assert len(section.goals) == 7
    assert samples.total("crash", 20, "knowing") == 4 * 19
    earliest = min(samples.values("crash", 5, "first_s"))
    assert earliest > 4.99, "nobody is dead before T_min and a probe interval are over"


def test_a_mesh_that_is_slow_to_judge_misses_the_prediction() -> None:
    slow = measured(Detection(MembershipSettings(suspicion_mult=8)), [("crash", 5, range(3))])
    assert any("first to know" in goal for goal in missed(Detection().section(slow)))


def test_the_share_of_crashes_that_all_knew_of_is_of_all_crashes() -> None:
    taken = told(Detection(), "crash", 5, 1, survivors=4.0, knowing=4.0, first_s=5.0, last_s=6.0)
    taken += told(Detection(), "crash", 5, 1, survivors=4.0, knowing=3.0)
    section = Detection().section(Samples(taken))
    assert section.plots[1].series[0].points == ((6.0, 0.5),)
    assert missed(section) == ["survivors that never came to know: 1.0"]


# False positives.


def test_local_health_keeps_starved_members_from_accusing() -> None:
    samples = measured(FalsePositives(), [(QUIET, 20, range(2)), ("1 % on", 100, range(1)), ("1 % off", 100, range(1))])
    section = FalsePositives().section(samples)
    assert missed(section) == []
    assert sum(goal.met is True for goal in section.goals) == 5
    assert samples.total("1 % on", 100, "false_at_healthy") == 0
    assert samples.total("1 % off", 100, "false_at_healthy") > 100, "without it the false positives are there"
    assert samples.total("1 % on", 100, "doubts_at_healthy") > 0, "the starved do accuse"


def told(experiment: Experiment, arm: str, nodes: int, seeds: int, **figures: float) -> list[tuple[Trial, Figures]]:
    """The same figures for so many seeds."""
    return [
        (Trial(experiment.name, arm, nodes, seed), {name: [value] for name, value in figures.items()})
        for seed in range(seeds)
    ]


def test_false_positives_are_compared_by_seed_for_a_study_that_is_broken_off_has_more_of_one_arm() -> None:
    experiment = FalsePositives()
    on, off = (
        told(experiment, f"1 % {mode}", 100, seeds, false_at_healthy=count)
        for mode, seeds, count in (("on", 1, 10.0), ("off", 2, 110.0))
    )
    fewer, *_ = experiment.section(Samples([*on, *off])).goals
    assert (fewer.figure, fewer.met) == (11.0, False)


def test_false_positives_with_local_health_alone_miss_the_goal() -> None:
    experiment = FalsePositives()
    on, off = (
        told(experiment, f"1 % {mode}", 100, 1, false_at_healthy=count) for mode, count in (("on", 3.0), ("off", 0.0))
    )
    fewer, *_ = experiment.section(Samples([*on, *off])).goals
    assert fewer.met is False
    none, *_ = experiment.section(Samples([*told(experiment, "1 % on", 100, 1), *off])).goals
    assert none.met is None, "nothing against nothing shows nothing"


def test_a_crash_that_nobody_comes_to_know_of_is_not_passed_over() -> None:
    slow = FalsePositives(MembershipSettings(probe_interval_s=20, probe_timeout_s=5))
    samples = measured(slow, [("10 % on", 12, range(1)), ("10 % off", 12, range(1))])
    assert samples.total("10 % on", 12, "unaware") >= 8, "the last crash is judged after the end"
    assert any("never knew of a crash" in goal for goal in missed(slow.section(samples)))


def test_the_same_members_are_starved_and_crash_whatever_local_health_is() -> None:
    experiment = FalsePositives()
    assert {arm.rpartition(" ")[2] for arm in experiment.arms(100)} == {"quiet", "on", "off"}
    assert experiment.arms(20) == (QUIET,)


# Dissemination.


def test_news_reaches_all_in_time_under_any_loss() -> None:
    wanted = [(arm_of(loss), nodes, range(2)) for loss in LOSSES for nodes in (5, 20)]
    samples = measured(Dissemination(), wanted)
    assert missed(Dissemination().section(samples)) == []
    assert samples.total(arm_of(30), 20, "asked") == 2 * (19 + 18 + 17)
    assert samples.total(arm_of(0), 20, "curve 0") == 0, "nobody knows before it is said"


def test_news_that_is_passed_on_too_seldom_does_not() -> None:
    wanted = [(arm_of(30), 20, range(3))]
    short_lived = measured(
        Dissemination(MembershipSettings(retransmit_mult=1, gossip_fanout=1, gossip_rounds_min=1)), wanted
    )
    assert any("informed within" in goal for goal in missed(Dissemination().section(short_lived)))


# Healing.


def test_any_cut_is_mended_within_the_bound() -> None:
    experiment = Healing()
    wanted = [(arm, nodes, range(1)) for nodes in (5, 12) for arm in experiment.arms(nodes)]
    samples = measured(experiment, wanted)
    assert missed(experiment.section(samples)) == []
    halves = f"{CUTS[0]}, forgotten"
    assert samples.total(f"{CUTS[0]}, short", 12, "deaths") == 0
    assert samples.total(f"{CUTS[0]}, long", 12, "deaths") == 2 * 6 * 6
    assert samples.total(f"{CUTS[0]}, long", 12, "forgotten") == 0
    assert samples.total(halves, 12, "forgotten") == 2 * 6 * 6


def test_a_mesh_that_never_tries_its_dead_again_stays_split() -> None:
    arm = f"{CUTS[0]}, long"
    settings = MembershipSettings(heal_interval_s=6 * 3600)
    samples = measured(Healing(settings), [(arm, 6, range(1))])
    assert samples.total(arm, 6, "merged") == 0
    assert samples.values(arm, 6, "merged_s")[0] > merge_bound_s(settings.swim(), 6)
    assert len(missed(Healing().section(samples))) == 1


# Traffic.


def test_bytes_do_not_grow_with_the_mesh() -> None:
    experiment = Traffic()
    samples = measured(experiment, [(arm, nodes, range(1)) for arm in experiment.arms(20) for nodes in (20, 60)])
    assert missed(experiment.section(samples)) == []
    quiet = samples.total(QUIET, 60, "mean")
    assert samples.total(QUIET, 60, "mean_without") < quiet < samples.total(QUIET, 60, "p99")


def test_a_size_between_the_smallest_and_the_largest_counts_for_flatness_too() -> None:
    experiment = Traffic()
    zero = dict.fromkeys(("p99_without", "mean", "p99", "most"), 0.0)
    sizes = ((20, 1.0), (60, 3.0), (100, 1.0))
    taken = [each for nodes, kb in sizes for each in told(experiment, QUIET, nodes, 1, mean_without=kb, **zero)]
    assert any("without push-pull" in goal for goal in missed(experiment.section(Samples(taken))))


def test_exchanging_tables_more_often_is_seen() -> None:
    often = measured(Traffic(MembershipSettings(push_pull_interval_s=1)), [(QUIET, 20, range(1))])
    usual = measured(Traffic(), [(QUIET, 20, range(1))])
    assert often.total(QUIET, 20, "mean") > 5 * usual.total(QUIET, 20, "mean")
    assert often.total(QUIET, 20, "mean_without") < 1.1 * usual.total(QUIET, 20, "mean_without")


def test_bytes_are_those_of_the_wire() -> None:
    ping = Ping(7)
    assert wire_bytes(ping) == len(encode_message(ping)) + SEAL_OVERHEAD_BYTES + 28
    table = PushPull((), True)
    assert wire_bytes(table) == len(encode_message(table)) + 26 + 52


# Stability.


def test_links_that_stay_bad_make_few_view_changes() -> None:
    steady = [arm for arm in ARMS if "on and off" not in arm]
    samples = measured(Stability(), [(arm, 12, range(1)) for arm in steady])
    assert missed(Stability().section(samples)) == []
    assert samples.total("mute", 12, "mean") > 0, "a member that is not heard goes once"


def test_a_table_changes_when_a_member_goes_and_when_it_is_back() -> None:
    away: set[str] = set()

    def told(state: State) -> tuple[str, ...]:
        return in_table(MemberChanged("m", "name", precedence_of(1, 0, state), "by"), away)

    assert told(State.ALIVE) == ()
    assert told(State.SUSPECT) == ()
    assert told(State.DEAD) == ("m",)
    assert told(State.DEAD) == ()
    assert told(State.SUSPECT) == (), "it is not back before it has refuted"
    assert told(State.ALIVE) == ("m",)
    assert told(State.LEFT) == ("m",)


def test_a_view_changes_with_who_goes_or_is_back_and_not_with_who_joins() -> None:
    view = ViewChanged(7, 3, joined=("a",), returned=("b",), failed=("c",), left=("d",), changed=("e",))
    assert sorted(published(view)) == ["b", "c", "d"]


def test_links_that_come_and_go_change_views_less_often_than_tables() -> None:
    samples = measured(Stability(), [("mute on and off", 12, range(1))])
    assert missed(Stability().section(samples)) == []
    assert 0 < samples.total("mute on and off", 12, "mean") <= samples.total("mute on and off", 12, "in_table")


# The mesh of a trial.


def test_a_trial_that_breaks_says_so() -> None:
    mesh = Mesh(Scenario(3, 20), [Disagreement])
    mesh.run_until(2)
    mesh.world.watch.violated("fence", 0, "", "a clock was read")
    with pytest.raises(StudyError, match="a clock was read"):
        mesh.run_until(3)


def test_a_mesh_that_agrees_has_no_pairs_apart() -> None:
    mesh = Mesh(Scenario(3, 20), [Disagreement])
    mesh.run_until(2)
    (disagreement,) = mesh.observers
    assert isinstance(disagreement, Disagreement)
    assert disagreement.pairs == set()
    mesh.world.crash(mesh.world.processes[0])
    mesh.run_until(20)
    assert disagreement.pairs == {(1, 0), (2, 0)}
    assert disagreement.deaths == 2
    assert mesh.world.kernel.now == 20 * NANOS_PER_S
