"""What a member announced, and what is believed of it: a refutation changes the second alone (DESIGN 4)."""

from __future__ import annotations

import pytest

from protocols.config import HandlerSpec
from protocols.core import NANOS_PER_S, Endpoint
from protocols.limits import UPDATES_BYTES_MAX
from protocols.membership.facts import MemberChanged
from protocols.membership.member import (
    Alive,
    Believed,
    Profile,
    Refutation,
    State,
    Update,
    precedence_of,
    said_again,
    size_bound,
)
from protocols.membership.messages import Ack, Gossip, Ping, PushPull
from protocols.membership.views import Leave
from tests.protocols.harness import Host, World, accuse, alive, config_of, endpoint_of, id_of

LONG_AFTER_S = 20.0
"""When the profile of a node of a small mesh has had its time to spread."""


def lone_node(*known: str) -> Host:
    """A node that serves, has announced itself long ago, and has heard of `known`, which do not exist."""
    host = World().add("a").start()
    host.world.run(LONG_AFTER_S)
    host.hears(endpoint_of("b"), Gossip(tuple(alive(name) for name in known)))
    host.hush()
    return host


def refutes(name: str, generation: int = 1, incarnation: int = 0) -> Refutation:
    return Refutation(id_of(name), precedence_of(generation, incarnation, State.ALIVE))


def believed(name: str, announced: tuple[int, int], since: tuple[int, int, State], profile: Profile) -> Believed:
    return Believed(
        Alive(id_of(name), precedence_of(*announced, State.ALIVE), profile), precedence_of(*since), id_of(name)
    )


def belief(host: Host, name: str) -> tuple[State, int, int]:
    row = host.row(name)
    assert row is not None
    return row.state, row.generation, row.incarnation


def told_by(host: Host, name: str, seconds: float = 0.9) -> set[Update]:
    """What the host passes on of `name`, by default for less time than it takes to doubt anybody."""
    host.hush()
    host.world.run(seconds)
    return set(host.told(name))


# The accused.


def test_a_refutation_says_the_profile_while_that_is_still_news_and_leaves_it_out_afterwards() -> None:
    host = World().add("a").start()
    host.world.run(0.1)
    host.hears(endpoint_of("b"), Gossip((alive("b"), accuse("a", State.SUSPECT))))
    assert told_by(host, "a") == {alive("a", 1, 1)}
    host.world.run(LONG_AFTER_S)
    host.hears(endpoint_of("b"), Gossip((accuse("a", State.SUSPECT, 1, 1),)))
    assert told_by(host, "a") == {refutes("a", 1, 2)}


def test_a_profile_is_said_for_a_while_after_this_node_has_stopped_to_pass_it_on() -> None:
    """Others still do, and to some of them the accusation may have come first."""
    host = World().add("a").start()
    host.world.run(0.1)
    host.hears(endpoint_of("b"), Gossip((alive("b"), alive("c"), alive("d"))))
    host.world.run(0.9)
    assert not told_by(host, "a", 0.2)
    host.hears(endpoint_of("b"), Gossip((accuse("a", State.SUSPECT),)))
    assert told_by(host, "a", 0.5) == {alive("a", 1, 1)}


def test_refutations_take_less_than_half_the_room() -> None:
    assert 2 * size_bound(refutes("b", 3, 7)) < size_bound(alive("b", 3, 7))
    host = lone_node("b", *(f"n{number}" for number in range(40)))
    host.world.run(4)
    host.hush()
    for number in range(40):
        host.hears(endpoint_of("b"), Gossip((refutes(f"n{number}", 1, 1),)))
    host.world.run(1)
    most = max(len(gossip.updates) for gossip in host.said_of(Gossip))
    assert most > UPDATES_BYTES_MAX // size_bound(alive("n0"))


# Those who hear of it.


