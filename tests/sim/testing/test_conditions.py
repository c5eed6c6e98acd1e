"""What a test declares: properties that always hold, and states that should come about in some seed."""

from __future__ import annotations

import pytest

from protocols.core import Fact, Instant
from protocols.membership.facts import MemberChanged
from protocols.membership.member import State
from sim import NotReached, PropertyViolated, Sim, all_agree, incarnations_grow
from sim.checkers import DEFAULT, Checker, IncarnationsGrow
from sim.errors import ScenarioError
from sim.marks import MARKS
from sim.process import Process
from sim.testing.conditions import Predicate
from tests.sim.testing.kit import fails, passes, play


class NobodyDies(Checker):
    """Nobody is declared dead, which is not so where somebody is cut off."""

    name = "nobody_dies"
    facts = (MemberChanged,)

    def __init__(self, world: object) -> None:
        super().__init__(world)  # type: ignore[arg-type]  # a world, as all checkers are given
        self.boots = 0

    def on_boot(self, now: Instant, process: Process) -> None:
        self.boots += 1

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        assert isinstance(fact, MemberChanged)
        if fact.state is State.DEAD:
            self.violated(now, process, f"{fact.name} is dead, and {self.boots} nodes have booted")


class NobodyDiesTwice(NobodyDies):
    """The same, under another name."""

    name = "nobody_dies_twice"


def nobody_is_dead(sim: Sim) -> str | None:
    for node in sim.nodes:
        for member in node.members().values():
            if member.state is State.DEAD:
                return f"{node.name} takes {member.name} for dead"
    return None


async def isolate(sim: Sim) -> None:
    async with sim.net.isolate("n0"):
        await sim.sleep(30)


def test_a_predicate_is_looked_at_after_every_step_and_its_first_failure_ends_the_test() -> None:
    async def body(sim: Sim) -> None:
        sim.always("nobody is dead", nobody_is_dead)
        await isolate(sim)

    ended = play(body)
    assert isinstance(ended.error, PropertyViolated)
    violation = ended.error.violation
    assert violation.property == "nobody is dead"
    assert violation.text == f"{violation.node} takes {violation.text.split()[2]} for dead"
    assert ended.ended_s == pytest.approx(violation.time_s)  # at that very step
    assert ended.report.violations == (violation,)


def held(sim: Sim) -> bool:
    return True


def broken(sim: Sim) -> bool:
    return sim.now < 2


def broken_by_assert(sim: Sim) -> None:
    assert sim.now < 2, "late"


def broken_in_words(sim: Sim) -> str:
    return "" if sim.now < 2 else "late"


@pytest.mark.parametrize(
    ("predicate", "text"), [(broken, "broken is false"), (broken_by_assert, "late"), (broken_in_words, "late")]
)
def test_what_a_predicate_may_say(predicate: Predicate, text: str) -> None:
    async def body(sim: Sim) -> None:
        sim.always("early", held)
        sim.always("early", predicate)
        await sim.sleep(10)

    ended = play(body)
    assert isinstance(ended.error, PropertyViolated)
    assert ended.error.violation.text.splitlines()[0] == text
    assert 2 <= ended.error.violation.time_s < 3


def test_a_property_that_is_broken_already_is_told_at_the_next_await() -> None:
    async def body(sim: Sim) -> None:
        sim.always("never", lambda s: False)
        await sim.sleep(10)

    assert play(body).ended_s < 1
    assert "the lambda at test_conditions.py:" in fails(body, PropertyViolated)


def test_a_violation_that_the_test_swallows_fails_it_all_the_same() -> None:
    async def body(sim: Sim) -> None:
        sim.always("nobody is dead", nobody_is_dead)
        try:
            await isolate(sim)
        except AssertionError:
            await sim.sleep(5)

    ended = play(body)
    assert isinstance(ended.error, PropertyViolated)
    assert len(ended.report.violations) == 1
    assert ended.ended_s > ended.error.violation.time_s + 4


