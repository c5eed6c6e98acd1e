"""Tags that change while a node runs: durable before they are announced, one value per incarnation, a bounded rate."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.core import Outcome, Refused
from protocols.limits import OWN_TAGS_MAX
from protocols.membership.facts import Announced, NodeStarted, TagsLeftOut
from protocols.membership.member import (
    INCARNATION_MAX,
    Alive,
    Believed,
    Profile,
    Refutation,
    State,
    precedence_of,
    said_again,
)
from protocols.membership.messages import Gossip, PushPull
from protocols.membership.records import TAGS_KEY, ChangedTags
from protocols.membership.tagging import ANNOUNCE_INTERVAL, GetTags, NodeTags, SetTags
from protocols.membership.tags import own_tags
from protocols.membership.views import Leave, Left, ListMembers, MemberList
from tests.protocols.harness import Host, World, accuse, alive, config_of, endpoint_of, id_of

LONG_AFTER_S = 20.0
"""When the profile of a node of a small mesh has had its time to spread."""


def node_with(**tags: str) -> Host:
    """A node that serves, and is configured with `tags`."""
    host = World().add("a", replace(config_of("a"), tags=own_tags(tags))).start()
    host.world.run(0.1)
    return host


def tags_of(outcome: Outcome) -> dict[str, str]:
    assert isinstance(outcome, NodeTags), outcome
    assert list(outcome.tags) == sorted(outcome.tags)
    return outcome.tags


def seen_by(observer: Host, name: str) -> dict[str, str]:
    """The tags that `observer` shows of a member."""
    listed = observer.ask(ListMembers())
    assert isinstance(listed, MemberList)
    return next(member.tags for member in listed.members if member.name == name)


def incarnation(host: Host) -> int:
    row = host.row(host.name)
    assert row is not None
    return row.incarnation


# Callers.


def test_a_change_is_seen_everywhere() -> None:
    world = World(3)
    hosts = world.mesh("a", "b", "c")
    assert tags_of(hosts[0].ask(SetTags({"gpu": "", "cuda": "12"}))) == {"cuda": "12", "gpu": ""}
    world.run_until(lambda: all(seen_by(host, "a") == {"cuda": "12", "gpu": ""} for host in hosts), 5)
    assert tags_of(hosts[0].ask(SetTags({"cuda": "13"}, ("gpu",)))) == {"cuda": "13"}
    world.run_until(lambda: all(seen_by(host, "a") == {"cuda": "13"} for host in hosts), 5)
    assert incarnation(hosts[0]) == 2


def test_a_change_is_durable_before_it_is_announced_or_answered() -> None:
    host = node_with()
    host.hush()
    host.hold_saves = True
    request_id = host.request(SetTags({"gpu": ""}))
    host.world.run(3)
    assert request_id not in host.outcomes
    assert incarnation(host) == 0
    assert tags_of(host.ask(GetTags())) == {}
    host.release_saves()
    host.world.run(0.1)
    assert tags_of(host.outcomes[request_id]) == {"gpu": ""}
    assert host.stored(TAGS_KEY) == ChangedTags((("gpu", ""),))
    assert [fact.incarnation for fact in host.facts_of(Announced)] == [incarnation(host)] == [1]


def test_a_restart_keeps_what_was_set_and_it_wins_over_the_configuration() -> None:
    host = node_with(gpu="", cuda="11")
    assert tags_of(host.ask(GetTags())) == {"cuda": "11", "gpu": ""}
    host.ask(SetTags({"cuda": "12", "rack": "7"}))
    host.restart()
    host.world.run(0.1)
    view = host.ask(GetTags())
    assert isinstance(view, NodeTags)
    assert view.tags == {"cuda": "12", "gpu": "", "rack": "7"}
    assert view.changed == ("cuda", "rack")
    assert (view.generation, view.incarnation) == (2, 0)
    row = host.row("a")
    assert row is not None
    assert row.alive.profile.tags == own_tags(view.tags)


def test_what_is_unset_is_again_as_it_is_configured() -> None:
    host = node_with(cuda="11")
    host.ask(SetTags({"cuda": "12", "rack": "7"}))
    assert tags_of(host.ask(SetTags(unset=("cuda", "rack", "never-set")))) == {"cuda": "11"}
    host.restart()
    host.world.run(0.1)
    assert tags_of(host.ask(GetTags())) == {"cuda": "11"}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (SetTags({"GPU": ""}), "bad_tag_key"),
        (SetTags({"good": "", "x": "\x1b[2J"}), "bad_tag_value"),
        (SetTags({".later": ""}), "reserved_tag"),
        (SetTags(unset=(".later",)), "reserved_tag"),
        (SetTags({"x": "v" * 200}), "tag_too_long"),
        (SetTags({f"k{number}": "" for number in range(OWN_TAGS_MAX)}), "too_many_tags"),
        (SetTags({f"k{number}": "v" * 100 for number in range(4)}), "tags_too_large"),
        (SetTags({"x": ""}, ("x",)), "bad_tags"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_as_a_whole_and_changes_nothing(command: SetTags, code: str) -> None:
    host = node_with(configured="yes")
    outcome = host.ask(command)
    assert isinstance(outcome, Refused)
    assert outcome.code == code
    assert outcome.next_step
    host.world.run(2)
    assert tags_of(host.ask(GetTags())) == {"configured": "yes"}
    assert incarnation(host) == 0


def test_a_change_that_changes_nothing_is_answered_and_raises_nothing() -> None:
    host = node_with(gpu="")
    host.ask(SetTags({"rack": "7"}))
    assert tags_of(host.ask(SetTags({"rack": "7"}))) == {"gpu": "", "rack": "7"}
    assert tags_of(host.ask(SetTags())) == {"gpu": "", "rack": "7"}
    assert incarnation(host) == 1
    # What the configuration says already is kept, for that may change, and is no news to others.
    assert tags_of(host.ask(SetTags({"gpu": ""}))) == {"gpu": "", "rack": "7"}
    assert incarnation(host) == 1
    assert host.stored(TAGS_KEY) == ChangedTags((("gpu", ""), ("rack", "7")))


def test_a_burst_is_a_few_incarnations_and_everybody_is_told_once() -> None:
    host = node_with()
    host.hush()
    requests = []
    for number in range(200):
        requests.append(host.request(SetTags({"rev": str(number)})))
        host.world.run(0.01)
    host.world.run(2)
    assert all(isinstance(host.outcomes[request_id], NodeTags) for request_id in requests)
    assert tags_of(host.ask(GetTags())) == {"rev": "199"}
    assert 2 <= incarnation(host) <= 2 + 2 * 10**9 // ANNOUNCE_INTERVAL
    told = [tags_of(host.outcomes[request_id])["rev"] for request_id in requests]
    assert all(int(rev) >= number for number, rev in enumerate(told)), (
        "somebody was told of an older value than its own"
    )


def test_a_disk_that_fails_refuses_everybody_and_leaves_the_tags_as_they_are() -> None:
    host = node_with()
    host.ask(SetTags({"rack": "7"}))
    host.disk_error = "the disk is full"
    refused = [host.request(SetTags({"rack": "8"})), host.request(SetTags({"gpu": ""}))]
    host.world.run(2)
    for request_id in refused:
        outcome = host.outcomes[request_id]
        assert isinstance(outcome, Refused)
        assert outcome.code == "storage_failed"
    assert tags_of(host.ask(GetTags())) == {"rack": "7"}
    host.disk_error = ""
    host.world.run(3)
    assert tags_of(host.ask(SetTags({"gpu": ""}))) == {"gpu": "", "rack": "7"}
    assert host.stored(TAGS_KEY) == ChangedTags((("gpu", ""), ("rack", "7")))


def test_a_node_that_leaves_answers_who_waits_and_refuses_who_comes_then() -> None:
    host = node_with()
    host.ask(SetTags({"rev": "1"}))
    waiting = host.request(SetTags({"rev": "2"}))
    leaving = host.request(Leave())
    late = host.request(SetTags({"rev": "3"}))
    host.world.run(0.2)
    assert tags_of(host.outcomes[waiting]) == {"rev": "2"}
    refused = host.outcomes[late]
    assert isinstance(refused, Refused)
    assert refused.code == "leaving"
    host.world.run(5)
    assert isinstance(host.outcomes[leaving], Left)
    assert host.sees("a") is State.LEFT
    host.restart()
    host.world.run(0.1)
    assert tags_of(host.ask(GetTags())) == {"rev": "2"}


def test_configured_tags_that_have_no_room_beside_the_others_are_named_and_left_out() -> None:
    host = node_with()
    host.ask(SetTags({"rack": "7", "room": "2"}))
    host.crash()
    host.config = replace(host.config, tags=own_tags({f"c{number:02}": "" for number in range(OWN_TAGS_MAX)}))
    host.start()
    host.world.run(0.1)
    (left_out,) = host.facts_of(TagsLeftOut)
    assert left_out.keys == (f"c{OWN_TAGS_MAX - 2}", f"c{OWN_TAGS_MAX - 1}")
    assert len(tags_of(host.ask(GetTags()))) == OWN_TAGS_MAX
    # There is one too many all the same, which is no reason to refuse that they get fewer.
    assert len(tags_of(host.ask(SetTags(unset=("rack",))))) == OWN_TAGS_MAX
    assert "rack" not in tags_of(host.ask(GetTags()))


# Incarnations.


def test_a_change_in_the_last_incarnation_begins_a_new_life() -> None:
    host = node_with()
    host.hears(endpoint_of("b"), Gossip((alive("b"), accuse("a", State.SUSPECT, 1, INCARNATION_MAX - 1))))
    assert incarnation(host) == INCARNATION_MAX
    assert tags_of(host.ask(SetTags({"gpu": ""}))) == {"gpu": ""}
    host.world.run(1)
    row = host.row("a")
    assert row is not None
    assert row.incarnation == 0
    assert row.generation == host.facts_of(NodeStarted)[-1].generation > 1
    assert row.alive.profile.tags == (("gpu", ""),)


def test_a_refutation_behind_a_change_says_the_new_profile() -> None:
    host = node_with()
    host.hears(endpoint_of("b"), Gossip((alive("b"),)))
    host.world.run(LONG_AFTER_S)
    host.ask(SetTags({"gpu": ""}))
    host.hush()
    host.hears(endpoint_of("b"), Gossip((accuse("a", State.SUSPECT, 1, incarnation(host)),)))
    host.world.run(0.5)
    said = [update for update in host.told("a") if isinstance(update, Alive)]
    assert said
    assert all(update.profile.tags == (("gpu", ""),) for update in said)


def test_a_refutation_says_a_changed_profile_for_a_while_after_that_is_passed_on_no_more() -> None:
    host = node_with()
    host.hears(endpoint_of("b"), Gossip((alive("b"), alive("c"), alive("d"))))
    host.world.run(LONG_AFTER_S)
    host.hears(endpoint_of("b"), Gossip((alive("b", 2), alive("c", 2), alive("d", 2))))
    host.ask(SetTags({"gpu": ""}))
    host.world.run(0.9)
    host.hush()
    host.hears(endpoint_of("b"), Gossip((accuse("a", State.SUSPECT, 1, incarnation(host)),)))
    host.world.run(0.3)
    said = [
        update for update in host.told("a") if update.precedence == precedence_of(1, incarnation(host), State.ALIVE)
    ]
    assert said
    assert all(isinstance(update, Alive) and not update.incarnations_ago for update in said)


def changed(name: str, number: int) -> Alive:
    """What a node announced in incarnation `number`, and in no other."""
    announced = alive(name, 1, number)
    return replace(announced, profile=replace(announced.profile, tags=(("rev", str(number)),)))


def known(host: Host, name: str) -> tuple[Profile, int]:
    row = host.row(name)
    assert row is not None
    return row.alive.profile, row.incarnation


def test_what_was_announced_before_a_refutation_does_not_take_the_place_of_what_came_in_between() -> None:
    """Somebody missed incarnation 6, and passes 5 on together with the refutation that made 7."""
    host = node_with()
    host.hears(endpoint_of("c"), Gossip((changed("b", 6),)))
    stale = said_again(changed("b", 5), precedence_of(1, 7, State.ALIVE))
    host.hears(endpoint_of("c"), Gossip((stale,)))
    assert known(host, "b") == (changed("b", 6).profile, 7)
    host.hush()
    host.world.run(1)
    assert stale not in host.told("b")


def test_who_learned_of_an_old_profile_learns_the_newer_one_from_the_next_table() -> None:
    host = node_with()
    seven = precedence_of(1, 7, State.ALIVE)
    host.hears(endpoint_of("c"), PushPull((Believed(changed("b", 5), seven, id_of("b")),), answer=False))
    assert known(host, "b") == (changed("b", 5).profile, 7)
    host.hears(endpoint_of("d"), PushPull((Believed(changed("b", 6), seven, id_of("b")),), answer=False))
    assert known(host, "b") == (changed("b", 6).profile, 7)
    host.hears(endpoint_of("c"), PushPull((Believed(changed("b", 5), seven, id_of("b")),), answer=False))
    assert known(host, "b") == (changed("b", 6).profile, 7)


def test_an_announcement_that_comes_behind_the_refutation_that_follows_it_is_taken_in_and_passed_on() -> None:
    host = node_with()
    host.hears(endpoint_of("c"), Gossip((changed("b", 5),)))
    host.hears(endpoint_of("c"), Gossip((Refutation(id_of("b"), precedence_of(1, 7, State.ALIVE)),)))
    host.hush()
    host.hears(endpoint_of("c"), Gossip((changed("b", 6), changed("b", 4))))
    assert known(host, "b") == (changed("b", 6).profile, 7)
    again = said_again(changed("b", 6), precedence_of(1, 7, State.ALIVE))
    host.world.run(1)
    assert again in host.told("b")
    host.hears(endpoint_of("c"), Gossip((changed("b", 7),)))
    assert known(host, "b") == (changed("b", 7).profile, 7)


def test_what_a_suspect_announced_is_heard_late_and_its_accusation_still_goes_round() -> None:
    host = node_with()
    host.hears(endpoint_of("c"), Gossip((alive("c"), changed("b", 5), accuse("b", State.SUSPECT, 1, 6))))
    host.hears(endpoint_of("c"), Gossip((changed("b", 6),)))
    assert known(host, "b") == (changed("b", 6).profile, 6)
    assert host.sees("b") is State.SUSPECT
    host.hush()
    host.world.run(0.5)
    assert accuse("b", State.SUSPECT, 1, 6, by="z") in host.told("b")


def test_nobody_says_behind_a_refutation_what_this_node_is() -> None:
    host = node_with()
    host.world.run(LONG_AFTER_S)
    host.hears(endpoint_of("c"), Gossip((alive("c"), accuse("a", State.SUSPECT))))
    assert incarnation(host) == 1
    host.hears(endpoint_of("c"), Gossip((changed("a", 1),)))
    row = host.row("a")
    assert row is not None
    assert row.alive.profile == alive("a").profile
    assert row.incarnation == 2, "somebody may have believed it"
    host.hears(endpoint_of("c"), Gossip((said_again(changed("a", 0), row.precedence),)))
    assert incarnation(host) == 2


def test_no_table_says_how_old_an_announcement_is_and_one_that_does_is_not_believed() -> None:
    host = node_with()
    seven = precedence_of(1, 7, State.ALIVE)
    host.hears(endpoint_of("c"), PushPull((Believed(changed("b", 5), seven, id_of("b")),), answer=False))
    for row in (
        Believed(said_again(changed("b", 2), precedence_of(1, 8, State.ALIVE)), precedence_of(1, 9, State.ALIVE), "c"),
        said_again(changed("b", 2), precedence_of(1, 6, State.ALIVE)),
    ):
        host.hears(endpoint_of("c"), PushPull((row,), answer=False))
        assert known(host, "b") == (changed("b", 5).profile, 7)