@pytest.mark.parametrize("state", [State.SUSPECT, State.DEAD, State.LEFT])
def test_who_refutes_is_alive_again_as_what_it_announced(state: State) -> None:
    host = lone_node("b", "c")
    host.hears(endpoint_of("c"), Gossip((accuse("b", state),)))
    host.hears(endpoint_of("c"), Gossip((refutes("b", 1, 1),)))
    assert belief(host, "b") == (State.ALIVE, 1, 1)
    row = host.row("b")
    assert row is not None
    assert row.alive.profile == alive("b").profile
    assert [fact.state for fact in host.facts_of(MemberChanged)][-2:] == [state, State.ALIVE]
    host.world.run(120)
    assert host.sees("b") is not State.LEFT


def test_who_refutes_its_death_is_given_work_again() -> None:
    host = lone_node("b", "c")
    keys = [f"key-{number}" for number in range(50)]
    before = [host.node.owner_of("work", key) for key in keys]
    assert id_of("b") in before
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.DEAD),)))
    assert id_of("b") not in [host.node.owner_of("work", key) for key in keys]
    host.hears(endpoint_of("c"), Gossip((refutes("b", 1, 1),)))
    assert [host.node.owner_of("work", key) for key in keys] == before


def test_a_refutation_outranks_and_is_outranked_like_any_other_word() -> None:
    host = lone_node("b", "c")
    host.hears(endpoint_of("c"), Gossip((refutes("b", 1, 4),)))
    for stale in (accuse("b", State.DEAD, 1, 3), refutes("b", 1, 4), refutes("b", 1, 2), alive("b", 1, 3)):
        host.hears(endpoint_of("c"), Gossip((stale,)))
    assert belief(host, "b") == (State.ALIVE, 1, 4)
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.SUSPECT, 1, 4),)))
    assert belief(host, "b") == (State.SUSPECT, 1, 4)


def test_a_refutation_of_a_stranger_or_of_a_life_that_is_not_known_is_not_taken_in() -> None:
    """Without the announcement nobody could reach that member, or would know what it can do."""
    host = lone_node("b")
    host.hears(endpoint_of("b"), Gossip((refutes("x", 1, 1), refutes("b", 2, 0))))
    assert host.row("x") is None
    assert belief(host, "b") == (State.ALIVE, 1, 0)


@pytest.mark.parametrize("state", [State.SUSPECT, State.DEAD, State.LEFT])
def test_a_refutation_that_says_anything_but_alive_is_a_broken_peers(state: State) -> None:
    host = lone_node("b")
    host.hears(endpoint_of("b"), Gossip((Refutation(id_of("b"), precedence_of(1, 3, state)),)))
    assert belief(host, "b") == (State.ALIVE, 1, 0)


def test_a_refutation_of_another_in_ones_own_name_is_outdone() -> None:
    """A broken peer, or an older copy of this node, says that this node is alive in an incarnation it never had."""
    host = lone_node("b")
    host.hears(endpoint_of("b"), Gossip((refutes("a", 1, 6),)))
    assert belief(host, "a") == (State.ALIVE, 1, 7)


def test_an_announcement_that_is_still_going_round_goes_on_with_the_refutation() -> None:
    host = lone_node("c", "d")
    host.hears(endpoint_of("c"), Gossip((alive("b"),)))
    host.hears(endpoint_of("c"), Gossip((refutes("b", 1, 1),)))
    assert told_by(host, "b", 1.1) == {said_again(alive("b"), refutes("b", 1, 1).precedence)}
    host.hears(endpoint_of("c"), Gossip((refutes("b", 1, 2),)))
    later = told_by(host, "b")
    assert refutes("b", 1, 2) in later
    assert not any(isinstance(update, Alive) and update.precedence == refutes("b", 1, 2).precedence for update in later)


# Tables.


