"""`meshnode why NAME` at the core: who accuses, since when, on what evidence; and who is asked."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.core import Refused
from protocols.detector.messages import AskReach, Reached
from protocols.detector.why import ASKED_MAX, Explanation, Teller, Why
from protocols.membership.member import State
from protocols.membership.messages import Gossip
from protocols.membership.naming import ID_CHARS_MIN
from protocols.membership.views import GetStatus, NodeStatus
from protocols.signing import KEYLESS
from tests.protocols.harness import Host, World, accuse, alive, endpoint_of, id_of
from tests.protocols.signing_kit import Stamp


def explained(host: Host, member: str, within_s: float = 5) -> Explanation:
    outcome = host.ask(Why(member), within_s)
    assert isinstance(outcome, Explanation), outcome
    return outcome


def refused(host: Host, member: str) -> Refused:
    outcome = host.ask(Why(member))
    assert isinstance(outcome, Refused)
    return outcome


def names(tellers: tuple[Teller, ...]) -> list[str]:
    return [teller.name for teller in tellers]


def reach_by_name(explanation: Explanation) -> dict[str, str]:
    return {finding.by.name: finding.reach for finding in explanation.findings}


def test_a_member_that_is_well_is_accused_by_nobody() -> None:
    world = World()
    host, *_ = world.mesh("a", "b", "c")
    world.run(10)
    explanation = explained(host, "b")
    assert (explanation.member.name, explanation.member.state, explanation.suspicion) == ("b", "alive", None)
    assert explanation.said_by == Teller(id_of("b"), "b")
    assert reach_by_name(explanation) == {"a": "answers", "b": "answers", "c": "answers"}
    assert explanation.unheard == ()
    assert 0 <= explanation.own.answered_s < 5
    assert (explanation.own.silent_s, explanation.own.pings) == (-1, 0)


def test_a_suspect_comes_with_accusers_evidence_and_the_time_left_to_refute() -> None:
    world = World()
    a, gone, *others = world.mesh("a", "b", "c", "d", "e")
    world.run(10)
    gone.crash()
    found: list[Host] = []

    def accused() -> bool:
        found[:] = [host for host in (a, *others) if host.node.membership.evidence.silence(id_of("b"))]
        return bool(found)

    world.run_until(accused)
    host = found[0]  # it is the first accuser
    explanation = explained(host, "b")
    assert explanation.member.state == "suspect"
    suspicion = explanation.suspicion
    assert suspicion is not None
    assert suspicion.open
    assert suspicion.refute_within_s > 0
    assert names(suspicion.accusers)[0] == explanation.said_by.name == host.name
    assert explanation.own.silent_s >= 1
    assert explanation.own.pings >= 1
    assert sorted(names(explanation.own.helpers_heard)) == sorted({"a", "c", "d", "e"} - {host.name})
    assert explanation.own.helpers_silent == ()
    assert reach_by_name(explanation) == dict.fromkeys("acde", "silent")
    assert names(explanation.unheard) == ["b"]


def test_of_a_dead_member_it_is_remembered_who_accused_it() -> None:
    world = World()
    host, gone, *_ = world.mesh("a", "b", "c", "d")
    gone.crash()
    world.run_until(lambda: host.sees("b") is State.DEAD)
    world.run(30)
    explanation = explained(host, "b")
    assert (explanation.member.state, explanation.member.state_age_s > 30) == ("dead", True)
    assert explanation.suspicion is not None
    assert not explanation.suspicion.open
    assert explanation.suspicion.refute_within_s == 0
    assert explanation.suspicion.accusers
    assert {finding.state for finding in explanation.findings} == {"dead"}


def test_helpers_that_are_silent_too_show_that_it_is_this_node_that_is_cut_off() -> None:
    world = World()
    host, *_ = world.mesh("a", "b", "c", "d")
    world.split(("a",))
    world.run_until(lambda: host.sees("b") is not State.ALIVE)
    world.run_until(lambda: host.node.membership.evidence.silence(id_of("b")) is not None)
    explanation = explained(host, "b")
    assert explanation.own.helpers_heard == ()
    assert reach_by_name(explanation) == {"a": "silent"}
    assert explanation.own.helpers_silent != ()
    assert {"b"} <= set(names(explanation.unheard)) <= {"b", "c", "d"}


def test_a_link_that_is_broken_between_two_shows_who_can_and_who_cannot() -> None:
    world = World()
    host, *_ = world.mesh("a", "b", "c", "d")
    world.lets_through = lambda source, target, message: {source.name, target.name} != {"a", "d"}
    world.run(20)
    explanation = explained(host, "d")
    assert explanation.member.state == "alive"
    found = reach_by_name(explanation)
    assert (found["a"], found["b"], found["c"]) == ("silent", "answers", "answers")


def test_members_of_an_older_version_are_named_as_unheard_and_do_not_hold_it_up() -> None:
    world = World()
    host, *_ = world.mesh("a", "b", "c")
    world.lets_through = lambda source, target, message: not (target.name == "c" and isinstance(message, AskReach))
    began = world.now
    explanation = explained(host, "b")
    assert names(explanation.unheard) == ["c"]
    assert world.now - began <= 3.1 * 10**9


def test_views_are_shown_as_signed_as_unsigned_and_as_not_believed() -> None:
    world = World()
    host, *_ = world.mesh("a", "b", "c", "d")
    explanation = explained(host, "b")
    assert {finding.by.name: finding.signed for finding in explanation.findings} == dict.fromkeys("abcd", True)
    assert explanation.refused == ()
    # From now on c is of a version that does not sign, and the signatures of d are another's.
    for name, signer in (("c", KEYLESS), ("d", Stamp(id_of("c")))):
        world.hosts[name].config = replace(world.hosts[name].config, signer=signer)
        world.hosts[name].restart()
    world.run_until(lambda: all(host.sees(name) is State.ALIVE for name in "abcd"))
    world.run(5)
    explanation = explained(host, "b")
    assert {finding.by.name: finding.signed for finding in explanation.findings} == {"a": True, "b": True, "c": False}
    assert (names(explanation.refused), explanation.unheard) == (["d"], ())
    status = host.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    assert status.refused["signatures"] == 1


def test_a_large_mesh_is_asked_by_sample_with_its_accusers_first() -> None:
    world = World()
    host = world.add("a").start()
    world.run(0.001)
    crowd = [f"m{number}" for number in range(50)]
    for name in (*crowd, "x"):
        host.hears(endpoint_of("z"), Gossip((alive(name),)))
    host.hears(endpoint_of("m7"), Gossip((accuse("x", State.SUSPECT, by="m7"), accuse("x", State.SUSPECT, by="m9"))))
    host.hush()
    host.request(Why("x"))
    asked = [to.node_id for to, message in host.said if isinstance(message, AskReach)]
    assert asked[:4] == [id_of("a"), id_of("x"), id_of("m7"), id_of("m9")]
    assert len(asked) == len(set(asked)) == ASKED_MAX


def test_a_member_is_named_by_name_by_id_or_by_how_its_id_begins() -> None:
    world = World()
    host, *_ = world.mesh("a", "b")
    for word in ("b", id_of("b"), id_of("b")[:ID_CHARS_MIN]):
        assert explained(host, word).member.node_id == id_of("b")
    refusal = refused(host, "nobody")
    assert (refusal.code, "a, b" in refusal.next_step) == ("unknown_member", True)
    assert refused(host, id_of("b")[: ID_CHARS_MIN - 1]).code == "unknown_member"


def test_of_namesakes_the_one_that_is_there_is_meant_and_two_such_have_to_be_told_apart() -> None:
    world = World()
    host = world.add("a").start()
    world.run(0.001)
    host.hears(endpoint_of("z"), Gossip((alive("old", called="box"), alive("new", called="box"))))
    refusal = refused(host, "box")
    assert refusal.code == "ambiguous_member"
    assert id_of("old") in refusal.next_step
    assert id_of("new") in refusal.next_step
    host.hears(endpoint_of("z"), Gossip((accuse("old", State.LEFT, by="old"),)))
    assert explained(host, "box").member.node_id == id_of("new")


def test_too_many_questions_at_once_are_refused_and_room_comes_back() -> None:
    world = World()
    host, *_ = world.mesh("a", "b")
    world.lets_through = lambda source, target, message: not isinstance(message, Reached)
    requests = [host.request(Why("b")) for _ in range(70)]
    now = [host.outcomes[each] for each in requests if each in host.outcomes]
    assert [outcome.code for outcome in now if isinstance(outcome, Refused)] == ["busy"] * 6
    world.run(4)
    assert all(each in host.outcomes for each in requests)
    world.lets_through = lambda source, target, message: True
    assert explained(host, "b").unheard == ()


@pytest.mark.parametrize("seed", range(5))
def test_asking_changes_nothing_that_anybody_believes(seed: int) -> None:
    """The same world, asked and not asked: the same beliefs. Packets and their times differ."""

    def beliefs(asking: bool) -> list[list[tuple[str, int]]]:
        world = World(seed)
        hosts = world.mesh("a", "b", "c", "d")
        hosts[3].crash()
        for _ in range(40):
            if asking:
                hosts[0].request(Why("d"))
                hosts[1].request(Why("a"))
            world.run(1)
        return [[(row.alive.node_id, row.precedence) for row in host.node.members()] for host in hosts[:3]]

    assert beliefs(asking=True) == beliefs(asking=False)
