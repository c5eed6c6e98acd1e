"""The node as a whole: what a life begins and ends with, and what a step may leave behind (DESIGN 3)."""

from __future__ import annotations

from random import Random

import pytest

from protocols.core import (
    NANOS_PER_S,
    Event,
    InvariantViolation,
    Put,
    Received,
    Refused,
    Request,
    Save,
    Saved,
    SaveFailed,
    Send,
    Woke,
)
from protocols.membership.facts import NodeStarted
from protocols.membership.member import Alive, State, generation_of
from protocols.membership.messages import Gossip, Ping, PushPull
from protocols.membership.records import GENERATION_KEY, Generation
from protocols.membership.views import GetStatus, Leave, Left, ListMembers, MemberList, NodeStatus
from protocols.node import LIFE_PAUSE, LIVES_AT_ONCE, Node
from protocols.tasks.messages import Assign
from protocols.tasks.task import Accepted, GetTask, Submit, TaskView
from protocols.tools import FindTools, LocalToolsFor
from tests.protocols.harness import World, accuse, alive, config_of, endpoint_of, id_of

# The beginning of a life.


def test_the_first_step_saves_a_generation_above_the_last_one_and_says_nothing() -> None:
    node = Node(config_of("a", seeds=("b",)), [Put(GENERATION_KEY, Generation(41))], Random(1))
    effects, _ = node.step(5, Woke())
    assert [type(effect) for effect in effects] == [Save]
    save = effects[0]
    assert isinstance(save, Save)
    assert save.records == (Put(GENERATION_KEY, Generation(42)),)
    assert save.then == ()


def test_nothing_is_said_before_the_generation_is_durable() -> None:
    world = World()
    host = world.add("a", config_of("a", seeds=("b",)))
    host.hold_saves = True
    host.start()
    host.hears(endpoint_of("b"), Ping(1))
    host.hears(endpoint_of("b"), PushPull((alive("b"),), answer=True))
    host.hears(endpoint_of("b"), Gossip((accuse("a", State.DEAD),)))
    world.run(120)
    assert host.said == []
    host.release_saves()
    world.run(1)
    assert host.said_of(PushPull, "b")
    assert [fact.generation for fact in host.facts_of(NodeStarted)] == [1]


def test_a_disk_that_fails_at_the_start_is_tried_again_until_it_works() -> None:
    world = World()
    host = world.add("a", config_of("a", seeds=("b",)))
    host.disk_error = "no space left"
    host.start()
    world.run(30)
    assert host.said == []
    assert host.stored(GENERATION_KEY) is None
    host.disk_error = ""
    world.run(2)
    assert host.stored(GENERATION_KEY) == Generation(1)
    assert host.said_of(PushPull)


def test_requests_while_starting_are_refused_and_not_kept() -> None:
    world = World()
    host = world.add("a")
    host.hold_saves = True
    host.start()
    for command in (Submit("work"), GetTask("x"), ListMembers(), GetStatus(), Leave()):
        outcome = host.ask(command)
        assert isinstance(outcome, Refused)
        assert outcome.code == "starting"
        assert outcome.retry_after_s > 0


def test_every_restart_is_a_higher_generation() -> None:
    world = World()
    host = world.add("a").start()
    generations = []
    for _ in range(4):
        world.run(1)
        status = host.ask(GetStatus())
        assert isinstance(status, NodeStatus)
        generations.append(status.generation)
        host.restart()
    assert generations == [1, 2, 3, 4]


def test_the_first_woke_starts_a_life_at_instant_zero_too() -> None:
    node = Node(config_of("a"), [], Random(1))
    assert len(node.step(0, Woke())[0]) == 1
    assert node.step(0, Woke())[0] == []


# What a step leaves behind: nothing.


def test_what_news_sets_in_motion_comes_out_of_the_step_that_brought_the_news() -> None:
    """A worker's death is acted on in the step that tells of it, not with the next event."""
    world = World()
    a, b, _ = world.mesh("a", "b", "c")
    for host in world.hosts.values():
        host.hold_bodies = True
    while not b.running:
        assert isinstance(a.ask(Submit("work")), Accepted)
        world.run(0.2)
    row = a.row("b")
    assert row is not None
    a.hold_saves = True
    effects, _ = a.node.step(
        world.now,
        Received(endpoint_of("c"), Gossip((accuse("b", State.DEAD, row.generation, row.incarnation, by="c"),))),
    )
    saves = [effect for effect in effects if isinstance(effect, Save)]
    assert any(isinstance(then.message, Assign) for save in saves for then in save.then if hasattr(then, "message"))