def test_a_predicate_that_returns_something_else_or_raises_is_no_violation_but_a_mistake() -> None:
    async def number(sim: Sim) -> None:
        sim.always("a number", lambda s: len(s.nodes))  # type: ignore[arg-type,return-value]  # the mistake that is meant
        await sim.sleep(1)

    async def later(sim: Sim) -> None:
        known: dict[str, bool] = {}

        def predicate(s: Sim) -> bool:
            return s.now < 0.5 or known["x"]

        sim.always("a key", predicate)
        await sim.sleep(10)

    async def kind(sim: Sim) -> None:
        sim.always("a kind", str)

    assert "returned 3: a predicate returns True, or False" in fails(number, ScenarioError)
    assert "'x'" in fails(later, KeyError)
    assert "a Checker class" in fails(kind, ScenarioError)


def test_a_checker_class_sees_the_run_from_its_first_event() -> None:
    async def body(sim: Sim) -> None:
        await sim.sleep(1)
        sim.always("nobody dies", NobodyDies)
        await isolate(sim)

    ended = play(body)
    assert isinstance(ended.error, PropertyViolated)
    assert ended.error.violation.property == "nobody_dies"
    assert ended.error.violation.text.endswith("3 nodes have booted")


def test_checkers_are_added_one_by_one_to_those_that_watch_anyway() -> None:
    async def body(sim: Sim) -> None:
        sim.always("nobody dies", NobodyDies)
        sim.always("nobody dies twice", NobodyDiesTwice)
        await sim.sleep(1)
        assert [type(checker) for checker in sim.world.watch.checkers] == [*DEFAULT, NobodyDies, NobodyDiesTwice]

    passes(body)


def test_a_checker_that_watches_already_is_not_installed_twice() -> None:
    async def body(sim: Sim) -> None:
        sim.always("incarnations grow", incarnations_grow)
        sim.always("incarnations grow", incarnations_grow)
        watching = [checker for checker in sim.world.watch.checkers if isinstance(checker, IncarnationsGrow)]
        assert len(watching) == 1
        await sim.sleep(1)

    passes(body)
    passes(body, nodes=3, checkers=())


@pytest.mark.parametrize("wait", ["eventually", "until"])
@pytest.mark.parametrize(
    ("before_s", "within"), [(30, 0.01), (30, 0.1), (30, 1.1), (30, 7.7), (7.3, 7.7), (0.1, 0.9), (0, 1e-9), (0, 0)]
)
def test_a_wait_for_what_never_comes_ends_at_its_deadline_to_the_nanosecond(
    wait: str, before_s: float, within: float
) -> None:
    async def body(sim: Sim) -> None:
        await sim.sleep(before_s)
        begun = sim.world.kernel.now
        with pytest.raises(NotReached, match="did not hold within"):
            await getattr(sim, wait)(lambda s: False, within=within)
        assert sim.world.kernel.now - begun == round(within * 1e9)

    passes(body, settle=False)


def test_a_wait_needs_a_bound_that_is_a_time() -> None:
    async def body(sim: Sim) -> None:
        await sim.until(held, within=-1)

    assert "within=-1: the seconds must be 0 or more" in fails(body, ScenarioError)


def test_sometimes_notes_whether_it_has_ever_held() -> None:
    async def body(sim: Sim) -> None:
        sim.sometimes("somebody is dead", lambda s: bool(nobody_is_dead(s)))
        sim.sometimes("from the start", held)
        sim.sometimes("pigs fly", lambda s: False)
        await isolate(sim)
        await sim.eventually(all_agree, within=90)

    assert passes(body).reached == {"somebody is dead": True, "from the start": True, "pigs fly": False}


def test_sometimes_knows_the_marks_of_the_simulator_by_name() -> None:
    async def body(sim: Sim) -> None:
        sim.sometimes("suspicion_refuted")
        async with sim.net.isolate("n0"):
            await sim.sleep(3)
        await sim.sleep(10)

    async def unknown(sim: Sim) -> None:
        sim.sometimes("suspicion_refutd")

    assert "suspicion_refuted" in MARKS
    assert passes(body).reached == {"suspicion_refuted": True}
    assert "Did you mean 'suspicion_refuted'" in fails(unknown, ScenarioError)
