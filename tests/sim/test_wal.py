"""The log of an interrupted commit, byte for byte: whatever a crash leaves, recovery keeps all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.core import Delete, Put, Record
from sim import wal
from sim.wal import SECTOR_BYTES, Damage, Leftover
from tests.sim.pingpong import Number, Word

KEYS = st.sampled_from(["a", "b", "key/with/ü"])
VALUES = st.builds(Number, st.integers(-(2**40), 2**40)) | st.builds(Word, st.text(max_size=1500))
RECORDS = st.builds(Put, KEYS, VALUES) | st.builds(Delete, KEYS)
SAVES = st.lists(st.lists(RECORDS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=4)


def written(saves: list[tuple[Record, ...]], number: int, before: Iterable[tuple[Record, ...]] = ()) -> bytes:
    return wal.encode_commit(number, saves, wal.types_in([*saves, *before]))


def leftovers(sectors: int) -> st.SearchStrategy[Leftover]:
    """Anything that a disk may have taken of `sectors` sectors."""
    taken = st.sampled_from((0, SECTOR_BYTES)) | st.integers(0, SECTOR_BYTES)
    return st.lists(taken, min_size=sectors, max_size=sectors).map(lambda each: Leftover(tuple(each)))


@given(SAVES, st.integers(0, 2**60))
def test_what_was_written_whole_is_recovered_as_it_was(saves: list[tuple[Record, ...]], number: int) -> None:
    assert wal.recover(written(saves, number), number, wal.types_in(saves)) == saves


@given(SAVES, SAVES, st.data())
def test_whatever_a_crash_leaves_recovery_keeps_all_or_nothing(
    saves: list[tuple[Record, ...]], before: list[tuple[Record, ...]], data: st.DataObject
) -> None:
    types = wal.types_in([*saves, *before])
    log = wal.encode_commit(8, saves, types)
    stood = data.draw(st.sampled_from([b"", wal.encode_commit(7, before, types)]) | st.binary(max_size=len(log)))
    leftover = data.draw(leftovers(wal.sectors_of(log)))
    left = wal.crashed(log, stood, leftover)
    assert len(left) == len(log)
    found = wal.recover(left, 8, types)
    assert found in ([], saves)  # bytes that are missing behind an entry, where nothing stands, do not matter
    if left == log:
        assert found == saves


@given(SAVES, st.data())
def test_no_flipped_bit_is_believed(saves: list[tuple[Record, ...]], data: st.DataObject) -> None:
    log = bytearray(written(saves, 3))
    bit = data.draw(st.integers(0, 8 * len(log) - 1))
    log[bit // 8] ^= 1 << bit % 8
    found = wal.recover(bytes(log), 3, wal.types_in(saves))
    assert found in ([], saves)  # the padding behind an entry means nothing


@given(SAVES, SAVES)
def test_an_older_commit_that_stands_in_the_log_is_not_taken_for_this_one(
    saves: list[tuple[Record, ...]], before: list[tuple[Record, ...]]
) -> None:
    types = wal.types_in([*saves, *before])
    stale = wal.encode_commit(7, before, types)
    nothing = Leftover((0,) * wal.sectors_of(wal.encode_commit(8, saves, types)))
    assert wal.recover(wal.crashed(wal.encode_commit(8, saves, types), stale, nothing), 8, types) == []


@pytest.mark.parametrize(
    ("taken", "damage"),
    [
        ((0, 0, 0), Damage.NOTHING_WRITTEN),
        ((512, 512, 512), Damage.ALL_WRITTEN),
        ((512, 100, 0), Damage.TORN),
        ((512, 0, 0), Damage.TORN),
        ((7,), Damage.TORN),
        ((0, 512, 512), Damage.REORDERED),
        ((100, 512, 0), Damage.REORDERED),
        ((512, 0, 3), Damage.REORDERED),
    ],
)
def test_a_leftover_is_called_by_what_it_is(taken: tuple[int, ...], damage: Damage) -> None:
    assert Leftover(taken).damage is damage


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_what_is_drawn_can_be(seed: int, sectors: int) -> None:
    leftover = wal.draw_leftover(Random(seed), sectors)
    assert len(leftover.taken) == sectors
    assert all(0 <= taken <= SECTOR_BYTES for taken in leftover.taken)
    if sectors == 1:
        assert leftover.damage is not Damage.REORDERED


def test_every_damage_is_drawn_often() -> None:
    stream = Random(1)
    drawn = [wal.draw_leftover(stream, 3).damage for _ in range(1000)]
    for damage in Damage:
        assert drawn.count(damage) > 150


def test_a_recovery_that_does_not_check_believes_a_torn_record(monkeypatch: pytest.MonkeyPatch) -> None:
    saves: list[tuple[Record, ...]] = [(Put("k", Word("x" * 2000)),)]
    log = written(saves, 1)
    torn = wal.crashed(log, b"", Leftover((512, 512, 0, 512)))
    assert wal.recover(torn, 1, wal.types_in(saves)) == []
    monkeypatch.setattr(wal, "intact", lambda written, computed: True)
    [(found,)] = wal.recover(torn, 1, wal.types_in(saves))
    assert isinstance(found, Put)
    assert isinstance(found.value, Word)
    assert "\0" in found.value.text
