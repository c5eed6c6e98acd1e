"""Round-trip times: which probes are measured, what is remembered of whom, and what callers are told (Karn; serf)."""

from __future__ import annotations

from random import Random
from statistics import median

import pytest
from msgspec.structs import replace

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_MS, NANOS_PER_S, Endpoint, Outcome, Refused
from protocols.limits import PEERS_HEARD_MAX
from protocols.membership.coordinates import DIMENSIONS, Coordinate
from protocols.membership.member import State
from protocols.membership.messages import Ack, Gossip, Nack, Ping, PingReq
from protocols.membership.nearness import Nearness
from protocols.membership.rtt import COORDINATES, PROBES, EstimateRtt, RttEstimate, RttView
from protocols.membership.views import GetStatus, NodeStatus
from tests.protocols.harness import Host, World, accuse, alive, config_of, endpoint_of, id_of
from tests.protocols.membership.test_vitals import seen
from tests.protocols.membership.topologies import plane, sites

HERE = Coordinate((1_000, 0, 0, 0, 0, 0, 0, 0), 500, 0, 100)


def host_among(*names: str) -> Host:
    """A node that has heard of `names`; none of them exists."""
    host = World().add("a").start()
    host.world.run(0.001)
    host.hears(endpoint_of("z"), Gossip(tuple(alive(name) for name in names)))
    host.hush()
    return host


def next_ping(host: Host) -> tuple[Endpoint, Ping]:
    """Let time pass until the node probes somebody."""
    host.hush()
    host.world.run_until(lambda: bool(host.said_of(Ping)), 10)
    to, ping = next((to, message) for to, message in host.said if isinstance(message, Ping))
    assert isinstance(ping, Ping)
    return to, ping


def answer(host: Host, after_ms: float, coordinate: Coordinate | None = HERE) -> None:
    """Let the next probe be answered by its target."""
    to, ping = next_ping(host)
    host.world.run(after_ms / 1000)
    host.hears(to, Ack(ping.probe, (), None, coordinate))


def measured(host: Host, name: str = "b") -> RttView | None:
    return seen(host, name).rtt


def told(outcome: Outcome) -> RttView:
    assert isinstance(outcome, RttEstimate), outcome
    return outcome.rtt


def refused(outcome: Outcome) -> Refused:
    assert isinstance(outcome, Refused), outcome
    return outcome


# What is measured.


def test_a_probe_that_its_target_answers_is_measured() -> None:
    host = host_among("b")
    answer(host, 25)
    assert measured(host) == RttView(25.0, 0.0, PROBES, 1, 0.0)


def test_the_median_of_the_last_three_counts() -> None:
    host = host_among("b")
    for after_ms in (30, 20, 400, 22):
        answer(host, after_ms)
    assert measured(host) == RttView(22.0, 190.0, PROBES, 3, 0.0)


def test_a_late_answer_within_the_interval_is_measured_in_full() -> None:
    host = host_among("b")
    answer(host, 900)
    rtt = measured(host)
    assert rtt is not None
    assert rtt.ms == 900


def test_an_answer_that_comes_by_way_of_a_helper_is_not_measured() -> None:
    host = host_among("b", "c")
    to, ping = next_ping(host)
    host.world.run(0.6)
    (request,) = host.said_of(PingReq)
    helper = "c" if to == endpoint_of("b") else "b"
    host.hears(endpoint_of(helper), Ack(request.probe))
    for name in ("b", "c"):
        assert host.sees(name) is State.ALIVE
        assert measured(host, name) is None
    assert ping.probe == request.probe


def test_a_target_that_was_pinged_twice_is_not_measured() -> None:
    """Nobody knows which of the two pings it answers (Karn)."""
    host = host_among("b", "c")
    to, ping = next_ping(host)
    host.world.run(0.6)
    host.hears(endpoint_of("z"), Gossip((alive("d"),)))  # in touch again: the target is pinged once more
    assert [again.probe for again in host.said_of(Ping)] == [ping.probe, ping.probe]
    host.hears(to, Ack(ping.probe, (), None, HERE))
    name = "b" if to == endpoint_of("b") else "c"
    rtt = measured(host, name)
    assert rtt is not None
    assert rtt.source == COORDINATES


@pytest.mark.parametrize("off", [-1, 1, 1 << 61])
def test_an_answer_of_another_number_is_not_measured(off: int) -> None:
    host = host_among("b")
    to, ping = next_ping(host)
    host.hears(to, Ack(max(0, ping.probe + off)))
    assert measured(host) is None


def test_a_second_answer_to_the_same_probe_is_not_measured() -> None:
    host = host_among("b")
    to, ping = next_ping(host)
    host.world.run(0.01)
    host.hears(to, Ack(ping.probe))
    host.world.run(0.3)
    host.hears(to, Ack(ping.probe))
    assert measured(host) == RttView(10.0, 0.0, PROBES, 1, 0.3)


