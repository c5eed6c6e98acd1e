"""Bounds and excuses of the checkers of published views, and of nodes that did not run."""

from __future__ import annotations

from protocols.core import NANOS_PER_S, Fact
from protocols.membership.facts import MemberChanged, ViewChanged
from protocols.membership.member import State, precedence_of
from sim.checkers import Checker, ProbesBeforeItAccuses, ViewsAreFew
from sim.scenario import Run, Scenario

FIVE = Scenario(nodes=5, seconds=20)


class Case:
    """A mesh of five that begins, and what n0 is made to say."""

    def __init__(self, checker: type[Checker]) -> None:
        one = Run(FIVE, (checker,))
        one.start()
        self.world = one.world
        self.first, self.second = self.world.processes[:2]
        self.checker = self.world.watch.checkers[0]

    def tells(self, *facts: Fact, after_s: float = 0.0) -> list[str]:
        """What is violated when n0 tells these."""
        self.world.run(self.world.kernel.now + int(after_s * NANOS_PER_S))
        for fact in facts:
            self.checker.on_fact(self.world.kernel.now, self.first, fact)
        return [violation.text for violation in self.world.watch.violations]

    def accuses(self, state: State, by: str = "") -> MemberChanged:
        accused = self.second.config.node_id
        return MemberChanged(accused, "n1", precedence_of(1, 0, state), by or self.first.config.node_id)


def test_numbers_grow_one_by_one() -> None:
    case = Case(ViewsAreFew)
    number = case.checker._told[0].number  # type: ignore[attr-defined]
    assert case.tells(ViewChanged(number + 1, 5, failed=("x",))) == []
    (text,) = case.tells(ViewChanged(number + 3, 5, joined=("x",)))
    assert f"view {number + 3} after view {number + 1}" in text


def test_twenty_views_in_a_minute_are_few_and_one_more_is_not() -> None:
    case = Case(ViewsAreFew)
    case.world.run(70 * NANOS_PER_S)
    number = case.checker._told[0].number  # type: ignore[attr-defined]
    for each in range(1, 21):
        assert case.tells(ViewChanged(number + each, 5, changed=("x",)), after_s=2.5) == []
    assert "21 views in a minute" in case.tells(ViewChanged(number + 21, 5, changed=("x",)))[0]


def test_who_is_told_to_come_was_not_there_and_who_goes_was() -> None:
    case = Case(ViewsAreFew)
    number = case.checker._told[0].number  # type: ignore[attr-defined]
    assert case.tells(ViewChanged(number + 1, 5, joined=("x",)), ViewChanged(number + 2, 5, failed=("x",))) == []
    assert "went, which was not there" in case.tells(ViewChanged(number + 3, 5, left=("x",)))[-1]
    assert case.tells(ViewChanged(number + 4, 5, returned=("x",)))[1:] == []
    assert "joined, which was there" in case.tells(ViewChanged(number + 5, 5, joined=("x",)))[-1]
    assert "two things of one member" in case.tells(ViewChanged(number + 6, 5, joined=("y",), failed=("y",)))[-1]


def test_who_was_stopped_for_long_may_not_accuse_at_once_by_its_own_word() -> None:
    case = Case(ProbesBeforeItAccuses)
    go_on = case.world.pause(case.first)
    case.world.run(case.world.kernel.now + 60 * NANOS_PER_S)
    go_on()
    other = case.world.processes[2].config.node_id
    assert case.tells(case.accuses(State.DEAD, by=other), case.accuses(State.ALIVE)) == []
    assert "takes n1 for suspect by its own word" in case.tells(case.accuses(State.SUSPECT))[0]
    assert len(case.tells(case.accuses(State.SUSPECT), after_s=0.6)) == 1
    assert len(case.tells(case.accuses(State.DEAD), after_s=3.0)) == 2
    assert len(case.tells(case.accuses(State.DEAD), after_s=0.5)) == 2


def test_a_short_stop_and_a_new_life_are_not_asked() -> None:
    case = Case(ProbesBeforeItAccuses)
    go_on = case.world.pause(case.first)
    case.world.run(case.world.kernel.now + 5 * NANOS_PER_S)
    go_on()
    assert case.tells(case.accuses(State.SUSPECT)) == []
    case.world.leap(case.first, 100 * NANOS_PER_S)
    case.world.crash(case.first)
    case.world.run(case.world.kernel.now + NANOS_PER_S // 10)
    case.world.boot(case.first)
    assert case.tells(case.accuses(State.SUSPECT)) == []