def test_a_generation_that_was_outgrown_is_replaced_in_the_step_that_shows_it() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    effects, _ = a.node.step(world.now, Received(endpoint_of("b"), Gossip((alive("a", generation=9),))))
    records = [record for effect in effects if isinstance(effect, Save) for record in effect.records]
    assert Put(GENERATION_KEY, Generation(10)) in records


def test_every_message_to_the_own_id_comes_back_and_is_handled() -> None:
    """A mesh of one coordinates, runs and concludes its own tasks by messages to itself."""
    world = World()
    host = world.add("a").start()
    world.run(1)
    accepted = host.ask(Submit("work", "7"))
    assert isinstance(accepted, Accepted)
    outcome = host.ask(GetTask(accepted.task_id, wait_ms=5000))
    assert isinstance(outcome, TaskView)
    assert outcome.output == '"work of 7"'


def test_a_command_that_is_not_for_callers_is_refused() -> None:
    world = World()
    host = world.add("a").start()
    world.run(1)
    outcome = host.ask(LocalToolsFor(FindTools()))
    assert isinstance(outcome, Refused)
    assert outcome.code == "unknown_command"


# Generations under the own id.


def test_a_later_life_of_the_own_id_is_answered_by_a_still_later_one_once_that_is_durable() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    a.hold_saves = True
    a.hush()
    a.hears(endpoint_of("b"), Gossip((alive("a", generation=7),)))
    world.run(5)
    assert a.said_of(Ping)
    assert all(generation_of(update.precedence) == 1 for update in a.told("a"))
    a.release_saves()
    world.run(3)
    assert a.stored(GENERATION_KEY) == Generation(8)
    row = b.row("a")
    assert row is not None
    assert (row.generation, row.state) == (8, State.ALIVE)


def test_one_who_speaks_for_ever_later_lives_does_not_keep_the_disk_busy() -> None:
    """A broken peer, or a copy of the data that cannot be met. In the end the node has the last word all the same."""
    world = World()
    a, b = world.mesh("a", "b")
    a.hush()
    for number in range(1, 601):
        a.hears(endpoint_of("b"), Gossip((alive("a", generation=a.node.generation + number % 60 + 1),)))
        world.run(0.05)
    lives = len(a.facts_of(NodeStarted))
    assert LIVES_AT_ONCE <= lives <= LIVES_AT_ONCE + 30 * NANOS_PER_S // LIFE_PAUSE + 2
    world.run(LIFE_PAUSE / NANOS_PER_S + 5)
    row = b.row("a")
    assert row is not None
    assert (row.generation, row.state) == (a.node.generation, State.ALIVE)


def test_two_later_lives_in_a_row_are_never_spoken_for_before_they_are_durable() -> None:
    """The first save answers generation 7; by then 20 has been heard of, and its answer, 21, is not durable yet."""
    node = Node(config_of("a"), [], Random(1))
    events: list[Event] = [Woke(), Saved(1), Received(endpoint_of("b"), PushPull((alive("b"),), answer=False))]
    events += [Received(endpoint_of("b"), Gossip((alive("a", generation=claimed),))) for claimed in (7, 20)]
    saves: list[Save] = []
    for now, event in enumerate(events, 1):
        saves += [effect for effect in node.step(now, event)[0] if isinstance(effect, Save)]
    durable, spoken = 1, [1]
    for save in saves[1:]:
        numbers = [
            put.value.number for put in save.records if isinstance(put, Put) and isinstance(put.value, Generation)
        ]
        durable = max([durable, *numbers])
        node.step(10, Saved(save.seq))
        effects, _ = node.step(10, Received(endpoint_of("b"), PushPull((), answer=True)))
        (table,) = [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, PushPull)]
        (row,) = [row for row in table.rows if isinstance(row, Alive) and row.node_id == id_of("a")]
        spoken.append(generation_of(row.precedence))
        assert spoken[-1] <= durable
    assert spoken[-1] == 21


@pytest.mark.parametrize("generation", [(1 << 28) - 1, (1 << 28) - 2])
def test_the_last_generations_there_are_do_not_break_a_node(generation: int) -> None:
    world = World()
    a, b = world.mesh("a", "b")
    a.hears(endpoint_of("b"), Gossip((accuse("a", State.DEAD, generation),)))
    a.hears(endpoint_of("b"), Gossip((alive("a", generation),)))
    world.run(5)
    a.restart()
    world.run(20)
    row = b.row("a")
    assert row is not None
    assert row.state is State.ALIVE