def test_a_helper_measures_nothing_for_others() -> None:
    host = host_among("b", "c")
    next_ping(host)
    host.hush()
    host.hears(endpoint_of("c"), PingReq(9, id_of("b"), endpoint_of("b").address))
    (relayed,) = host.said_of(Ping, "b")
    host.world.run(0.01)
    host.hears(endpoint_of("b"), Ack(relayed.probe, (), None, HERE))
    assert host.said_of(Ack, "c") == [Ack(9)]
    rtt = measured(host, "b")
    assert rtt is not None
    assert rtt.source == COORDINATES


def test_what_an_older_member_answers_is_measured_and_moves_nothing() -> None:
    host = host_among("b")
    near = host.node.membership.nearness
    assert near is not None
    before = near.vivaldi.coordinate
    answer(host, 25, None)
    assert measured(host) == RttView(25.0, 0.0, PROBES, 1, 0.0)
    assert near.vivaldi.coordinate == before
    assert not near.knows_place_of(id_of("b"))


# What is remembered.


def test_no_more_members_than_the_bound_are_remembered_and_the_first_heard_gives_way() -> None:
    near = Nearness("a")
    for number in range(PEERS_HEARD_MAX + 2):
        near.heard(number, f"m{number}", HERE, 0)
    assert not near.knows_place_of("m1")
    assert near.knows_place_of("m2")
    assert near.knows_place_of(f"m{PEERS_HEARD_MAX + 1}")


def test_what_is_known_of_a_member_is_dropped_with_it() -> None:
    world = World()
    a, b = world.mesh("a", "b", swim=SwimConfig(remember_dead=60 * NANOS_PER_S))
    near = a.node.membership.nearness
    assert near is not None
    assert near.knows_place_of(id_of("b"))
    b.crash()
    world.run_until(lambda: a.row("b") is None, 400)
    assert not near.knows_place_of(id_of("b"))


# What callers are told.


def far_world(*names: str, settle_s: float) -> tuple[World, list[Host], list[list[float]]]:
    """A mesh over `sites`, in which every message takes half of its pair's round-trip time."""
    rtts = sites(Random(4), len(names))
    world = World()
    place = {name: number for number, name in enumerate(names)}
    carry = world.carry

    def over_distance(source: Host, to: Endpoint, data: bytes, carrier: object) -> None:
        target = to.address.partition(".")[0]
        world.latency = int(rtts[place[source.name]][place[target]] * 1000 / 2)
        carry(source, to, data, carrier)  # type: ignore[arg-type]

    world.carry = over_distance  # type: ignore[method-assign]
    return world, world.mesh(*names, settle_s=settle_s), rtts


def test_any_node_tells_how_far_any_two_others_are_from_each_other() -> None:
    names = tuple(f"n{number}" for number in range(10))
    _, hosts, rtts = far_world(*names, settle_s=900)
    off = []
    for a in range(1, 10):
        probed = told(hosts[0].ask(EstimateRtt(f"n{a}")))
        assert probed.source == PROBES
        assert probed.ms == pytest.approx(rtts[0][a] / 1000, rel=0.01)
        for b in range(1, a):
            estimated = told(hosts[0].ask(EstimateRtt(f"n{a}", f"n{b}")))
            assert (estimated.source, estimated.samples) == (COORDINATES, 0)
            assert estimated.age_s < 60
            off.append(abs(estimated.ms - rtts[a][b] / 1000) / (rtts[a][b] / 1000))
    assert median(off) < 0.10
    status = hosts[0].ask(GetStatus())
    assert isinstance(status, NodeStatus)
    assert status.rtt is not None
    known = sorted(rtt / 1000 for rtt in rtts[0][1:])
    assert status.rtt.members == 9
    for shown, true in (
        (status.rtt.nearest_ms, known[0]),
        (status.rtt.median_ms, known[4]),
        (status.rtt.farthest_ms, known[8]),
    ):
        assert shown == pytest.approx(true, rel=0.01)
    assert status.rtt.coordinate_error < 0.3


def test_an_estimate_is_as_old_as_the_older_of_its_coordinates() -> None:
    nearness = Nearness("a")
    for second, name in ((1, "b"), (5, "c")):
        nearness.heard(second * NANOS_PER_S, name, Coordinate((0,) * DIMENSIONS, 10, 0, 100), 0)
    for one, other in (("b", "c"), ("c", "b")):
        estimate = nearness.between(10 * NANOS_PER_S, one, other)
        assert estimate is not None
        assert estimate.age_s == 9


def test_the_median_of_two_lies_between_them() -> None:
    host = host_among("b", "c")
    answer(host, 10)
    answer(host, 30)
    status = host.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    assert status.rtt is not None
    assert (status.rtt.members, status.rtt.nearest_ms, status.rtt.median_ms, status.rtt.farthest_ms) == (2, 10, 20, 30)


