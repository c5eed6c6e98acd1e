"""Two versions side by side: the promise of `protocols/wire.py` is kept, and seen where it is not."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from protocols.core import Message, Outcome, Stored
from protocols.membership.messages import Ack, Ping
from protocols.membership.views import ListMembers, MemberList, MemberView
from protocols.tasks.messages import Ask, RunEnded
from protocols.tasks.task import BodyStatus, GetTask
from protocols.wire import BadMessage
from sim.process import Process
from sim.scenario import Run, Scenario
from sim.versions import APPENDED, NEXT, PRESENT, Codec, Next, Present, grown
from sim.world import World
from tests.protocols.strategies import MESSAGE_TYPES, STORED_TYPES, values_of

OLD, NEW = Present(), Next()


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=lambda kind: kind.__name__)
@given(data=st.data(), appended=st.integers(0, len(APPENDED) - 1))
@settings(max_examples=20, deadline=None)
def test_each_version_understands_what_the_other_says(kind: type[Message], appended: int, data: st.DataObject) -> None:
    message = cast(Message, data.draw(values_of(kind)))
    assert OLD.decode_message(NEW.encode_message(message, appended)) == message
    assert NEW.decode_message(OLD.encode_message(message, appended)) == message


@pytest.mark.parametrize("kind", STORED_TYPES, ids=lambda kind: kind.__name__)
@given(data=st.data(), appended=st.integers(0, len(APPENDED) - 1))
@settings(max_examples=20, deadline=None)
def test_each_version_reads_what_the_other_has_stored(kind: type[Stored], appended: int, data: st.DataObject) -> None:
    value = cast(Stored, data.draw(values_of(kind)))
    assert OLD.decode_stored(NEW.encode_stored(value, appended)) == value
    assert NEW.decode_stored(OLD.encode_stored(value, appended)) == value


@pytest.mark.parametrize("appended", range(len(APPENDED)))
def test_a_message_of_an_unknown_kind_is_refused(appended: int) -> None:
    strange = NEW.strange(appended)
    assert strange is not None
    with pytest.raises(BadMessage):
        OLD.decode_message(strange)


def test_fields_are_appended_to_nested_structs_too() -> None:
    data = msgspec.msgpack.decode(msgspec.msgpack.encode(grown(Ask(1, GetTask("t", 2)), (7,))))
    assert data == ["ask", 1, {"type": "get_task", "task_id": "t", "wait_ms": 2, "later_0": 7}, 7]
    ended = RunEnded("t", 1, BodyStatus.OK, "o", "d", 5)
    assert grown(ended, ("x", None)) == ["ended", "t", 1, 0, "o", "d", 5, "x", None]


# In a mesh.


class Mixed:
    """Four nodes with work, of which the first two run the next version."""

    def __init__(self, *, seconds: float = 20.0, newer: Codec | None = None, older: Codec | None = None) -> None:
        self.run = Run(Scenario(nodes=4, seconds=seconds, seed=1, tasks_per_s=6))
        self.world: World = self.run.world
        if newer is not None:
            self.world.versions.codecs[NEXT] = newer
        if older is not None:
            self.world.versions.codecs[PRESENT] = older
        self.run.start()

    def install(self, version: int, *indexes: int) -> None:
        """Restart some nodes on another version, one after the other."""
        for index in indexes:
            process = self.world.processes[index]
            process.installed = version
            self.world.crash(process)
            self.pass_time(1)
            self.world.boot(process)
            self.pass_time(3)

    def pass_time(self, seconds: float) -> None:
        self.world.run(self.world.kernel.now + int(seconds * 10**9))

    @property
    def violated(self) -> list[str]:
        return [violation.property for violation in self.world.watch.violations]

    @property
    def texts(self) -> str:
        return "\n".join(violation.text for violation in self.world.watch.violations)


def test_a_mesh_of_one_version_sends_no_bytes_and_one_of_two_does() -> None:
    mixed = Mixed()
    mixed.pass_time(3)
    assert mixed.world.versions.crossed == 0
    mixed.install(NEXT, 0, 1)
    crossed = mixed.world.versions.crossed
    assert crossed > 100
    assert mixed.world.versions.refused > 0
    assert mixed.world.network.drops["bad_message"] == mixed.world.versions.refused
    mixed.install(NEXT, 2, 3)
    crossed = mixed.world.versions.crossed
    mixed.pass_time(5)
    assert mixed.world.versions.crossed == crossed
    assert mixed.violated == []


def test_the_upgraded_read_old_records_and_the_rolled_back_read_new_ones() -> None:
    mixed = Mixed()
    mixed.pass_time(5)
    process = mixed.world.processes[0]
    mixed.install(NEXT, 0)
    upgraded = mixed.world.versions.records_crossed
    assert upgraded > 2
    assert process.disk.writers is not None
    assert NEXT in process.disk.writers.values()
    mixed.install(PRESENT, 0)
    assert mixed.world.versions.records_crossed > upgraded
    assert process.up
    assert mixed.violated == []


def test_a_run_without_an_upgrade_is_the_same_run_whatever_the_codecs() -> None:
    hashes = set()
    for newer in (None, ReusesAField()):
        mixed = Mixed(newer=newer)
        mixed.pass_time(10)
        hashes.add(mixed.world.trace.hexdigest())
    assert len(hashes) == 1


# The version before the present one.


class Before(Present):
    """Nodes of which no ping and no ack says how busy its sender is, or where."""

    def encode_message(self, message: Message, kind: int) -> bytes:
        return msgspec.msgpack.encode(self._cut(super().encode_message(message, kind)))

    def decode_message(self, data: bytes) -> Message:
        return super().decode_message(msgspec.msgpack.encode(self._cut(data)))

    def known(self, message: Message) -> Message:
        return (
            replace(message, vitals=None)
            if isinstance(message, Ping)
            else (replace(message, vitals=None, coordinate=None) if isinstance(message, Ack) else message)
        )

    @staticmethod
    def _cut(data: bytes) -> list[object]:
        version, fields = msgspec.msgpack.decode(data)
        return [version, fields[:3] if fields[0] in ("ping", "ack") else fields]


def listed(process: Process) -> dict[str, MemberView]:
    """The member list of a node, by name."""
    outcomes: list[Outcome] = []
    process.request(process.world.kernel.now, ListMembers(), lambda now, outcome: outcomes.append(outcome))
    (members,) = outcomes
    assert isinstance(members, MemberList)
    return {member.name: member for member in members.members}


def test_nodes_with_vitals_and_coordinates_and_nodes_without_live_in_one_mesh() -> None:
    mixed = Mixed(seconds=60, older=Before(), newer=Present())
    processes = mixed.world.processes
    for process in processes[2:]:
        process.config = replace(process.config, probe_payloads=False)
    mixed.install(PRESENT, 2, 3)
    mixed.install(NEXT, 0, 1)
    mixed.pass_time(30)
    assert mixed.world.versions.crossed > 100
    assert mixed.violated == []
    for process in processes:
        assert {member.state for member in listed(process).values()} == {"alive"}
    newer, older = listed(processes[0]), listed(processes[2])
    assert newer["n1"].vitals is not None
    assert newer["n1"].vitals.cpu is not None
    assert [newer[name].vitals for name in ("n2", "n3")] == [None, None]
    assert all(newer[name].rtt is not None for name in ("n1", "n2", "n3"))  # whoever answers is measured
    assert all(older[name].vitals is None and older[name].rtt is None for name in ("n0", "n1", "n3"))


# Codecs that break the promise.


class RefusesAppendedFields(Present):
    """An older version that takes no field it does not know."""

    def decode_message(self, data: bytes) -> Message:
        message = super().decode_message(data)
        if len(msgspec.msgpack.decode(data)[1]) > len(msgspec.msgpack.decode(super().encode_message(message, 0))[1]):
            raise BadMessage("invalid", "more fields than are known")
        return message


class ReusesAField(Next):
    """A newer version that puts something else where the worker's attempt was."""

    def encode_message(self, message: Message, kind: int) -> bytes:
        version, fields = msgspec.msgpack.decode(super().encode_message(message, kind))
        if fields[0] == "ping":
            fields[1] += 1
        return msgspec.msgpack.encode([version, fields])


