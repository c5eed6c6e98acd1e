"""The oldest form of the wire and the newest in one mesh, both ways, and beyond the newest one that is still to come.

The oldest nodes have no user events and queries, no keyrings, no vitals and coordinates, and no questions about reach:
their pings, acks and gossip end before those fields, and whatever else is said they count and drop.
"""

from __future__ import annotations

from types import GenericAlias
from typing import cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from protocols.core import Message
from protocols.membership.member import State
from protocols.membership.messages import Ack, Gossip, Nack, Ping, PingReq, ProbeSeq, PushPull, StreamAck, StreamPing
from protocols.membership.messages import Updates as AnyUpdates
from protocols.tasks.messages import TaskMessage
from protocols.wire import BadMessage, Version, decode_message
from sim.faults import Halves
from sim.inspect import rows_of
from sim.scenario import Run, Scenario
from sim.versions import APPENDED, NEXT, PRESENT, Codec, Next, Present
from tests.protocols.strategies import MESSAGE_TYPES, values_of

HELD = (
    "incarnations_grow",
    "no_resurrection",
    "one_profile",
    "nobody_sees_itself_dead",
    "no_false_death",
    "completeness",
    "agreement",
    "ring_owners",
    "one_result",
    "one_reply",
)


class OldPing(Struct, frozen=True, array_like=True, tag="ping"):
    probe: ProbeSeq
    updates: AnyUpdates = ()


class OldAck(Struct, frozen=True, array_like=True, tag="ack"):
    probe: ProbeSeq
    updates: AnyUpdates = ()


class OldGossip(Struct, frozen=True, array_like=True, tag="gossip"):
    updates: AnyUpdates


SAME = PingReq | Nack | StreamPing | StreamAck | PushPull | TaskMessage
_decode = msgspec.msgpack.Decoder(GenericAlias(tuple, (Version, OldPing | OldAck | OldGossip | SAME))).decode


class Oldest(Present):
    """The first form of the wire, as its nodes wrote and read it."""

    def has(self, message: Message) -> bool:
        return isinstance(message, Ping | Ack | Gossip) or type(message) in cast("tuple[type, ...]", SAME.__args__)

    def known(self, message: Message) -> Message:
        if isinstance(message, Ping):
            return Ping(message.probe, message.updates)
        if isinstance(message, Ack):
            return Ack(message.probe, message.updates)
        return Gossip(message.updates) if isinstance(message, Gossip) else message

    def encode_message(self, message: Message, kind: int) -> bytes:
        if isinstance(message, Ping):
            message = cast("Message", OldPing(message.probe, message.updates))
        elif isinstance(message, Ack):
            message = cast("Message", OldAck(message.probe, message.updates))
        elif isinstance(message, Gossip):
            message = cast("Message", OldGossip(message.updates))
        return super().encode_message(message, kind)

    def decode_message(self, data: bytes) -> Message:
        try:
            _, message = _decode(data)
        except msgspec.DecodeError as error:
            raise BadMessage("invalid", str(error)) from None
        if isinstance(message, OldPing):
            return Ping(message.probe, message.updates)
        if isinstance(message, OldAck):
            return Ack(message.probe, message.updates)
        if isinstance(message, OldGossip):
            return Gossip(message.updates)
        assert isinstance(message, Message)
        return message


OLDEST = Oldest()


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("newer", [Present(), Next()], ids=["newest", "next"])
@given(data=st.data(), appended=st.integers(0, len(APPENDED) - 1))
@settings(max_examples=8, deadline=None)
def test_the_oldest_reads_what_it_knows_of_the_newer_and_the_newer_all_that_it_says(
    kind: type[Message], newer: Codec, data: st.DataObject, appended: int
) -> None:
    message = cast("Message", data.draw(values_of(kind)))
    written = newer.encode_message(message, appended)
    if not OLDEST.has(message):
        with pytest.raises(BadMessage):
            OLDEST.decode_message(written)
        return
    known = OLDEST.known(message)
    assert OLDEST.decode_message(written) == known
    assert newer.decode_message(OLDEST.encode_message(known, 0)) == known
    assert decode_message(OLDEST.encode_message(known, 0)) == known


def mixed_run(newer: Codec, older: Codec, seed: int) -> Run:
    """Four nodes with work, events and a cut, of which two are of the oldest form all the time."""
    run = Run(
        Scenario(nodes=4, seconds=40, seed=seed, tasks_per_s=2, events_per_s=1, hold=HELD, faults=(Halves(15, 25),))
    )
    run.world.versions.codecs = {NEXT: newer, PRESENT: older}
    for process in run.world.processes[:2]:
        process.installed = NEXT
    for process in run.world.processes[2:]:
        process.config = replace(process.config, probe_payloads=False)
    run.start()
    run.faults_phase()
    run.heal()
    run.settle()
    run.finish()
    return run


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("newer", [Present(), Next()], ids=["newest", "next"])
def test_a_mesh_of_the_oldest_and_the_newer_stays_well_through_a_cut(newer: Codec, seed: int) -> None:
    run = mixed_run(newer, OLDEST, seed)
    world = run.world
    assert [violation.text for violation in world.watch.violations] == []
    assert world.versions.crossed > 200
    assert world.versions.refused > 0, "the newer ones have said nothing that the oldest do not know"
    assert world.network.drops["bad_message"] == world.versions.refused
    for process in world.processes:
        assert {row.state for row in rows_of(process.core).values()} == {State.ALIVE}


class PutsRumoursFirst(Present):
    """A newer version that has put a field in front of others, where the oldest reads something else."""

    def encode_message(self, message: Message, kind: int) -> bytes:
        version, fields = msgspec.msgpack.decode(super().encode_message(message, kind))
        if fields[0] == "gossip":
            fields[1:3] = [fields[2], fields[1]]
        return msgspec.msgpack.encode([version, fields])


class RefusesLongMessages(Oldest):
    """An oldest version that takes no more fields than it knows."""

    def decode_message(self, data: bytes) -> Message:
        message = super().decode_message(data)
        if len(data) > len(super().encode_message(message, 0)):
            raise BadMessage("invalid", "more than is known")
        return message


class GuessesWhatItDoesNotKnow(Oldest):
    """An oldest version that takes what it does not know for a probe that is over."""

    def decode_message(self, data: bytes) -> Message:
        try:
            return super().decode_message(data)
        except BadMessage:
            return Nack(0)


@pytest.mark.parametrize(
    ("newer", "older"),
    [(PutsRumoursFirst(), OLDEST), (Present(), RefusesLongMessages()), (Present(), GuessesWhatItDoesNotKnow())],
    ids=["a field in front", "no more fields", "guesses"],
)
def test_a_form_that_breaks_the_promise_is_caught(newer: Codec, older: Codec) -> None:
    run = mixed_run(newer, older, 0)
    assert "versions_coexist" in {violation.property for violation in run.world.watch.violations}
