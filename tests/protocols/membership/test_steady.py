"""Published views: bursts, pace and flapping (`steady.py`; RFC 2439 for the last)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_MS, NANOS_PER_S, Instant
from protocols.membership.facts import MemberChanged, ViewChanged
from protocols.membership.member import Alive, Member, Profile, Refutation, State, precedence_of
from protocols.membership.messages import Gossip
from protocols.membership.settings import PROFILES, ProfileName
from protocols.membership.steady import MINUTE, SteadyView, returns_max
from protocols.membership.table import MemberTable
from protocols.membership.views import GetStatus, Leave, ListMembers, MemberList, NodeStatus
from protocols.outbox import NEVER
from tests.protocols.harness import World, accuse, alive, config_of, endpoint_of, id_of

CONFIG = SwimConfig()
MS = NANOS_PER_MS
S = NANOS_PER_S
BEGIN: Instant = 1_000 * S


class Desk:
    """A table and its view, and time that stops at every deadline of the view, as a driver would have it."""

    def __init__(self, config: SwimConfig = CONFIG) -> None:
        self.table = MemberTable()
        self.steady = SteadyView(config, self.table, "me")
        self.now = BEGIN
        self.views: list[tuple[Instant, ViewChanged]] = []
        self.lives: dict[str, int] = {}

    def put(self, name: str, state: State, generation: int = 1, incarnation: int = 0, weight: int = 1) -> None:
        """Believe this of `name` from now on."""
        self.lives[name] = generation
        said = Alive(name, precedence_of(generation, incarnation, State.ALIVE), Profile(name, "a:1", weight=weight))
        precedence = precedence_of(generation, incarnation, state)
        before = self.table.get(name)
        if before is None:
            after = Member(said, precedence, name, self.now)
            self.table.insert(after)
        else:
            after = self.table.believe(self.now, before, said, precedence, name)
        self.steady.changed(self.now, before, after)

    def run(self, seconds: float) -> list[ViewChanged]:
        """Let time pass; the views that were published meanwhile."""
        end = self.now + int(seconds * S)
        first = len(self.views)
        steps = 0
        while self.steady.deadline <= end:
            self.now = max(self.now, self.steady.deadline)
            view = self.steady.fire(self.now)
            if view is not None:
                self.views.append((self.now, view))
            steps += 1
            assert steps < 10_000, "the view spins"
        self.now = end
        return [view for _, view in self.views[first:]]

    def in_view(self) -> list[str]:
        return sorted(name for name in self.lives if self.steady.shows(name))

    def serving(self) -> list[str]:
        return sorted(name for name in self.lives if self.table.rows[name].state <= State.SUSPECT)


def meshed(*names: str) -> Desk:
    """A desk whose view has `names` in it, long ago."""
    desk = Desk()
    for name in names:
        desk.put(name, State.ALIVE)
    desk.run(600)
    return desk


# Single changes.


def test_a_first_join_is_published_once_it_has_been_quiet() -> None:
    desk = Desk()
    desk.put("a", State.ALIVE)
    assert desk.in_view() == []
    assert desk.run(0.199) == []
    assert desk.run(0.001) == [ViewChanged(1, 1, joined=("a",))]
    assert desk.in_view() == ["a"]
    assert desk.steady.deadline == NEVER


@pytest.mark.parametrize(("state", "how"), [(State.DEAD, "failed"), (State.LEFT, "left")])
def test_who_goes_is_gone_within_the_debounce_and_comes_back_within_it(state: State, how: str) -> None:
    desk = meshed("a", "b")
    desk.put("b", state)
    (gone,) = desk.run(0.2)
    assert getattr(gone, how) == ("b",)
    assert (gone.serving, desk.in_view()) == (1, ["a"])
    desk.put("b", State.ALIVE, incarnation=1)
    (back,) = desk.run(0.2)
    assert (back.returned, back.serving, back.number) == (("b",), 2, gone.number + 1)


def test_a_suspect_keeps_its_place_and_makes_no_view() -> None:
    desk = meshed("a", "b")
    desk.put("b", State.SUSPECT)
    desk.put("b", State.ALIVE, incarnation=1)
    assert desk.run(60) == []
    assert desk.in_view() == ["a", "b"]


def test_what_is_undone_before_it_was_published_is_never_published() -> None:
    desk = meshed("a", "b")
    desk.put("b", State.DEAD)
    desk.put("b", State.ALIVE, incarnation=1)
    assert desk.run(60) == []


def test_who_was_dead_when_first_heard_of_is_no_news_until_it_is_back() -> None:
    desk = meshed("a")
    desk.put("b", State.DEAD)
    assert desk.run(60) == []
    desk.put("b", State.ALIVE, generation=2)
    assert desk.run(1)[0].returned == ("b",)


def test_a_new_life_and_another_announcement_are_told_apart() -> None:
    desk = meshed("a", "b", "c")
    desk.put("b", State.ALIVE, generation=2)
    desk.put("c", State.ALIVE, incarnation=1, weight=5)
    (view,) = desk.run(1)
    assert (view.returned, view.changed, view.serving) == (("b",), ("c",), 3)


# Bursts and pace.


def test_a_burst_of_joins_is_few_views() -> None:
    desk = Desk()
    for number in range(1000):
        desk.put(f"n{number}", State.ALIVE)
        desk.run(0.003)
    desk.run(10)
    assert len(desk.views) <= 5
    assert sum(len(view.joined) for _, view in desk.views) == 1000
    assert desk.views[-1][1].serving == 1000


def test_no_change_waits_for_others_for_longer_than_the_wait() -> None:
    desk = meshed("a")
    desk.put("b", State.ALIVE)
    began = desk.now
    for number in range(20):
        desk.run(0.1)
        desk.put(f"n{number}", State.ALIVE)
    at, view = desk.views[1]
    assert "b" in view.joined
    assert at - began == CONFIG.view_wait_max


def test_the_pace_lets_half_through_at_once_and_the_rest_one_by_one() -> None:
    desk = meshed("a")
    began = desk.now
    for number in range(600):
        desk.put(f"n{number}", State.ALIVE)
        desk.run(0.25)
    times = [(at - began) / S for at, _ in desk.views[1:]]
    assert len([at for at in times if at <= 3]) == CONFIG.views_per_minute // 2
    assert {round(after - before) for before, after in pairwise(times[10:])} == {6}
    desk.run(60)
    assert desk.in_view() == desk.serving()


# Flapping.


def flap(desk: Desk, name: str, times: int, every_s: float) -> None:
    """`name` dies and comes back so often; half of the time it is dead."""
    for _ in range(times):
        desk.put(name, State.DEAD, incarnation=len(desk.views))
        desk.run(every_s / 2)
        desk.put(name, State.ALIVE, incarnation=len(desk.views) + 1)
        desk.run(every_s / 2)


def test_who_goes_twice_is_not_held() -> None:
    desk = meshed("a", "b")
    flap(desk, "b", 2, 4)
    assert desk.in_view() == ["a", "b"]


def test_who_goes_a_third_time_is_held_until_it_owes_little_and_then_let_back_in() -> None:
    desk = meshed("a", "b")
    flap(desk, "b", 3, 4)
    assert desk.in_view() == ["a"]
    assert desk.steady.held(desk.now) == 1
    held_for = desk.steady.held_for(desk.now, "b")
    assert 0 < held_for < CONFIG.flap_hold_max
    assert desk.run(held_for / S - 0.01) == []
    (back,) = desk.run(0.02)
    assert (back.returned, back.held) == (("b",), 0)
    assert desk.steady.held_for(desk.now, "b") == 0


def test_however_long_it_has_flapped_who_stays_is_back_after_the_longest_hold() -> None:
    desk = meshed("a", "b")
    flap(desk, "b", 200, 4)
    went_at = desk.now - 4 * S
    desk.run(200)
    at, view = desk.views[-1]
    assert view.returned == ("b",)
    assert at - went_at == CONFIG.flap_hold_max


def test_who_goes_for_good_while_it_is_held_is_not_in_the_view() -> None:
    desk = meshed("a", "b")
    flap(desk, "b", 3, 4)
    desk.put("b", State.DEAD, incarnation=100)
    desk.run(1000)
    assert desk.in_view() == ["a"]
    assert desk.steady.held(desk.now) == 0


def test_a_member_that_restarts_unseen_is_left_in_its_place_and_goes_at_once_when_it_dies() -> None:
    desk = meshed("a", "b")
    for generation in range(2, 10):
        desk.put("b", State.ALIVE, generation=generation)
        desk.run(1)
    assert desk.in_view() == ["a", "b"]
    assert len([view for _, view in desk.views if "b" in view.returned]) == 2
    desk.put("b", State.DEAD, generation=9)
    assert desk.run(0.2)[0].failed == ("b",)


def test_a_node_never_holds_itself_back() -> None:
    desk = Desk()
    for generation in range(1, 8):
        desk.put("me", State.ALIVE, generation=generation)
        desk.run(1)
    assert len(desk.views) == 7


def test_one_that_flaps_puts_off_nobody_else() -> None:
    desk = meshed("a", "b")
    flap(desk, "b", 30, 2)
    desk.put("c", State.ALIVE)
    (view,) = desk.run(0.2)
    assert view.joined == ("c",)
    assert view.held == 1


def test_a_member_without_a_row_is_gone() -> None:
    desk = meshed("a", "b")
    desk.put("b", State.DEAD)
    desk.table.remove("b")
    assert desk.run(1)[0].failed == ("b",)


# Whatever happens.

EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([State.ALIVE, State.ALIVE, State.SUSPECT, State.DEAD, State.DEAD, State.LEFT]),
        st.integers(0, 1),
        st.sampled_from([0.0, 0.01, 0.15, 0.3, 1.0, 2.0, 7.0, 40.0]),
    ),
    min_size=1,
    max_size=150,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.sampled_from(sorted(PROFILES)), st.integers(2, 30))
def test_whatever_happens_views_are_few_and_in_the_end_the_table(
    events: list[tuple[str, State, int, float]], profile: ProfileName, per_minute: int
) -> None:
    config = replace(PROFILES[profile], views_per_minute=per_minute)
    desk = Desk(config)
    for number, (name, state, newer, pause_s) in enumerate(events):
        desk.put(name, state, generation=desk.lives.get(name, 1) + newer, incarnation=number)
        desk.run(pause_s)
    desk.run((config.flap_hold_max + config.view_wait_max + 2 * MINUTE) / S)
    assert desk.in_view() == desk.serving()
    assert desk.steady.size == len(desk.serving())
    assert desk.steady.deadline == NEVER
    assert desk.steady.lags(desk.now) == []
    times = [at for at, _ in desk.views]
    assert all(after - before >= MINUTE for before, after in zip(times, times[per_minute:], strict=False))
    for name in "abc":
        back = [at for at, view in desk.views if name in view.returned]
        for within in (config.flap_cost, MINUTE, 10 * MINUTE):
            most = returns_max(config, within)
            assert all(after - before >= within for before, after in zip(back, back[most:], strict=False))
    there: set[str] = set()
    for number, (_, view) in enumerate(desk.views, 1):
        assert view.number == number
        assert not there & set(view.joined)
        assert {*view.failed, *view.left, *view.changed} <= there
        there = (there | {*view.joined, *view.returned}) - {*view.failed, *view.left}
        assert view.serving == len(there)
    assert sorted(there) == desk.serving()


# In a node.


def test_a_node_publishes_joins_well_within_a_second_and_a_death_right_after_the_verdict() -> None:
    world = World(3)
    hosts = world.mesh("a", "b", "c", "d")
    world.run(30)
    first = hosts[0]
    assert first.facts_of(ViewChanged)[-1].serving == 4
    first.hush()
    world.add("e", config_of("e", seeds=("a",))).start()
    world.run_until(lambda: first.sees("e") is State.ALIVE, 10)
    world.run(0.25)
    assert [view.joined for view in first.facts_of(ViewChanged)] == [(id_of("e"),)]
    hosts[3].crash()
    first.hush()
    world.run_until(lambda: first.sees("d") is State.DEAD, 60)
    world.run(0.25)
    assert [view.failed for view in first.facts_of(ViewChanged)] == [(id_of("d"),)]


def test_status_and_members_tell_of_views_and_of_who_is_held() -> None:
    host = World().add("a").start()
    host.world.run(0.5)
    host.hears(endpoint_of("b"), Gossip((alive("b"),)))
    for incarnation in range(3):
        host.world.run(1)
        host.hears(endpoint_of("z"), Gossip((accuse("b", State.DEAD, incarnation=incarnation),)))
        host.world.run(1)
        host.hears(endpoint_of("b"), Gossip((Refutation(id_of("b"), precedence_of(1, incarnation + 1, State.ALIVE)),)))
    host.world.run(0.5)
    assert [fact.state for fact in host.facts_of(MemberChanged)][-1] is State.ALIVE
    status = host.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    told = status.membership
    assert (told.members_held, told.view_members, status.members_alive) == (1, 1, 2)
    assert told.view_number == told.views_last_minute == len(host.facts_of(ViewChanged)) == 7
    listed = host.ask(ListMembers())
    assert isinstance(listed, MemberList)
    held = {member.name: member.held_s for member in listed.members}
    assert held["a"] == 0
    assert 100 < held["b"] < 120


def test_who_was_dead_and_is_in_doubt_in_a_later_incarnation_serves_again() -> None:
    host = World().add("a").start()
    host.world.run(0.5)
    host.hears(endpoint_of("b"), Gossip((alive("b"), accuse("b", State.DEAD))))
    host.world.run(1)
    keys = [f"key-{number}" for number in range(40)]
    assert {host.node.owner_of("work", key) for key in keys} == {id_of("a")}
    host.hush()
    host.hears(endpoint_of("z"), Gossip((accuse("b", State.SUSPECT, incarnation=1),)))
    host.world.run(0.5)
    assert [fact.state for fact in host.facts_of(MemberChanged)] == [State.SUSPECT]
    assert [(view.joined, view.returned) for view in host.facts_of(ViewChanged)] == [((), (id_of("b"),))]
    assert {host.node.owner_of("work", key) for key in keys} == {id_of("a"), id_of("b")}


def test_a_node_that_leaves_says_so_in_its_last_view() -> None:
    world = World(1)
    host, *_ = world.mesh("a", "b")
    world.run(5)
    host.request(Leave())
    world.run(1)
    assert host.facts_of(ViewChanged)[-1].left == (id_of("a"),)
