"""`durable_stays` and `saves_are_fifo` on disks that do what they may, and on disks that do not."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.core import Delete, Instant, Put, Record, Save
from protocols.limits import DETAIL_CHARS_MAX
from protocols.membership.records import Generation, Peers
from protocols.tasks.task import TaskProgress, TaskState
from sim.checkers import DurableStays, SavesAreFifo, SurvivesTheWire
from sim.process import Process
from tests.sim.simkit import MS, Small

KEY = "node/generation"
PEERS = "membership/peers"


class Desk:
    """One node whose disk is played by hand."""

    def __init__(self) -> None:
        self.small = Small(1)
        self.small.run(1)
        self.world = self.small.world
        self.durable_stays = DurableStays(self.world)
        self.saves_are_fifo = SavesAreFifo(self.world)
        self.durable_stays.on_boot(0, self.process)
        self.seq = 100

    @property
    def process(self) -> Process:
        return self.world.processes[0]

    @property
    def now(self) -> Instant:
        return 5 * MS

    @property
    def fallen(self) -> list[str]:
        return [violation.property for violation in self.world.watch.violations]

    def save(self, *records: Record) -> Save:
        self.seq += 1
        save = Save(self.seq, records)
        self.durable_stays.on_save(self.now, self.process, save)
        self.saves_are_fifo.on_save(self.now, self.process, save)
        return save

    def write(self, saves: Sequence[Save]) -> None:
        for save in saves:
            for record in save.records:
                if isinstance(record, Put):
                    self.process.disk.records[record.key] = record.value
                else:
                    self.process.disk.records.pop(record.key, None)

    def answer(self, save: Save, why: str = "") -> None:
        self.durable_stays.on_saved(self.now, self.process, save, why)
        self.saves_are_fifo.on_saved(self.now, self.process, save, why)

    def restart(self) -> None:
        self.saves_are_fifo.on_crash(self.now, self.process)
        self.process.boots = 2
        self.durable_stays.on_boot(self.now, self.process)


def number(value: int) -> Put:
    return Put(KEY, Generation(value))


def test_what_was_called_durable_is_handed_on() -> None:
    desk = Desk()
    saves = [desk.save(number(7)), desk.save(number(8), Put(PEERS, Peers(("a",)))), desk.save(Delete(PEERS))]
    desk.write(saves)
    for save in saves:
        desk.answer(save)
    desk.restart()
    desk.durable_stays.finish(desk.now)
    assert desk.fallen == []


def test_a_commit_under_way_may_survive_whole_and_up_to_any_point() -> None:
    for survived in range(4):
        desk = Desk()
        saves = [desk.save(number(7)), desk.save(Put(PEERS, Peers(("a",)))), desk.save(number(9), Delete(PEERS))]
        desk.write(saves[:survived])
        desk.restart()
        assert desk.fallen == [], survived


def test_half_a_save_or_a_later_one_alone_may_not_survive() -> None:
    half = Desk()
    both = half.save(number(7), Put(PEERS, Peers(("a",))))
    half.write([Save(both.seq, both.records[:1])])
    half.restart()
    assert half.fallen == ["durable_stays"]

    later = Desk()
    later.save(number(7))
    later.write([later.save(Put(PEERS, Peers(("a",))))])
    later.restart()
    assert later.fallen == ["durable_stays"]


def test_what_was_durable_may_not_be_missing_or_other_and_nothing_may_appear() -> None:
    for tampered in ("missing", "other", "new"):
        desk = Desk()
        save = desk.save(number(7))
        desk.write([save])
        desk.answer(save)
        if tampered == "missing":
            del desk.process.disk.records[KEY]
        else:
            desk.process.disk.records[KEY if tampered == "other" else PEERS] = Generation(6)
        desk.restart()
        assert desk.fallen == ["durable_stays"], tampered


def test_an_equal_value_is_the_same_value() -> None:
    desk = Desk()
    save = desk.save(number(7))
    desk.write([Save(save.seq, (number(7),))])
    desk.answer(save)
    desk.restart()
    assert desk.fallen == []


def test_a_save_that_was_called_durable_must_be_there_at_once_and_one_that_failed_must_not() -> None:
    desk = Desk()
    desk.answer(desk.save(number(7)))
    assert desk.fallen == ["durable_stays"]

    desk = Desk()
    failed = desk.save(number(7))
    desk.write([failed])
    desk.answer(failed, "no space")
    assert desk.fallen == ["durable_stays"]


def test_a_later_save_of_the_same_commit_may_have_gone_over_it() -> None:
    desk = Desk()
    saves = [desk.save(number(7)), desk.save(number(8))]
    desk.write(saves)
    desk.answer(saves[0])
    desk.answer(saves[1])
    assert desk.fallen == []


def test_a_node_whose_data_was_destroyed_may_miss_records_but_not_have_others() -> None:
    desk = Desk()
    save = desk.save(number(7), Put(PEERS, Peers(("a",))))
    desk.write([save])
    desk.answer(save)
    desk.process.lost_data = True
    del desk.process.disk.records[KEY]
    desk.restart()
    assert desk.fallen == []
    desk.process.disk.records[PEERS] = Peers(("b",))
    desk.restart()
    assert desk.fallen == ["durable_stays"]


def test_answers_come_in_turn_and_once() -> None:
    desk = Desk()
    saves = [desk.save(), desk.save(), desk.save()]
    desk.answer(saves[0])
    desk.answer(saves[2])
    assert desk.fallen == ["saves_are_fifo"]
    desk.answer(saves[1])
    assert desk.fallen == ["saves_are_fifo"]
    desk.answer(saves[1])
    assert desk.fallen == ["saves_are_fifo"] * 2


def test_a_crash_drops_what_has_not_been_answered() -> None:
    desk = Desk()
    desk.save()
    desk.restart()
    desk.answer(desk.save())
    assert desk.fallen == []


def test_the_first_record_of_a_type_must_come_back_from_its_bytes_and_then_those_of_one_save_in_sixteen() -> None:
    desk = Desk()
    wire = SurvivesTheWire(desk.world)
    wordy = TaskProgress("a", TaskState.FAILED, 1, "", 0, 0, detail="x" * (DETAIL_CHARS_MAX + 1))
    unreadable = Put("progress/a", wordy)
    wire.on_durable(desk.now, desk.process, (number(1),))
    assert desk.fallen == []
    wire.on_durable(desk.now, desk.process, (unreadable,))
    assert desk.fallen == ["survives_the_wire"]
    for _ in range(16):
        wire.on_durable(desk.now, desk.process, (unreadable,))
    assert desk.fallen == ["survives_the_wire"] * 2