def test_a_table_says_what_was_announced_and_what_is_believed_since() -> None:
    host = lone_node("b", "c")
    host.hears(endpoint_of("c"), Gossip((refutes("b", 1, 3),)))
    host.hush()
    host.hears(endpoint_of("c"), PushPull((), answer=True))
    (table,) = host.said_of(PushPull)
    (row,) = [row for row in table.rows if row.node_id == id_of("b")]
    assert row == believed("b", (1, 0), (1, 3, State.ALIVE), alive("b").profile)
    later = host.world.now + 600 * NANOS_PER_S
    assert row in host.node.swim.rows(later)


def test_a_stranger_that_once_refuted_is_met_through_a_table_and_passed_on_in_full() -> None:
    host = lone_node("c")
    row = believed("b", (1, 0), (1, 3, State.ALIVE), alive("b").profile)
    host.hears(endpoint_of("c"), PushPull((row,), answer=False))
    assert belief(host, "b") == (State.ALIVE, 1, 3)
    assert told_by(host, "b") == {said_again(alive("b"), refutes("b", 1, 3).precedence)}


def test_who_is_dead_here_and_refuted_elsewhere_is_back_with_the_next_table() -> None:
    host = lone_node("b", "c")
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.DEAD),)))
    row = believed("b", (1, 0), (1, 1, State.ALIVE), alive("b").profile)
    host.hears(endpoint_of("c"), PushPull((row,), answer=False))
    assert belief(host, "b") == (State.ALIVE, 1, 1)
    assert told_by(host, "b") == {refutes("b", 1, 1)}


@pytest.mark.parametrize("state", [State.ALIVE, State.SUSPECT, State.LEFT])
def test_an_announcement_that_was_missed_is_taken_from_a_table_whatever_is_believed_since(state: State) -> None:
    """The refutation of incarnation 5 came here before the new profile of incarnation 4 did."""
    host = lone_node("b", "c")
    host.hears(endpoint_of("c"), Gossip((refutes("b", 1, 5),)))
    if state is not State.ALIVE:
        host.hears(endpoint_of("c"), Gossip((accuse("b", state, 1, 5),)))
    changes = len(host.facts_of(MemberChanged))
    moved = alive("b", at="elsewhere.test:1").profile
    host.hears(endpoint_of("c"), PushPull((believed("b", (1, 4), (1, 5, state), moved),), answer=False))
    row = host.row("b")
    assert row is not None
    assert (row.alive.profile, row.endpoint) == (moved, Endpoint(id_of("b"), "elsewhere.test:1"))
    assert belief(host, "b") == (state, 1, 5)
    assert len(host.facts_of(MemberChanged)) == changes
    host.node.check()
    older = believed("b", (1, 3), (1, 5, state), alive("b", at="older.test:1").profile)
    host.hears(endpoint_of("c"), PushPull((older,), answer=False))
    assert host.row("b") is row


def test_work_goes_by_an_announcement_that_was_caught_up_on() -> None:
    host = lone_node("b", "c")
    host.hears(endpoint_of("c"), Gossip((refutes("b", 1, 5), accuse("b", State.SUSPECT, 1, 5))))
    keys = [f"key-{number}" for number in range(50)]
    assert id_of("b") in {host.node.owner_of("work", key) for key in keys}
    idle = Profile("b", alive("b").profile.address)
    host.hears(endpoint_of("c"), PushPull((believed("b", (1, 4), (1, 5, State.SUSPECT), idle),), answer=False))
    assert id_of("b") not in {host.node.owner_of("work", key) for key in keys}


def test_a_suspect_whose_newer_announcement_comes_late_can_still_be_doubted_by_others() -> None:
    world = World()
    host = world.add("a").start()
    world.run(LONG_AFTER_S)
    host.hears(endpoint_of("b"), Gossip(tuple(alive(name) for name in "bcdefgh")))
    host.hears(endpoint_of("c"), Gossip((refutes("b", 1, 5), accuse("b", State.SUSPECT, 1, 5, by="c"))))
    moved = alive("b", at="elsewhere.test:1").profile
    host.hears(endpoint_of("c"), PushPull((believed("b", (1, 4), (1, 5, State.SUSPECT), moved),), answer=False))
    host.hush()
    host.hears(endpoint_of("d"), Gossip((accuse("b", State.SUSPECT, 1, 5, by="d"),)))
    assert accuse("b", State.SUSPECT, 1, 5, by="d") in told_by(host, "b")


