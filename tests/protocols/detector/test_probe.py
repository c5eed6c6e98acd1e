"""Probing: whom, how often, and what to make of silence (SWIM sections 3.1 and 4.3)."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_MS, NANOS_PER_S
from protocols.detector.health import LocalHealth
from protocols.detector.probe import RELAYS_MAX, Prober
from protocols.membership.facts import MemberChanged
from protocols.membership.hints import HungUp
from protocols.membership.member import State
from protocols.membership.messages import Ack, Gossip, Nack, Ping, PingReq, PushPull
from protocols.membership.rumours import EventDigest
from tests.protocols.detector.probe_kit import host_among, next_ping, pinged
from tests.protocols.harness import Host, World, accuse, alive, endpoint_of, id_of

SECOND = NANOS_PER_S
CONFIG = SwimConfig()


# Whom.


@given(st.integers(1, 30), st.integers())
@settings(max_examples=40, deadline=None)
def test_every_member_is_probed_within_2n_minus_1_intervals(count: int, seed: int) -> None:
    members = [f"m{number}" for number in range(count)]
    prober = Prober(CONFIG, Random(seed), LocalHealth(CONFIG))
    prober.start(0)
    now = prober.deadline
    last = dict.fromkeys(members, 0)
    for interval in range(1, 6 * count + 2):
        due = prober.fire(now, lambda: list(members), lambda node_id: True)
        assert due.ping in last
        last[due.ping] = interval
        prober.acked(due.ping, prober.seq)
        now += CONFIG.probe_interval
        assert all(interval - probed <= 2 * count - 1 for probed in last.values())


def test_nodes_that_start_together_do_not_probe_in_step() -> None:
    begins: list[int] = []
    for seed in range(20):
        prober = Prober(CONFIG, Random(seed), LocalHealth(CONFIG))
        prober.start(0)
        begins.append(prober.deadline)
    assert all(0 <= begin < CONFIG.probe_interval for begin in begins)
    assert max(begins) - min(begins) > CONFIG.probe_interval // 2


def probed_in_turn(seed: int, members: list[str], rounds: int) -> list[list[str]]:
    """Whom a node probes in each of so many rounds."""
    prober = Prober(CONFIG, Random(seed), LocalHealth(CONFIG))
    prober.start(0)
    now = prober.deadline
    pings: list[str] = []
    for _ in range(rounds * len(members)):
        pings.append(prober.fire(now, lambda: list(members), lambda node_id: True).ping)
        prober.acked(pings[-1], prober.seq)
        now += CONFIG.probe_interval
    return [pings[begin : begin + len(members)] for begin in range(0, len(pings), len(members))]


def test_each_round_reaches_everybody_once_in_an_order_of_its_own_at_every_node() -> None:
    """Nodes that all went the same way would leave a member unwatched for most of a round."""
    members = [f"m{number}" for number in range(20)]
    orders = [order for seed in range(3) for order in probed_in_turn(seed, members, 3)]
    assert all(sorted(order) == sorted(members) for order in orders)
    assert len({tuple(order) for order in orders}) == len(orders)
    assert members not in orders


def probes_until(host: Host, name: str) -> int:
    """How many members the node probes until it is the turn of `name`; all of them answer."""
    for number in itertools.count(1):
        to, ping = next_ping(host)
        host.hears(to, Ack(ping.probe))
        if to.node_id == id_of(name):
            return number
    raise AssertionError


def test_a_newcomer_gets_a_random_place_in_the_round_and_not_the_end_of_it() -> None:
    """SWIM section 4.3. Else nobody would watch it in its first minutes in a large mesh."""
    waits: list[int] = []
    for seed in range(30):
        host = World(seed).add("a").start()
        host.world.run(0.001)
        host.hears(endpoint_of("z"), Gossip(tuple(alive(f"n{number}") for number in range(20))))
        for _ in range(10):
            to, ping = next_ping(host)
            host.hears(to, Ack(ping.probe))
        host.hears(endpoint_of("z"), Gossip((alive("x"),)))
        waits.append(probes_until(host, "x"))
    in_this_round = [wait for wait in waits if wait <= 11]
    assert 8 <= len(in_this_round) <= 22
    assert len(set(in_this_round)) >= 5
    assert all(11 <= wait <= 31 for wait in waits if wait not in in_this_round)


@pytest.mark.parametrize("count", [3, 50])
def test_newcomers_without_end_make_no_round_without_end(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocols.detector.probe.MEMBERS_MAX", 10)
    prober = Prober(CONFIG, Random(1), LocalHealth(CONFIG))
    for number in range(count):
        prober.add(f"m{number}")
    prober.start(0)
    pings: list[str] = []
    while not pings or pings[-1] != "next":
        pings.append(prober.fire(prober.deadline, lambda: ["next"], lambda node_id: True).ping)
        prober.acked(pings[-1], prober.seq)
    assert len(pings) == min(count, 10) + 1


def test_one_member_is_probed_in_each_interval() -> None:
    world = World()
    a, *_ = world.mesh("a", "b", "c", "d")
    a.hush()
    world.run(30)
    assert len(pinged(a)) == pytest.approx(30, abs=1)
    for name in ("b", "c", "d"):
        assert pinged(a).count(id_of(name)) == pytest.approx(10, abs=1)


def test_neither_oneself_nor_the_dead_nor_the_departed_are_probed_but_suspects_are() -> None:
    host = host_among("b", "c", "d")
    host.hears(endpoint_of("z"), Gossip((accuse("b", State.DEAD), accuse("c", State.LEFT))))
    host.hears(endpoint_of("z"), Gossip((accuse("d", State.SUSPECT),)))
    host.hush()
    host.world.run(3)
    assert set(pinged(host)) == {id_of("d")}


def test_one_who_dies_in_the_middle_of_a_round_is_skipped() -> None:
    names = tuple(f"n{number}" for number in range(20))
    host = host_among(*names)
    host.world.run(2)
    host.hears(endpoint_of("z"), Gossip(tuple(accuse(name, State.DEAD) for name in names[:-1])))
    host.hush()
    host.world.run(4)
    assert set(pinged(host)) <= {id_of(names[-1])}


# Acks.


def hung_up(host: Host, name: str) -> None:
    host.request(HungUp(id_of(name)))


def test_who_has_hung_up_is_probed_next() -> None:
    names = [f"m{number}" for number in range(30)]
    host = host_among(*names)
    next_ping(host)
    hung_up(host, "m7")
    assert next_ping(host)[0].node_id == id_of("m7")


def test_one_who_hangs_up_all_the_time_takes_every_other_probe_and_no_more() -> None:
    names = [f"m{number}" for number in range(10)]
    prober = Prober(CONFIG, Random(3), LocalHealth(CONFIG))
    prober.start(0)
    now, pings = prober.deadline, []
    for _ in range(40):
        prober.probe_next("m7")
        pings.append(prober.fire(now, lambda: list(names), lambda node_id: True).ping)
        prober.acked(pings[-1], prober.seq)
        now += CONFIG.probe_interval
    assert all("m7" in pair for pair in itertools.pairwise(pings))
    in_turn = pings[1::2]
    assert all(in_turn.count(name) == 2 for name in names)


def test_a_stranger_or_a_dead_member_that_hangs_up_is_not_probed() -> None:
    host = host_among("b", "c")
    host.hears(endpoint_of("z"), Gossip((accuse("c", State.DEAD),)))
    for name in ("nobody", "c"):
        hung_up(host, name)
        assert next_ping(host)[0].node_id == id_of("b")


def test_who_had_hung_up_and_was_being_probed_in_a_sleep_is_probed_anew() -> None:
    names = [f"m{number}" for number in range(30)]
    prober = Prober(CONFIG, Random(3), LocalHealth(CONFIG))
    prober.start(0)
    prober.probe_next("m7")
    now = prober.deadline
    assert prober.fire(now, lambda: list(names), lambda node_id: True).ping == "m7"
    prober.slept(now + 60 * SECOND)
    assert prober.fire(prober.deadline, lambda: list(names), lambda node_id: True).ping == "m7"


def test_an_answered_probe_leaves_the_member_alone() -> None:
    host = host_among("b")
    for _ in range(20):
        to, ping = next_ping(host)
        host.hears(to, Ack(ping.probe))
    assert host.sees("b") is State.ALIVE


def test_silence_makes_a_suspect_when_the_interval_is_over_and_not_before() -> None:
    host = host_among("b")
    next_ping(host)
    host.world.run(0.99)
    assert host.sees("b") is State.ALIVE
    host.world.run(0.02)
    assert host.sees("b") is State.SUSPECT
    (change,) = host.facts_of(MemberChanged)
    assert (change.state, change.by) == (State.SUSPECT, id_of("a"))


@pytest.mark.parametrize("off", [-1, 1, 7])
def test_an_ack_of_another_number_does_not_count(off: int) -> None:
    host = host_among("b")
    to, ping = next_ping(host)
    host.hears(to, Ack(ping.probe + off))
    host.world.run(1.01)
    assert host.sees("b") is State.SUSPECT


def test_an_ack_of_a_stranger_or_of_another_member_does_not_count() -> None:
    host = host_among("b")
    _, ping = next_ping(host)
    host.hears(endpoint_of("stranger"), Ack(ping.probe))
    host.world.run(1.01)
    assert host.sees("b") is State.SUSPECT


def test_an_ack_that_comes_late_does_not_count_for_the_next_probe() -> None:
    host = host_among("b", "c")
    _, first = next_ping(host)
    to, second = next_ping(host)
    assert second.probe != first.probe
    host.hears(to, Ack(first.probe))
    host.world.run(2.01)  # twice as long as usual: the first probe failed
    assert host.sees(next(name for name in "bc" if id_of(name) == to.node_id)) is State.SUSPECT


def test_every_ping_is_answered_under_its_number_even_one_of_a_stranger() -> None:
    host = host_among()
    host.hears(endpoint_of("stranger"), Ping(12345))
    assert [ack.probe for ack in host.said_of(Ack, "stranger")] == [12345]


# Indirect probes.


def test_an_unanswered_probe_is_repeated_through_three_others_after_the_timeout() -> None:
    host = host_among("b", "c", "d", "e", "f")
    to, ping = next_ping(host)
    host.world.run(0.49)
    assert host.said_of(PingReq) == []
    host.world.run(0.02)
    asked = [(endpoint.node_id, message) for endpoint, message in host.said if isinstance(message, PingReq)]
    assert len({helper for helper, _ in asked}) == len(asked) == 3
    assert to.node_id not in {helper for helper, _ in asked}
    assert {(request.probe, request.target, request.target_address) for _, request in asked} == {
        (ping.probe, to.node_id, to.address)
    }


def test_an_ack_in_time_spares_the_others() -> None:
    host = host_among("b", "c", "d", "e", "f")
    to, ping = next_ping(host)
    host.hears(to, Ack(ping.probe))
    host.world.run(0.6)
    assert host.said_of(PingReq) == []


def test_the_ack_of_a_helper_counts_and_that_of_one_who_was_not_asked_does_not() -> None:
    for helping, state in ((True, State.ALIVE), (False, State.SUSPECT)):
        host = host_among("b", "c", "d", "e", "f")
        to, ping = next_ping(host)
        host.world.run(0.51)
        helpers = [endpoint for endpoint, message in host.said if isinstance(message, PingReq)]
        others = [endpoint_of(name) for name in "bcdef" if endpoint_of(name) not in (*helpers, to)]
        host.hears((helpers if helping else others)[0], Ack(ping.probe))
        host.world.run(0.51)
        row = host.node.swim.table.get(to.node_id)
        assert row is not None
        assert row.state is state


def test_a_helper_probes_the_target_and_passes_its_ack_on_under_the_askers_number() -> None:
    host = host_among("b")
    host.hears(endpoint_of("asker"), PingReq(77, id_of("b"), endpoint_of("b").address))
    (ping,) = host.said_of(Ping, "b")
    host.hears(endpoint_of("stranger"), Ack(ping.probe))
    assert host.said_of(Ack, "asker") == []
    host.hears(endpoint_of("b"), Ack(ping.probe))
    assert [ack.probe for ack in host.said_of(Ack, "asker")] == [77]
    host.hears(endpoint_of("b"), Ack(ping.probe))
    assert len(host.said_of(Ack, "asker")) == 1


def test_who_is_asked_to_probe_itself_answers() -> None:
    host = host_among()
    host.hears(endpoint_of("asker"), PingReq(77, id_of("a"), endpoint_of("a").address))
    assert [ack.probe for ack in host.said_of(Ack, "asker")] == [77]


def test_the_probes_done_for_others_are_bounded_and_run_out() -> None:
    host = host_among("b")
    for number in range(RELAYS_MAX + 50):
        host.hears(endpoint_of("asker"), PingReq(number, id_of("b"), endpoint_of("b").address))
    assert len(host.said_of(Ping, "b")) == RELAYS_MAX
    host.world.run(2.5)
    host.hush()
    host.hears(endpoint_of("asker"), PingReq(9999, id_of("b"), endpoint_of("b").address))
    assert len(host.said_of(Ping, "b")) == 1


def test_one_who_is_out_of_reach_of_one_member_only_is_not_suspected() -> None:
    world = World()
    a, b, *_ = world.mesh("a", "b", "c", "d")
    world.lets_through = lambda source, target, message: {source.name, target.name} != {"a", "b"}
    world.run(120)
    changes = [fact for host in world.hosts.values() for fact in host.facts_of(MemberChanged)]
    assert not [change for change in changes if change.state is not State.ALIVE]
    assert (a.sees("b"), b.sees("a")) == (State.ALIVE, State.ALIVE)


def test_the_suspect_is_told_by_the_next_one_who_probes_it() -> None:
    """Lifeguard's buddy system: the accusation is in the ping itself, whatever else there is to gossip."""
    host = host_among("b", *(f"n{number}" for number in range(8)))
    host.hears(endpoint_of("z"), Gossip((accuse("b", State.SUSPECT),)))
    host.hush()
    for _ in range(10):
        to, ping = next_ping(host)
        if to == endpoint_of("b"):
            break
        host.hears(to, Ack(ping.probe))
    assert accuse("b", State.SUSPECT) in host.said_of(Ping, "b")[0].updates