def test_members_are_named_by_name_by_id_or_by_the_beginning_of_it() -> None:
    world = World()
    a, *_ = world.mesh("a", "b", "c")
    for name in ("b", id_of("b"), id_of("b")[:8]):
        outcome = a.ask(EstimateRtt(name, "c"))
        assert isinstance(outcome, RttEstimate)
        assert (outcome.a, outcome.a_id, outcome.b, outcome.b_id) == ("b", id_of("b"), "c", id_of("c"))
    outcome = a.ask(EstimateRtt("b"))
    assert isinstance(outcome, RttEstimate)
    assert (outcome.a, outcome.b) == ("a", "b")


def test_who_is_not_known_is_refused_with_what_to_do() -> None:
    world = World()
    a, *_ = world.mesh("a", "b")
    for command in (
        EstimateRtt("nobody"),
        EstimateRtt("b", "nobody"),
        EstimateRtt("", "b"),
        EstimateRtt(id_of("b")[:3]),
    ):
        refusal = refused(a.ask(command))
        assert refusal.code == "unknown_member"
        assert "meshnode members" in refusal.next_step
    assert len(refused(a.ask(EstimateRtt("x" * 5_000))).message) < 200


def test_two_members_of_one_name_have_to_be_told_apart() -> None:
    host = host_among("b")
    host.hears(endpoint_of("z"), Gossip((alive("c", called="b"),)))
    refusal = refused(host.ask(EstimateRtt("b")))
    assert refusal.code == "ambiguous_member"
    assert id_of("b") in refusal.next_step
    assert id_of("c") in refusal.next_step
    host.hears(endpoint_of("z"), Gossip((accuse("c", State.DEAD),)))
    assert refused(host.ask(EstimateRtt("b"))).code == "rtt_unknown"  # of one name, whoever is there is meant


def test_one_member_is_no_distance() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    assert refused(a.ask(EstimateRtt("a"))).code == "same_member"
    assert refused(a.ask(EstimateRtt("b", id_of("b")))).code == "same_member"


def test_what_is_not_known_yet_is_refused_with_when_to_ask_again() -> None:
    host = host_among("b", "c")
    refusal = refused(host.ask(EstimateRtt("b", "c")))
    assert refusal.code == "rtt_unknown"
    assert "b and c" in refusal.message
    assert "within about 3 s" in refusal.next_step
    assert refusal.retry_after_s == 3
    host.hears(endpoint_of("z"), Gossip((accuse("b", State.DEAD),)))
    refusal = refused(host.ask(EstimateRtt("b")))
    assert "dead" in refusal.message
    assert refusal.retry_after_s == 0


def test_what_is_not_known_yet_is_known_when_it_says() -> None:
    world = World()
    a, *_ = world.mesh("a", "b", "c", "d", settle_s=0)
    outcome = a.ask(EstimateRtt("b", "c"))
    if isinstance(outcome, Refused):
        world.run(2 * outcome.retry_after_s)
        outcome = a.ask(EstimateRtt("b", "c"))
    assert told(outcome).source == COORDINATES


def test_a_node_that_keeps_no_coordinates_says_so() -> None:
    world = World()
    host = world.add("a", replace(config_of("a"), probe_payloads=False)).start()
    world.run(1)
    host.hears(endpoint_of("z"), Gossip((alive("b"),)))
    answer(host, 5)
    assert refused(host.ask(EstimateRtt("b"))).code == "no_coordinates"
    assert measured(host) is None


def test_stray_nacks_and_acks_leave_everything_as_it_is() -> None:
    host = host_among("b")
    to, ping = next_ping(host)
    host.hears(endpoint_of("stranger"), Ack(ping.probe, (), None, HERE))
    host.hears(to, Nack(ping.probe))
    assert measured(host) is None
    host.world.run(0.02)
    host.hears(to, Ack(ping.probe, (), None, HERE))
    assert measured(host) == RttView(20.0, 0.0, PROBES, 1, 0.0)


def test_estimates_in_a_plane_are_near_the_truth_in_spite_of_noise() -> None:
    """The whole of it: filter, springs and adjustment, over ten minutes of probes of which one in twenty is slow."""
    random = Random(8)
    rtts = plane(random, 25)
    nodes = [Nearness(f"n{number}") for number in range(25)]
    for _ in range(600):
        for number, node in enumerate(nodes):
            other = (number + random.randrange(1, 25)) % 25
            slow = 10 if random.random() < 0.05 else 1
            rtt = int(rtts[number][other] * slow * NANOS_PER_MS / 1000)
            node.heard(0, f"n{other}", nodes[other].vivaldi.coordinate, rtt)
    off = []
    for a in range(2, 25):
        for b in range(1, a):
            view = nodes[0].between(0, f"n{a}", f"n{b}")
            assert view is not None
            off.append(abs(view.ms * 1000 - rtts[a][b]) / rtts[a][b])
    assert median(off) < 0.06