def test_nobody_teaches_a_node_what_it_announces_itself() -> None:
    host = lone_node("b")
    own = host.row("a")
    assert own is not None
    host.hears(endpoint_of("b"), Gossip((accuse("a", State.SUSPECT, 1, 5),)))
    forged = believed("a", (1, 6), (1, 6, State.ALIVE), alive("a", at="elsewhere.test:1").profile)
    host.hears(endpoint_of("b"), PushPull((forged,), answer=False))
    row = host.row("a")
    assert row is not None
    assert row.alive.profile == own.alive.profile


# Announcements in a node's name that it never made: those of a life that was lost with its disk, or a broken peer's.


def foreign_words() -> list[Update]:
    return [alive("a", 1, 6, at="elsewhere.test:1"), refutes("a", 1, 6), accuse("a", State.SUSPECT, 1, 6)]


@pytest.mark.parametrize("word", foreign_words())
def test_an_incarnation_that_a_node_never_had_is_outdone_in_full(word: Update) -> None:
    """Without the profile all others would stay with the one that came with that incarnation."""
    host = lone_node("b")
    host.world.run(2)
    assert not told_by(host, "a")
    own = host.row("a")
    assert own is not None
    host.hears(endpoint_of("b"), Gossip((word,)))
    assert told_by(host, "a") == {Alive(id_of("a"), precedence_of(1, 7, State.ALIVE), own.alive.profile)}


@pytest.mark.parametrize("announced", [0, 2, 3])
def test_a_table_that_takes_a_node_for_another_makes_it_say_what_it_is(announced: int) -> None:
    """Nothing in that row outranks what the node is, and no refutation would put it right."""
    host = lone_node("b")
    host.world.run(2)
    for incarnation in range(3):
        host.hears(endpoint_of("b"), Gossip((accuse("a", State.SUSPECT, 1, incarnation),)))
    own = host.row("a")
    assert own is not None
    assert own.row(host.world.now) == believed("a", (1, 0), (1, 3, State.ALIVE), own.alive.profile)
    other = alive("a", 1, announced, at="elsewhere.test:1")
    row = believed("a", (1, announced), (1, 3, State.ALIVE), other.profile) if announced < 3 else other
    host.hears(endpoint_of("b"), PushPull((row,), answer=False))
    assert told_by(host, "a") == {Alive(id_of("a"), precedence_of(1, 4, State.ALIVE), own.alive.profile)}
    host.world.run(LONG_AFTER_S)
    host.hears(endpoint_of("b"), PushPull((row,), answer=False))
    assert belief(host, "a") == (State.ALIVE, 1, 4), "what is outranked by now is not worth another word"


def test_who_lost_its_disk_and_comes_back_as_something_else_is_known_as_that() -> None:
    """It counts its lives anew, so both announcements have one precedence."""
    world = World()
    a, b, c = world.mesh("a", "b", "c", settle_s=LONG_AFTER_S)
    b.crash()
    b.disk.clear()
    b.config = config_of("b", seeds=("a",), called="other")
    b.start()
    world.run_until(lambda: all((row := host.row("b")) and row.alive.profile.name == "other" for host in (a, c)), 10)


def test_an_announcement_that_was_missed_is_taken_from_a_table_that_knows_it_by_the_refutation() -> None:
    """Who held the announcement of incarnation 4 in its queue passed it on as that of 5."""
    host = lone_node("b", "c")
    host.hears(endpoint_of("c"), Gossip((refutes("b", 1, 5),)))
    host.hears(endpoint_of("c"), PushPull((alive("b", 1, 5, at="elsewhere.test:1"),), answer=False))
    row = host.row("b")
    assert row is not None
    assert row.endpoint == Endpoint(id_of("b"), "elsewhere.test:1")