# The end of a life.


def test_leave_is_answered_once_the_word_has_spread() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    request = a.request(Leave())
    assert request not in a.outcomes
    world.run_until(lambda: request in a.outcomes, 10)
    assert a.outcomes[request] == Left(0)
    assert b.sees("a") is State.LEFT
    assert c.sees("a") is State.LEFT


def test_every_one_who_asks_to_leave_is_answered_once() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    first = a.request(Leave())
    second = a.request(Leave())
    world.run(10)
    third = a.request(Leave())
    assert [a.outcomes[request] for request in (first, second, third)] == [Left(0)] * 3


def test_a_node_alone_leaves_at_once() -> None:
    world = World()
    a = world.add("a").start()
    world.run(1)
    request = a.request(Leave())
    world.run(0.001)
    assert a.outcomes[request] == Left(0)


def test_a_leaving_node_takes_nothing_in_and_counts_what_it_keeps() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    a.hold_bodies = b.hold_bodies = True
    assert isinstance(a.ask(Submit("work")), Accepted)
    request = a.request(Leave())
    refused = a.ask(Submit("work"))
    assert isinstance(refused, Refused)
    assert refused.code == "leaving"
    world.run_until(lambda: request in a.outcomes, 10)
    assert a.outcomes[request] == Left(1)


def test_a_node_that_leaves_with_a_suspect_in_its_table_lets_time_pass() -> None:
    """It judges nobody any more: the suspicion that comes due must not keep it awake at one instant."""
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    row = a.row("c")
    assert row is not None
    c.crash()
    a.hears(b.endpoint, Gossip((accuse("c", State.SUSPECT, row.generation, row.incarnation, by="b"),)))
    a.request(Leave())
    world.run(120)


# Views.


def test_members_are_listed_alive_first_with_the_own_row_marked() -> None:
    world = World()
    a, _, c = world.mesh("a", "b", "c")
    c.crash()
    world.run_until(lambda: a.sees("c") is State.DEAD)
    listed = a.ask(ListMembers())
    assert isinstance(listed, MemberList)
    assert [(m.name, m.state, m.is_self) for m in listed.members] == [
        ("a", "alive", True),
        ("b", "alive", False),
        ("c", "dead", False),
    ]


def test_status_says_joining_until_a_seed_has_answered() -> None:
    world = World()
    a = world.add("a", config_of("a", seeds=("b",))).start()
    world.run(3)
    status = a.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    assert status.phase == "joining"
    world.add("b").start()
    world.run(3)
    status = a.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    assert (status.phase, status.members_alive) == ("serving", 2)


def test_status_tells_why_the_disk_fails_and_forgets_it_when_it_is_well() -> None:
    world = World()
    a = world.add("a").start()
    world.run(1)
    a.disk_error = "disk full"
    assert isinstance(a.ask(Submit("work")), Refused)
    status = a.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    assert status.storage_error == "disk full"
    a.disk_error = ""
    assert isinstance(a.ask(Submit("work")), Accepted)
    status = a.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    assert status.storage_error == ""


@pytest.mark.parametrize("times", [1, 3])
def test_the_same_config_saved_records_and_seed_give_the_same_steps(times: int) -> None:
    def life() -> list[object]:
        node = Node(config_of("a", seeds=("b", "c")), [], Random(7))
        steps: list[object] = [node.step(1, Woke()), node.step(2, Saved(1))]
        now = 2
        for second in range(1, 40):
            now = second * 500_000_000
            steps.append(node.step(now, Received(endpoint_of("b"), PushPull((alive("b"), alive("c")), answer=True))))
            steps.append(node.step(now, Woke()))
        steps.append(node.step(now, Request(1, Submit("work"))))
        steps.append(node.step(now, SaveFailed(2, "full")))
        return steps

    assert all(life() == life() for _ in range(times))


# Deadlines.


def test_a_part_whose_deadline_changes_unseen_breaks_an_invariant() -> None:
    world = World()
    host, *_ = world.mesh("a", "b")
    world.run(5)
    node = host.node
    node.check()
    for part in (node.keyring, node.worker, node.swim.hearsay, node.swim.steady, node.spreading):
        before, part.deadline = part.deadline, 0
        with pytest.raises(InvariantViolation, match="is due before the node looks at it"):
            node.check()
        part.deadline = before
    node.check()
