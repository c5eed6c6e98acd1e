"""The journal: order and durability of saves through a disk that fails and recovers (`protocols/outbox.py`)."""

from __future__ import annotations

from collections import deque
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocols.core import NANOS_PER_S, Notify, Put, Received, Save, Saved, SaveFailed, Woke
from protocols.membership.facts import Forgotten
from protocols.membership.member import Alive, Profile, State, precedence_of
from protocols.membership.messages import Gossip, PushPull
from protocols.membership.records import Generation, Peers
from protocols.node import Node
from protocols.outbox import RETRY_AFTER, Journal, Outbox
from protocols.tasks.task import Accepted, Submit
from tests.protocols.harness import World, address_of, config_of, endpoint_of, id_of


def note(number: int) -> Notify:
    return Notify(Forgotten(str(number)))


class JournalOnABadDisk(RuleBasedStateMachine):
    """A driver by the book of `protocols.core`: first in, first out; one failure fails all that is behind it.

    What counts: every save that was taken becomes durable once and in the order of taking, unless it was refusable; of
    those, each becomes durable or is given up, never both.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.journal = Journal(self.outbox)
        self.now = 0
        self.queue: deque[Save] = deque()
        self.told: deque[Save] = deque()
        """Failed saves whose `SaveFailed` is still to be fed."""
        self.taken: list[int] = []
        self.refusable: list[int] = []
        self.durable: list[int] = []
        self.given_up: list[int] = []
        self.number = 0

    def hand_over(self) -> None:
        for effect in self.outbox.drain():
            assert isinstance(effect, Save)
            self.queue.append(effect)

    @rule(refusable=st.booleans(), barrier=st.booleans())
    def save(self, refusable: bool, barrier: bool) -> None:
        self.number += 1
        records: tuple[Put, ...] = () if barrier else (Put("key", Generation(self.number)),)
        taken = self.journal.save(records, (note(self.number),), tag=f"n {self.number}", refusable=refusable)
        if not taken:
            assert refusable
            assert self.journal.failing
            return
        (self.refusable if refusable else self.taken).append(self.number)
        self.hand_over()

    @precondition(lambda self: self.queue and not self.told)
    @rule()
    def commit(self) -> None:
        save = self.queue.popleft()
        number = self.number_of(save)
        self.durable.append(number)
        assert self.journal.saved(save.seq) == f"n {number}"
        self.hand_over()

    @precondition(lambda self: self.queue and not self.told)
    @rule()
    def fail(self) -> None:
        """The first is told at once; before the others are, the core may do what it likes."""
        self.told, self.queue = self.queue, deque()
        self.tell_next()

    @precondition(lambda self: self.told)
    @rule()
    def tell(self) -> None:
        self.tell_next()

    def tell_next(self) -> None:
        save = self.told.popleft()
        tag = self.journal.failed(self.now, save.seq, "full")
        number = self.number_of(save)
        assert tag == (f"n {number}" if number in self.refusable else "")
        if tag:
            self.given_up.append(number)
        assert self.journal.error == "full"
        self.hand_over()

    @rule(seconds=st.integers(0, 2))
    def wait(self, seconds: int) -> None:
        self.now += seconds * NANOS_PER_S
        if self.now >= self.journal.deadline:
            self.journal.fire(self.now)
            self.hand_over()

    @staticmethod
    def number_of(save: Save) -> int:
        then = save.then[0]
        assert isinstance(then, Notify)
        assert isinstance(then.fact, Forgotten)
        return int(then.fact.node_id)

    @invariant()
    def nothing_overtakes(self) -> None:
        kept = [number for number in self.durable if number in self.taken]
        assert kept == self.taken[: len(kept)], "a save became durable out of turn, twice, or was left out"
        assert len(set(self.durable)) == len(self.durable)
        assert not set(self.durable) & set(self.given_up)

    def teardown(self) -> None:
        """The disk is well from here on: everything that was taken and not given up becomes durable."""
        while self.told:
            self.tell_next()
        for turn in range(20):
            if turn == 10:
                self.save(refusable=True, barrier=True)
            self.now += RETRY_AFTER
            if self.now >= self.journal.deadline:
                self.journal.fire(self.now)
                self.hand_over()
            while self.queue:
                self.commit()
        assert [number for number in self.durable if number in self.taken] == self.taken
        assert sorted(self.given_up + [n for n in self.durable if n in self.refusable]) == self.refusable
        assert self.journal.error == ""
        assert not self.journal.failing


JournalOnABadDisk.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestJournalOnABadDisk = JournalOnABadDisk.TestCase


def test_a_failed_save_waits_and_goes_out_again_with_a_new_number() -> None:
    outbox = Outbox()
    journal = Journal(outbox)
    assert journal.save((Put("k", Generation(1)),), (note(1),))
    (first,) = outbox.drain()
    assert isinstance(first, Save)
    journal.failed(10, first.seq, "full")
    assert journal.failing
    assert journal.deadline == 10 + RETRY_AFTER
    journal.fire(10 + RETRY_AFTER - 1)
    assert outbox.drain() == []
    journal.fire(10 + RETRY_AFTER)
    (again,) = outbox.drain()
    assert isinstance(again, Save)
    assert again.seq > first.seq
    assert (again.records, again.then) == (first.records, first.then)


def test_while_the_disk_fails_refusable_saves_are_not_taken() -> None:
    outbox = Outbox()
    journal = Journal(outbox)
    journal.save((), tag="kept")
    journal.failed(0, 1, "full")
    assert not journal.save((), refusable=True)
    assert journal.save(())
    outbox.drain()
    journal.fire(RETRY_AFTER)
    assert len(outbox.drain()) == 2


def test_a_record_written_by_a_due_timer_does_not_overtake_one_whose_failure_arrives_in_the_same_step() -> None:
    """The peers are due to be saved again in the very step that tells that saving older ones has failed."""
    node = Node(config_of("a"), [], Random(1))
    node.step(1, Woke())
    node.step(2, Saved(1))
    b, c = (Alive(id_of(name), precedence_of(1, 0, State.ALIVE), Profile(name, address_of(name))) for name in "bc")
    effects, _ = node.step(3, Received(endpoint_of("b"), PushPull((b,), answer=False)))
    (older,) = [effect for effect in effects if isinstance(effect, Save)]
    node.step(4, Received(endpoint_of("b"), Gossip((c,))))
    now = 31 * NANOS_PER_S
    waiting = deque(node.step(now, SaveFailed(older.seq, "full"))[0])
    written: list[object] = []
    while now < 60 * NANOS_PER_S:
        while waiting:
            effect = waiting.popleft()
            if isinstance(effect, Save):
                written += [record.value for record in effect.records if isinstance(record, Put)]
                waiting += node.step(now, Saved(effect.seq))[0]
        now += NANOS_PER_S
        waiting += node.step(now, Woke())[0]
    assert written == [Peers((address_of("b"),)), Peers((address_of("b"), address_of("c")))]


@given(st.lists(st.booleans(), max_size=6))
@settings(max_examples=30, deadline=None)
def test_submitting_on_a_disk_that_fails_now_and_then_answers_each_time(fails: list[bool]) -> None:
    world = World()
    host = world.add("a").start()
    world.run(1)
    for number, failing in enumerate(fails):
        host.disk_error = "full" if failing else ""
        outcome = host.ask(Submit("work", str(number)))
        world.run(0)
        assert isinstance(outcome, Accepted) == (not failing)
        host.disk_error = ""
        world.run(3)