class RaisesWhateverItLikes(Present):
    """A reader whose errors are not `BadMessage`: in the daemon it would take the transport down."""

    def decode_message(self, data: bytes) -> Message:
        try:
            return super().decode_message(data)
        except BadMessage as error:
            raise KeyError(error.reason) from None


class TakesTheUnknownForSomethingElse(Present):
    """A reader that makes the best of a message that it does not know."""

    def decode_message(self, data: bytes) -> Message:
        try:
            return super().decode_message(data)
        except BadMessage:
            return RunEnded("t", 1, BodyStatus.OK, "", "", 0)


class StoresUnderAnotherName(Next):
    """A newer version whose records the present one cannot read."""

    def encode_stored(self, value: Stored, kind: int) -> bytes:
        return msgspec.msgpack.encode(["renamed", *msgspec.msgpack.decode(super().encode_stored(value, kind))[1:]])


@pytest.mark.parametrize(
    ("newer", "older", "says"),
    [
        (None, RefusesAppendedFields(), "version 1 cannot read a"),
        (ReusesAField(), None, "is understood as Ping"),
        (None, RaisesWhateverItLikes(), "raised KeyError"),
        (None, TakesTheUnknownForSomethingElse(), "was taken for RunEnded"),
    ],
)
def test_a_codec_that_breaks_the_promise_is_caught(newer: Codec | None, older: Codec | None, says: str) -> None:
    mixed = Mixed(newer=newer, older=older)
    mixed.install(NEXT, 0, 1)
    assert "versions_coexist" in mixed.violated
    assert says in mixed.texts


def test_records_that_a_rolled_back_node_cannot_read_are_caught_and_keep_it_down() -> None:
    mixed = Mixed(newer=StoresUnderAnotherName())
    mixed.install(NEXT, 0)
    mixed.pass_time(3)
    mixed.install(PRESENT, 0)
    assert "versions_coexist" in mixed.violated
    assert "version 1 cannot read the record" in mixed.texts
    assert not mixed.world.processes[0].up
    assert mixed.world.refused_starts == 1
