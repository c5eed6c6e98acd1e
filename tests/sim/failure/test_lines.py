"""The last events around a violation: those that matter, in order, and nothing hidden between them."""

from __future__ import annotations

import re
from itertools import count

import pytest

from sim.checkers.checker import Violation
from sim.failure.lines import LINES, WIDTH, around, nodes_in, place_of, words_of
from sim.record.happening import Happening, Kind, Recording
from sim.record.recorder import record
from tests.sim.failure.planted import TWELVE, ForgetsItsGeneration
from tests.sim.failure.recordings import NAMES, fell, happened, ping, recording, verdict


def busy(*changes: Happening) -> Recording:
    """200 pings between n0 and n1 and as many between n1 and n2, with some changes and a violation at n0 in the end."""
    pings = [ping(at, at % 2, 1) if at % 2 == 0 else ping(at, 1, 2) for at in range(400)]
    return recording(*sorted([*pings, *changes], key=lambda each: each.at), fell(400, 0, "n0 differs"))


def test_there_are_twenty_and_the_violation_is_the_last() -> None:
    told = busy(*(verdict(at, 0, 1, "suspect", at) for at in range(10, 400, 10)))
    lines = around(told, told.violations[0])
    assert len(lines) == LINES
    assert lines[-1].startswith(">")
    assert lines[-1].endswith("VIOLATED agreement: n0 differs")
    assert not any(line.startswith(">") for line in lines[:-1])


def test_changes_come_before_probes_however_long_ago() -> None:
    told = busy(verdict(3, 0, 1, "dead", 1), happened(5, Kind.FAULT, -1, "fault", "halves cut apart"))
    lines = around(told, told.violations[0])
    assert len(lines) == LINES
    assert "n1 is dead" in lines[0]
    assert "fault: halves cut apart" in lines[1]
    assert sum("Ping" in line for line in lines) == LINES - 3


def test_what_concerns_other_nodes_is_left_out_and_counted() -> None:
    told = busy(verdict(3, 2, 1, "dead", 1), happened(4, Kind.CRASH, 2))
    lines = around(told, told.violations[0])
    assert not any("n2" in line for line in lines)
    gaps = [int(match[1]) for line in lines if (match := re.search(r"\+(\d+)", line))]
    places = [int(float(line.split()[-2]) * 1000) - 1 for line in lines if "arrives" in line]
    assert gaps == [1] * len(gaps)
    assert places == list(range(400 - 2 * len(places), 400, 2))


def test_all_nodes_that_the_text_names_are_concerned() -> None:
    told = recording(verdict(1, 2, 1, "dead", 1), verdict(2, 1, 0, "dead", 1), fell(9, -1, "n2 takes n0 for dead."))
    assert len(around(told, told.violations[0])) == 3
    assert nodes_in(NAMES, "n2 takes n0, for dead: n1.") == {0, 1, 2}
    assert nodes_in(NAMES, "n20 and an0 n1x") == frozenset()
    assert nodes_in(("db.1", "db-2"), "db.1 and db-2.") == {0, 1}


def test_columns_line_up() -> None:
    told = busy(happened(5, Kind.FAULT, -1, "fault", "x" * 300))
    lines = around(told, told.violations[0])
    ends = {match.end() for line in lines if (match := re.match(r"[> ] +\d+\.\d{6} s", line))}
    assert len(ends) == 1
    assert all(len(line) <= WIDTH for line in lines)


def test_of_a_bounded_recording_it_says_what_is_missing() -> None:
    told = recording(verdict(1, 0, 1, "dead", 1), fell(2, 0, "n0 differs"), forgotten=1234)
    assert "1,234 happenings" in around(told, told.violations[0])[0]


def test_a_violation_that_was_not_recorded_is_placed_by_its_time() -> None:
    told = recording(ping(1, 0, 1), ping(5, 0, 1), ping(9, 0, 1))
    assert place_of(told, Violation("x", 0.006, "n0", "")) == 1
    assert place_of(told, Violation("x", 0.0, "n0", "")) == -1
    assert around(recording(), Violation("x", 1.0, "n0", "")) == []


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_words(kind: Kind) -> None:
    words = words_of(happened(1, kind, 0, "What", "so and so", 1), NAMES)
    assert words
    assert "so and so" in words


def test_of_a_real_run_they_tell_the_story() -> None:
    report, told = record(TWELVE, core_factory=ForgetsItsGeneration)
    lines = around(told, report.violations[0])
    node = report.violations[0].node
    text = "\n".join(lines)
    assert len(lines) == LINES
    assert re.search(rf"{node} +crashes", text)
    assert re.search(rf"{node} +boots again", text)
    assert re.search(rf"mesh +fault: .*{node}.* down from 10 s until 14 s", text)
    times = [float(line[1:].split()[0]) for line in lines]
    assert times == sorted(times)
    assert len(set(zip(times, lines, count()))) == LINES