@pytest.mark.parametrize(
    "since", [(1, 0, State.ALIVE), (1, 5, State.ALIVE), (2, 6, State.ALIVE), (2, 5, State.SUSPECT)]
)
def test_a_row_that_no_table_of_an_honest_peer_has_is_not_taken_in(since: tuple[int, int, State]) -> None:
    """It believes less than was announced, or of a life that has announced nothing."""
    host = lone_node("b", "c")
    host.hears(endpoint_of("c"), Gossip((alive("b", 1, 3), refutes("b", 1, 7))))
    before = host.row("b")
    forged = believed("b", (1, 6), since, alive("b", at="elsewhere.test:1").profile)
    host.hears(endpoint_of("c"), PushPull((forged,), answer=False))
    assert host.row("b") is before


# The dead are told so, and answer.


@pytest.mark.parametrize("kind", [Ping, Ack])
def test_who_is_told_an_old_accusation_to_its_face_says_its_word_again(kind: type[Ping] | type[Ack]) -> None:
    """The sender was out of reach for as long as the refutation was news."""
    host = lone_node("b")
    host.hears(endpoint_of("b"), Gossip((accuse("a", State.DEAD),)))
    host.world.run(LONG_AFTER_S)
    assert not told_by(host, "a")
    host.hears(endpoint_of("b"), kind(7, (accuse("a", State.DEAD),)))
    assert [told for told in host.told_to() if told[1].node_id == id_of("a")] == [
        (endpoint_of("b"), refutes("a", 1, 1))
    ]
    assert told_by(host, "a") == {refutes("a", 1, 1)}  # for the answer is one packet, and may be lost


@pytest.mark.parametrize("doubted", [False, True])
def test_the_answer_goes_before_all_other_news_and_leaves_the_packet_its_size(*, doubted: bool) -> None:
    host = without_news("b")
    for number in range(200):
        host.node.swim.queue.put(refutes(f"n{number}", 1, 1))
    if doubted:
        host.hears(endpoint_of("c"), Gossip((accuse("b", State.SUSPECT),)))
    host.hears(endpoint_of("b"), Ping(7, (accuse("a", State.DEAD, 1, 0),)))
    host.hears(endpoint_of("b"), Ping(8, (accuse("a", State.DEAD, 1, 0),)))
    for ack in host.said_of(Ack):
        assert ack.updates[int(doubted)] == refutes("a", 1, 1)
        assert sum(map(size_bound, ack.updates)) <= UPDATES_BYTES_MAX
        assert len(ack.updates) > 25


def without_news(*known: str) -> Host:
    host = lone_node(*known)
    while host.node.swim.queue.take(10**6, 10**6):
        pass
    return host


@pytest.mark.parametrize("kind", [Ping, Ack])
@pytest.mark.parametrize("word", [accuse("c", State.DEAD, 0, 5), refutes("a", 1, 0), accuse("a", State.SUSPECT, 9)])
def test_nobody_answers_for_another_or_to_a_refutation_or_for_a_later_life(
    kind: type[Ping] | type[Ack], word: Update
) -> None:
    host = without_news("b", "c")
    host.hears(endpoint_of("b"), kind(7, (word,)))
    assert host.told("a") == []


@pytest.mark.parametrize("kind", [Ping, Ack])
def test_who_leaves_does_not_say_that_it_is_alive(kind: type[Ping] | type[Ack]) -> None:
    host = without_news("b")
    host.request(Leave())
    host.hears(endpoint_of("b"), kind(7, (accuse("a", State.SUSPECT),)))
    assert set(host.told("a")) <= {accuse("a", State.LEFT, by="a")}


