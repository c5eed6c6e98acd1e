"""The contract of a stream, under whatever is done to it: each message arrives once and in order, or the stream was
reset, and then nothing that was sent behind it on that stream arrives either."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.network import Change, LinkProfile, Pairs
from tests.sim.simkit import Small

WHAT = ("say", "run", "cut", "cut back", "clog", "loss", "resets", "slow", "end", "reset", "crash", "crash sender")
ACTIONS = st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 40)), min_size=8, max_size=60)


class Line:
    """One stream, from node 0 to node 1, and a record of which messages were sent between which two resets."""

    def __init__(self, seed: int) -> None:
        self.small = Small(seed=seed, link=LinkProfile(latency_ms_min=0.2, latency_ms_max=200.0, stream_stall_s=1.5))
        self.network = self.small.world.network
        self.ends: list[Callable[[], None]] = []
        self.sent = 0
        self.epochs: dict[int, list[int]] = {}
        """Number of resets so far → what was sent while it stood."""

    def do(self, what: str, how_much: int) -> None:
        small, network = self.small, self.network
        out = Pairs.links_of(2, [0], [1], way="out")
        if what == "say":
            small.say(0, 1, how_much, first=self.sent)
            self.epochs.setdefault(network.resets, []).extend(range(self.sent, self.sent + how_much))
            self.sent += how_much
        elif what == "run":
            small.run(how_much / 150)
        elif what in ("cut", "cut back"):
            cut = out if what == "cut" else Pairs.links_of(2, [1], [0], way="out")
            network.cut(cut)
            self.ends.append(lambda: network.heal(small.now, cut))
        elif what == "clog":
            network.clog(out)
            self.ends.append(lambda: network.unclog(small.now, out))
        elif what in ("loss", "resets", "slow"):
            worse: dict[str, Callable[[LinkProfile], LinkProfile]] = {
                "loss": lambda link: link.worse(loss=0.6),
                "resets": lambda link: link.worse(reset=0.1),
                "slow": lambda link: link.worse(delay_ms_max=300.0),
            }
            change = Change(out, worse[what])
            network.worsen(change)
            self.ends.append(lambda: network.mend(change))
        elif what == "end" and self.ends:
            self.ends.pop(how_much % len(self.ends))()
        elif what == "reset":
            network.reset(out)
        elif what.startswith("crash"):
            victim = small.world.processes[what == "crash"]
            small.world.crash(victim)
            small.world.boot(victim)

    def finish(self) -> None:
        for end in self.ends:
            end()
        self.small.run(30)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1000), ACTIONS)
def test_a_stream_delivers_a_prefix_of_what_was_sent_between_two_resets(
    seed: int, actions: list[tuple[str, int]]
) -> None:
    line = Line(seed)
    for what, how_much in actions:
        line.do(what, how_much)
    line.finish()
    heard = line.small.ears.numbers(1)
    expected: list[int] = []
    lost = 0
    last = line.network.resets
    for epoch, sent in line.epochs.items():
        arrived = [number for number in heard if number in set(sent)]
        assert arrived == sent[: len(arrived)]
        assert len(arrived) == len(sent) or epoch < last, "lost without a reset"
        expected += arrived
        lost += len(sent) - len(arrived)
    assert heard == expected
    assert lost == line.network.drops["reset"]
    assert not line.network.streams


@pytest.mark.parametrize("seed", range(20))
def test_a_storm_of_resets_loses_some_and_keeps_the_order(seed: int) -> None:
    small = Small(seed=seed, link=LinkProfile(reset=0.2))
    for second in range(20):
        small.say(0, 1, 3, first=3 * second)
        small.run(1)
    heard = small.ears.numbers(1)
    assert heard == sorted(set(heard))
    assert 0 < len(heard) < 60
    assert small.world.network.drops["reset"] == 60 - len(heard)
    assert small.world.network.mishaps["stream_reset"] == small.world.network.resets > 0


def test_resends_take_longer_each_time_and_a_stream_on_a_dead_link_resets() -> None:
    small = Small(link=LinkProfile(loss=0.5))
    late = set()
    for number in range(200):
        before = small.now
        small.say(0, 1, 1, first=number)
        small.run(20)
        late |= {round((at - before) / 1e8) for at, *_ in small.ears.heard if at > before}
    assert late == {0, 2, 2 + 4, 2 + 4 + 8, 30, 62, 126}  # tenths of a second
    assert small.world.network.resets > 0
    dead = Small(link=LinkProfile(loss=1.0, stream_stall_s=4.0))
    dead.say(0, 1, 3)
    dead.run(3.9)
    assert dead.world.network.resets == 0
    dead.run(0.2)
    assert dead.world.network.resets == 1
    assert dead.ears.heard == []


def test_a_reset_breaks_the_streams_of_its_links_and_no_others() -> None:
    small = Small(3)
    for receiver in (1, 2):
        small.say(0, receiver, 5)
    small.world.network.reset(Pairs.links_of(3, [1]))
    small.run(1)
    assert small.ears.numbers(1) == []
    assert small.ears.numbers(2) == list(range(5))
    assert small.world.network.resets == 1
    small.say(0, 1, 1, first=7)
    small.run(1)
    assert small.ears.numbers(1) == [7]