# Local health (Lifeguard section IV-A).


def pings_within(host: Host, seconds: float) -> int:
    host.hush()
    host.world.run(seconds)
    return len(pinged(host))


def test_a_helper_that_gets_no_answer_says_so_before_the_askers_interval_is_over() -> None:
    host = host_among("b")
    host.hears(endpoint_of("asker"), PingReq(77, id_of("b"), endpoint_of("b").address))
    host.world.run(0.39)
    assert host.said_of(Nack, "asker") == []
    host.world.run(0.02)
    assert [nack.probe for nack in host.said_of(Nack, "asker")] == [77]
    (ping, *_) = host.said_of(Ping, "b")
    host.hears(endpoint_of("b"), Ack(ping.probe))
    assert [ack.probe for ack in host.said_of(Ack, "asker")] == [77]  # late, but the asker may still make use of it
    host.world.run(2)
    assert len(host.said_of(Nack, "asker")) == 1


def test_a_helper_that_gets_its_answer_in_time_sends_no_nack() -> None:
    host = host_among("b")
    host.hears(endpoint_of("asker"), PingReq(77, id_of("b"), endpoint_of("b").address))
    (ping,) = host.said_of(Ping, "b")
    host.hears(endpoint_of("b"), Ack(ping.probe))
    host.world.run(3)
    assert host.said_of(Nack, "asker") == []