def test_an_answer_that_is_lost_comes_by_gossip() -> None:
    world = World(4)
    a, b, c = world.mesh("a", "b", "c")
    world.run(LONG_AFTER_S)
    world.lets_through = lambda source, target, message: target is not a
    a.hears(b.endpoint, Gossip((accuse("b", State.SUSPECT),)))
    b.hears(c.endpoint, Gossip((accuse("b", State.SUSPECT),)))
    world.run(3)
    assert a.sees("b") is State.SUSPECT
    world.lets_through = lambda source, target, message: target is not a or isinstance(message, Gossip)
    b.hears(a.endpoint, Ping(4711, (accuse("b", State.SUSPECT),)))
    world.run_until(lambda: a.sees("b") is State.ALIVE, 1)


@pytest.mark.parametrize("kind", [Ping, Ack])
def test_who_is_told_to_its_face_of_an_incarnation_that_it_never_had_answers_in_full(
    kind: type[Ping] | type[Ack],
) -> None:
    """It has lost its disk. Whoever heard a mere refutation first would take it for what it was before."""
    host = lone_node("b")
    host.world.run(LONG_AFTER_S)
    host.hush()
    host.hears(endpoint_of("b"), kind(7, (accuse("a", State.DEAD, 1, 5),)))
    assert {type(update) for update in host.told("a")} == {Alive}
    host.hush()
    host.hears(endpoint_of("b"), kind(8, (accuse("a", State.DEAD, 1, 6),)))
    assert {type(update) for update in host.told("a")} == {Alive}


def test_what_is_said_to_the_face_is_not_said_twice_in_one_packet() -> None:
    host = lone_node("b")
    host.world.run(LONG_AFTER_S)
    host.hush()
    host.hears(endpoint_of("b"), Ping(7, (accuse("a", State.DEAD),)))
    (ack,) = host.said_of(Ack)
    assert [update for update in ack.updates if update.node_id == id_of("a")] == [refutes("a", 1, 1)]


def test_who_is_accused_in_an_earlier_life_says_who_it_is_now() -> None:
    world = World()
    host = world.add("a").start()
    world.run(1)
    host.restart()
    world.run(LONG_AFTER_S)
    host.hears(endpoint_of("b"), Gossip((alive("b"),)))
    world.run(2)
    assert not told_by(host, "a")
    host.hears(endpoint_of("b"), Ack(7, (accuse("a", State.DEAD, 1, 9),)))
    assert host.told("a") == [alive("a", 2, 0)]


def test_a_node_that_was_deaf_to_a_refutation_hears_it_with_the_next_probe() -> None:
    world = World(4)
    hosts = world.mesh("a", "b", "c", "d")
    a, b = hosts[0], hosts[1]
    world.run(LONG_AFTER_S)
    deaf = True
    world.lets_through = lambda source, target, message: not (deaf and target is a and not isinstance(message, Ack))
    a.hears(b.endpoint, Gossip((accuse("b", State.DEAD),)))
    b.hears(endpoint_of("c"), Gossip((accuse("b", State.DEAD),)))
    world.run(9)
    deaf = False
    world.run_until(lambda: a.sees("b") is State.ALIVE, 4)


def test_an_answer_that_fits_no_packet_beside_an_accusation_waits_for_the_next_one() -> None:
    handlers = tuple(HandlerSpec(f"{number:02}" + "h" * 60) for number in range(17))
    world = World()
    host = world.add("a", config_of("a", handlers=handlers)).start()
    world.run(LONG_AFTER_S)
    row = host.row("a")
    assert row is not None
    assert UPDATES_BYTES_MAX - 60 < size_bound(row.alive) <= UPDATES_BYTES_MAX
    host.hears(endpoint_of("b"), Gossip((alive("b"), accuse("b", State.SUSPECT))))
    host.hush()
    host.hears(endpoint_of("b"), Ping(7, (accuse("a", State.DEAD, 1, 9),)))
    (ack,) = host.said_of(Ack, "b")
    assert ack.updates == (accuse("b", State.SUSPECT),)
    world.run(2)
    assert precedence_of(1, 10, State.ALIVE) in [update.precedence for update in host.told("a")]
