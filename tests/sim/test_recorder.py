"""The recorder: it changes nothing, tells every message's one fate, forgets in order, and says things in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from protocols.core import Instant
from protocols.membership.member import State
from protocols.tasks.task import RunBody
from sim.checkers.checker import Checker
from sim.faults import Crash, DiskFull, Halves, Isolate, OneWay
from sim.network import LinkProfile
from sim.record.happening import Happening, Kind, Recording
from sim.record.recorder import NEVER, Recorder, record
from sim.record.words import FACTS, MARKS, TELLERS, TONES, tell, tone_of
from sim.scenario import Scenario, run
from tests.sim.pingpong import Do, Heard, Misbehave, Write
from tests.sim.simkit import MS, S, Small
from tests.sim.view.recordings import failed

LOSSY = LinkProfile(loss=0.05, duplicate=0.05, reorder=0.1)
SCENARIOS = [
    Scenario(nodes=4, seconds=30, tasks_per_s=3, faults=(Halves(5, 20), Crash(8, 15, 1))),
    Scenario(nodes=5, seconds=30, link=LOSSY, tasks_per_s=2, faults=(Isolate(5, 25, 2), OneWay(10, 20, 1))),
    Scenario(nodes=6, seconds=20, start="join", faults=(Crash(5, 12, 3), DiskFull(6, 15, 2))),
]


class Watched:
    """A small world with a recorder on. Two cores unless asked for more; they speak when told to."""

    def __init__(self, *, count: int = 2, limit: int = 10_000, link: LinkProfile | None = None, **window: int) -> None:
        self.small = Small(count, link=link)
        self.recorder = Recorder(self.small.world, limit=limit, **window)

    def recording(self) -> Recording:
        return self.recorder.recording(Scenario(nodes=len(self.small.world.processes)), "hash")

    def all(self, *kinds: Kind) -> list[Happening]:
        return [each for each in self.recording().happenings if not kinds or each.kind in kinds]

    def traffic(self) -> list[tuple[Kind, str]]:
        return [(each.kind, each.text) for each in self.all(Kind.MESSAGE, Kind.LOST)]


def kinds_of(recording: Recording) -> Counter[Kind]:
    return Counter(happening.kind for happening in recording.happenings)


# With a recorder or without, a run is the same run.


@pytest.mark.parametrize("scenario", SCENARIOS, ids=["cut and crash", "lossy", "join"])
@pytest.mark.parametrize("seed", [0, 1])
def test_recording_changes_nothing(scenario: Scenario, seed: int) -> None:
    scenario = replace(scenario, seed=seed)
    plain = run(scenario)
    report, recording = record(scenario)
    assert report.trace_hash == recording.trace_hash == plain.trace_hash
    assert (report.events, report.facts, report.violations) == (plain.events, plain.facts, plain.violations)
    assert kinds_of(recording)[Kind.LOST] > 0


@pytest.mark.parametrize("scenario", SCENARIOS, ids=["cut and crash", "lossy", "join"])
def test_every_message_has_one_fate_and_it_is_the_networks(scenario: Scenario) -> None:
    report, recording = record(scenario)
    lost = Counter(each.text for each in recording.happenings if each.kind is Kind.LOST)
    assert dict(sorted(lost.items())) == {why: count for why, count in report.drops.items() if count}
    said = Counter(
        each.what
        for each in recording.happenings
        if each.kind in (Kind.MESSAGE, Kind.LOST) and each.text != "duplicate"
    )
    doubled = Counter(each.text for each in recording.happenings)["duplicate"]
    excess = sum(said.values()) - sum(report.messages.values())
    # The second copy of a doubled packet that is then lost is told by its loss, and no longer as a copy.
    assert 0 <= excess <= report.faults.get("duplicate", 0) - doubled


def test_two_recordings_of_a_seed_are_equal() -> None:
    assert record(SCENARIOS[1])[1] == record(SCENARIOS[1])[1]


def test_a_world_is_recorded_once() -> None:
    watched = Watched()
    with pytest.raises(ValueError, match="recorded already"):
        Recorder(watched.small.world)


# Messages and what becomes of them.


def test_a_datagram_has_its_arrival() -> None:
    watched = Watched(link=LinkProfile(latency_ms_min=3, latency_ms_max=3))
    watched.small.say(0, 1, 1, stream=False)
    begun = watched.small.now
    watched.small.run(1)
    (message,) = watched.all(Kind.MESSAGE)
    assert (message.node, message.peer, message.what) == (0, 1, "Pong")
    assert (message.at, message.until) == (begun, begun + 3 * MS)


def test_a_message_that_finds_its_receiver_down_is_lost_there() -> None:
    watched = Watched(link=LinkProfile(latency_ms_min=10, latency_ms_max=10))
    small = watched.small
    small.say(0, 1, 1, stream=False)
    said_at = small.now
    small.run(0.004)
    small.world.crash(small.world.processes[1])
    small.run(1)
    (lost,) = watched.all(Kind.LOST)
    assert (lost.at, lost.until, lost.peer, lost.text) == (said_at, said_at + 10 * MS, 1, "down")
    assert watched.all(Kind.MESSAGE) == []


def test_a_new_life_of_the_receiver_gets_what_was_under_way() -> None:
    watched = Watched(link=LinkProfile(latency_ms_min=10, latency_ms_max=10))
    small = watched.small
    small.say(0, 1, 1, stream=False)
    small.run(0.002)
    small.world.crash(small.world.processes[1])
    small.run(0.002)
    small.world.boot(small.world.processes[1])
    small.run(1)
    assert (Kind.LOST, "down") not in watched.traffic()


def test_a_stream_message_that_a_reset_loses_under_way_did_not_arrive() -> None:
    watched = Watched(link=LinkProfile(latency_ms_min=10, latency_ms_max=10))
    small = watched.small
    small.say(0, 1, 3)
    small.run(0.004)
    small.world.crash(small.world.processes[0])
    small.run(1)
    assert watched.traffic() == [(Kind.LOST, "reset")] * 3


def test_a_message_that_waits_out_a_cut_is_one_happening_from_saying_to_arrival() -> None:
    watched = Watched()
    small = watched.small
    cut = small.cut([0, 1])
    small.say(0, 1, 2)
    said_at = small.now
    small.run(5)
    assert [each.until for each in watched.all(Kind.MESSAGE)] == [-1, -1]
    small.world.heal(cut)
    healed_at = small.now
    small.run(5)
    messages = watched.all(Kind.MESSAGE)
    assert [each.at for each in messages] == [said_at, said_at]
    assert all(each.until >= healed_at for each in messages)
    assert small.ears.numbers(1) == [0, 1]


def test_a_message_that_was_under_way_when_the_cut_began_arrives_after_it() -> None:
    watched = Watched(link=LinkProfile(latency_ms_min=10, latency_ms_max=10))
    small = watched.small
    small.say(0, 1, 1)
    said_at = small.now
    small.run(0.004)
    cut = small.cut([0, 1])
    small.run(3)
    small.world.heal(cut)
    healed_at = small.now
    small.run(5)
    (message,) = watched.all(Kind.MESSAGE)
    assert message.at == said_at
    assert message.until > healed_at


def test_what_waits_longer_than_a_stream_does_is_lost_when_that_resets() -> None:
    watched = Watched(link=LinkProfile(stream_stall_s=2))
    watched.small.cut([0, 1])
    watched.small.say(0, 1, 2)
    said_at = watched.small.now
    watched.small.run(10)
    lost = watched.all(Kind.LOST)
    assert [(each.at, each.until, each.text) for each in lost] == [(said_at, said_at + 2 * S, "reset")] * 2
    assert watched.all(Kind.MESSAGE) == []


def test_what_a_stopped_node_dies_with_is_lost() -> None:
    watched = Watched()
    small = watched.small
    receiver = small.world.processes[1]
    receiver.stop(small.now)
    small.say(0, 1, 2, stream=False)
    said_at = small.now
    small.run(1)
    small.say(0, 1, 1, stream=False, first=2)
    small.run(1)
    small.world.crash(receiver)
    assert [(each.at, each.text) for each in watched.all(Kind.LOST)][:2] == [(said_at, "down")] * 2
    assert watched.traffic() == [(Kind.LOST, "down")] * 3


def test_what_a_stopped_node_handles_later_arrived() -> None:
    watched = Watched()
    small = watched.small
    receiver = small.world.processes[1]
    receiver.stop(small.now)
    small.say(0, 1, 2, stream=False)
    small.run(1)
    receiver.go_on(small.now)
    small.run(1)
    small.say(0, 1, 1, stream=False, first=2)
    small.run(1)
    small.world.crash(receiver)
    small.run(1)
    assert (Kind.LOST, "down") not in watched.traffic()


def test_a_message_to_nobody_has_no_peer() -> None:
    watched = Watched()
    small = watched.small
    nowhere = replace(small.endpoint(1), address="10.9.9.9:1")
    small.ask(0, Write(1, to=nowhere))
    small.run(1)
    (lost,) = watched.all(Kind.LOST)
    assert (lost.peer, lost.text) == (-1, "nobody_there")


# The stage.


def test_a_cut_is_told_in_words_and_as_letters_and_its_end_too() -> None:
    watched = Watched(count=5)
    cut = watched.small.cut([0, 0, 1, 1, 1])
    watched.small.run(1)
    watched.small.world.heal(cut)
    begin, end = watched.all(Kind.CUT)
    assert (begin.text, begin.what) == ("n0 n1 | n2 n3 n4", "aabbb")
    assert (end.text, end.what, end.at) == ("", "", 1 * S)


def test_a_cut_that_changes_nothing_is_not_told_again() -> None:
    watched = Watched(count=3)
    watched.small.cut([0, 0, 1])
    watched.small.cut([0, 0, 1])
    assert len(watched.all(Kind.CUT)) == 1


def test_a_fault_has_its_end_and_one_that_stays_has_none() -> None:
    watched = Watched()
    world = watched.small.world
    world.trouble_begins("rain")
    world.trouble_begins("snow")
    world.trouble_begins("rain")
    watched.small.run(2)
    world.trouble_ends("rain")
    faults = watched.all(Kind.FAULT)
    assert [(fault.text, fault.until) for fault in faults] == [("rain", 2 * S), ("snow", -1), ("rain", -1)]


def test_lives_of_a_node_are_told() -> None:
    watched = Watched()
    world = watched.small.world
    world.crash(world.processes[1])
    watched.small.run(1)
    world.boot(world.processes[1])
    lives = watched.all(Kind.BOOT, Kind.CRASH)
    assert [(each.kind, each.node, each.at, each.text) for each in lives] == [
        (Kind.CRASH, 1, 0, "at the end of life 1"),
        (Kind.BOOT, 1, 1 * S, "again, life 2"),
    ]


def test_records_bodies_answers_and_violations_are_told() -> None:
    watched = Watched()
    small = watched.small
    small.ask(0, Write(7))
    small.ask(0, Do(RunBody("abcdefghij.xyz", 1, "count", "{}", 1000)))
    small.run(3)
    assert [each.text for each in watched.all(Kind.DURABLE)] == ["number"]
    assert [(each.what, each.text) for each in watched.all(Kind.START)] == [("count", "task abcdefgh, attempt 1")]
    assert ("Done", "to Write") in [(each.what, each.text) for each in watched.all(Kind.REPLY)]
    small.ask(1, Misbehave("bare promise", small.endpoint(0)))
    (violation,) = watched.all(Kind.VIOLATION)
    assert (violation.node, violation.what) == (1, "promises_wait_for_the_disk")
    assert watched.recording().violations[0].text == violation.text


def test_what_leads_to_a_violation_comes_before_it() -> None:
    report, recording = failed()
    first = next(index for index, each in enumerate(recording.happenings) if each.kind is Kind.VIOLATION)
    violation = recording.happenings[first]
    assert violation.what == report.violations[0].property
    earlier = [each for each in recording.happenings[:first] if each.at == violation.at and each.node == violation.node]
    assert any(each.kind in (Kind.MARK, Kind.DURABLE) for each in earlier)


# Words.


def test_facts_of_every_type_are_told_in_words_with_names() -> None:
    _, recording = record(SCENARIOS[0])
    told = [each for each in recording.happenings if each.kind in (Kind.FACT, Kind.MARK)]
    ids = [each for each in told if any(len(word) >= 26 for word in each.text.split())]
    assert not ids, ids[0]
    assert {"MemberChanged", "Refuted", "NodeStarted", "TaskAccepted", "TaskFinished"} <= {each.what for each in told}
    suspicion = next(each for each in told if each.label.startswith("suspect "))
    name = suspicion.label.removeprefix("suspect ")
    assert suspicion.kind is Kind.MARK
    assert suspicion.text.startswith(f"{name} is suspect, generation 1, incarnation ")
    assert recording.names[suspicion.peer] == name


def test_marks_have_a_label_and_other_facts_have_none() -> None:
    _, recording = record(SCENARIOS[0])
    marks = {each.what for each in recording.happenings if each.kind is Kind.MARK}
    assert {"MemberChanged", "NodeStarted", "TaskAccepted", "RunStarted"} <= marks <= {fact.__name__ for fact in MARKS}
    for each in recording.happenings:
        assert bool(each.label) == (each.kind is Kind.MARK)


def test_a_fact_without_words_is_told_field_by_field() -> None:
    told = tell(Heard("Line", 3, "an-id"), {"an-id": "n7"})
    assert (told.text, told.label) == ("kind Line, number 3, sender n7", "")


def test_every_verdict_has_a_tone() -> None:
    assert [tone_of(f"{state.name.lower()} n3") for state in State] == ["good", "doubt", "bad", "bad"]
    assert tone_of("term 4") == "change"
    assert set(TONES.values()) <= {"good", "doubt", "bad", "owner"}
    assert not MARKS.keys() & FACTS.keys()
    assert len(TELLERS) == len(MARKS) + len(FACTS)


# Bounds.


def test_a_bounded_recording_keeps_the_last_and_says_how_many_it_forgot() -> None:
    _, whole = record(SCENARIOS[0])
    _, bounded = record(SCENARIOS[0], limit=500)
    assert bounded.happenings == whole.happenings[-500:]
    assert bounded.forgotten == len(whole.happenings) - 500
    assert whole.forgotten == 0


def test_what_sets_the_stage_is_kept_when_it_is_forgotten() -> None:
    _, whole = record(SCENARIOS[0])
    _, bounded = record(SCENARIOS[0], limit=500)
    stage = (Kind.BOOT, Kind.CRASH, Kind.FAULT, Kind.CUT, Kind.VIOLATION)
    assert bounded.before == tuple(each for each in whole.happenings[:-500] if each.kind in stage)
    assert {Kind.BOOT, Kind.CRASH} <= {each.kind for each in bounded.before}


def test_memory_does_not_grow_with_virtual_time() -> None:
    small = Small(3, pinging=True, link=LinkProfile(loss=0.1, duplicate=0.1))
    recorder = Recorder(small.world, limit=100, before=10)
    sizes: list[Sequence[int]] = []
    for year in range(4):
        for day in range(20):
            small.world.crash(small.world.processes[0])
            cut = small.cut([0, 1, 1])
            small.world.trouble_begins(f"rain on day {day} of year {year}")
            small.run(2)
            small.world.trouble_ends(f"rain on day {day} of year {year}")
            small.world.heal(cut)
            small.world.boot(small.world.processes[0])
            small.run(3)
        sizes.append(held_by(recorder))
    assert all(size[:2] == (100, 10) and max(size[2:]) <= 10 for size in sizes), sizes


def held_by(recorder: Recorder) -> tuple[int, ...]:
    return (
        len(recorder._entries),
        len(recorder._before),
        len(recorder._under_way),
        sum(map(len, recorder._waiting.values())),
        sum(map(len, recorder._at_stopped.values())),
        len(recorder._faults),
    )


def test_only_the_asked_for_stretch_is_kept_but_the_stage_is_set() -> None:
    _, whole = record(SCENARIOS[0])
    _, part = record(SCENARIOS[0], since_s=10, until_s=12)
    stage = (Kind.BOOT, Kind.CRASH, Kind.FAULT, Kind.CUT, Kind.VIOLATION)

    def asked_for(at: Instant) -> bool:
        return 10 * S <= at <= 12 * S

    assert part.happenings == tuple(each for each in whole.happenings if each.kind in stage or asked_for(each.at))
    assert (part.since, part.until, part.end) == (10 * S, 12 * S, whole.end)
    assert part.forgotten == 0


def test_a_recording_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="would tell nothing"):
        Recorder(Small().world, limit=0)


def test_who_watches_besides_is_told_all_the_same() -> None:
    """Checkers that are installed after the recorder hear every fact too."""

    class Late(Checker):
        name = "late"
        facts = (Heard,)
        heard = 0

        def on_fact(self, now: Instant, process: object, fact: object) -> None:
            self.heard += 1

    small = Small()
    recorder = Recorder(small.world, until=NEVER)
    late = Late(small.world)
    small.world.watch.install([late])
    small.say(0, 1, 3)
    small.run(1)
    told = [each for each in recorder.recording(Scenario(nodes=2), "").happenings if each.kind is Kind.FACT]
    assert late.heard == len(told) == len(small.ears.heard) == 3