def test_one_who_hears_nobody_probes_slowly() -> None:
    alone = host_among(*(f"n{number}" for number in range(6)))
    assert pings_within(alone, 20) <= 5  # at 0, 1, 5, 12 and 21 s: the score goes 0, 3, 6, 8
    assert alone.node.swim.health.score == CONFIG.health_max
    assert pings_within(alone, 36) <= 5


def test_one_in_poor_health_gives_an_answer_more_time_before_it_asks_for_help() -> None:
    """Interval and timeout are stretched alike: at a score of 3 they are 4 s and 2 s."""
    host = host_among("b", "c", "d", "e")
    next_ping(host)
    next_ping(host)
    assert host.node.swim.health.score == 3
    host.hush()
    host.world.run(1.99)
    assert host.said_of(PingReq) == []
    host.world.run(0.02)
    assert host.said_of(PingReq)


def test_one_whose_helpers_answer_probes_on_at_its_pace_though_its_probes_fail() -> None:
    world = World()
    hosts = world.mesh("a", "b", "c", "d", "e", "f")
    hosts[4].crash()
    hosts[5].crash()
    a = hosts[0]
    for _ in range(20):
        world.run(1)
        assert a.node.swim.health.score <= 2  # one of three helpers may be the other one that is down
    assert pings_within(a, 10) >= 8


def test_a_nack_counts_once_and_only_from_a_helper_of_the_probe_under_way() -> None:
    host = host_among("b", "c", "d", "e")
    to, ping = next_ping(host)
    host.world.run(0.51)
    helpers = [to for to, message in host.said if isinstance(message, PingReq)]
    assert len(helpers) == 3
    for sender, probe in ((helpers[0], ping.probe), (helpers[0], ping.probe), (to, ping.probe), (helpers[1], 9999)):
        host.hears(sender, Nack(probe))
    host.world.run(0.5)
    assert host.node.swim.health.score == 2


def test_health_comes_back_with_every_answer() -> None:
    host = host_among("b", "c", "d", "e")
    next_ping(host)
    host.world.run(1.01)
    assert host.node.swim.health.score == 3
    to, ping = [(to, message) for to, message in host.said if isinstance(message, Ping)][-1]
    pace: list[int] = []
    for _ in range(4):
        host.hears(to, Ack(ping.probe))
        before = host.world.now
        host.hush()
        host.world.run_until(lambda: bool(pinged(host)), 5)
        pace.append(round((host.world.now - before) / SECOND))
        to, ping = next((to, message) for to, message in host.said if isinstance(message, Ping))
    assert pace == [4, 3, 2, 1]
    assert host.node.swim.health.score == 0


def test_having_to_refute_is_a_sign_of_poor_health() -> None:
    host = host_among("b")
    host.hears(endpoint_of("b"), Gossip((accuse("a", State.SUSPECT),)))
    assert host.node.swim.health.score == 1


# In a mesh.


def test_a_crash_is_suspected_by_all_within_the_published_time_and_then_dead() -> None:
    """N = 5: within 2N-1 probe intervals and the spread of gossip; dead after a suspicion of 4 s to 24 s more."""
    world = World()
    hosts = world.mesh("a", "b", "c", "d", "e")
    hosts[4].crash()
    crashed = world.now
    world.run_until(lambda: all(host.sees("e") is not State.ALIVE for host in hosts[:4]), 12)
    world.run_until(lambda: all(host.sees("e") is State.DEAD for host in hosts[:4]), 40)
    assert 4 * SECOND <= world.now - crashed <= 40 * SECOND


@pytest.mark.parametrize("loss", [0.05, 0.1])
def test_lost_packets_kill_nobody(loss: float) -> None:
    world = World(5)
    hosts = world.mesh("a", "b", "c", "d", "e")
    world.loss = loss
    world.copies = 0.1
    world.jitter = 100 * NANOS_PER_MS
    world.run(300)
    states = [fact.state for host in hosts for fact in host.facts_of(MemberChanged)]
    assert State.DEAD not in states


def test_a_quiet_mesh_has_no_news_to_tell() -> None:
    world = World()
    hosts = world.mesh("a", "b", "c", settle_s=25)
    for host in hosts:
        host.hush()
    world.run(4)
    assert {type(message) for host in hosts for _, message in host.said} <= {Ping, Ack, PushPull, EventDigest}
    assert all(host.told() == [] for host in hosts)
