"""What membership costs a node: bytes a second by the size of the mesh, with exchanges of tables and without."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any, ClassVar, get_args

from protocols.core import NANOS_PER_S, Carrier, Instant, Message
from protocols.keyring.messages import KeyringMessage, Keys
from protocols.membership.healing import push_pull_scale
from protocols.membership.messages import MembershipMessage, PushPull
from protocols.membership.rumours import EventDigest
from protocols.wire import encode_message
from sim.checkers.checker import Checker
from sim.faults import AnyFault, Crash
from sim.process import Process
from sim.scenario import Scenario
from sim.study.findings import Cell, Goal, Plot, Section, Series, Table
from sim.study.mesh import Mesh
from sim.study.numbers import mean, quantile, ratio
from sim.study.trial import Experiment, Figures, Samples, Trial
from sim.world import World

QUIET = "quiet"
CRASHES = "1 % crash"
SEAL_BYTES = 57
"""What sealing adds to a datagram (a test compares it with the daemon's)."""
UDP_BYTES = 28
"""IPv4 and UDP headers."""
SEGMENT_BYTES = 1448
SEGMENT_HEADERS_BYTES = 52
"""IPv4 and TCP headers, with timestamps, of a segment that carries so much."""
RECORD_BYTES = 26
"""A TLS record, and the length in front of a frame."""
BESIDE_TABLES = frozenset((PushPull, EventDigest, Keys))
"""What an exchange of tables says."""
WARM_UP_S = 50.0
"""By then every node has had the first of its exchanges of tables, which come at their plain interval."""
MEAN_MAX = 6.0
FLAT = 1.5
FLAT_FROM = 20
"""A mesh of five probes who is left over: it has less to say than any larger one."""


def wire_bytes(message: Message) -> int:
    """What one message takes of a network, headers and seal included; handshakes and acknowledgements aside."""
    size = len(encode_message(message))
    if message.carrier is Carrier.DATAGRAM:
        return size + SEAL_BYTES + UDP_BYTES
    return size + RECORD_BYTES + SEGMENT_HEADERS_BYTES * -(-size // SEGMENT_BYTES)


class Received(Checker):
    """Bytes that every node has received, by second: all, and those of tables."""

    name = "received"
    messages = (*get_args(MembershipMessage), *get_args(KeyringMessage))

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._blank = bytes(8 * len(world.processes))
        self.all: list[array[int]] = []
        self.tables: list[array[int]] = []

    def on_message(self, now: Instant, process: Process, message: Any) -> None:
        second = now // NANOS_PER_S
        while len(self.all) <= second:
            self.all.append(array("q", self._blank))
            self.tables.append(array("q", self._blank))
        size = wire_bytes(message)
        self.all[second][process.index] += size
        if type(message) in BESIDE_TABLES:
            self.tables[second][process.index] += size


class Traffic(Experiment):
    """One push-pull interval of a mesh that has settled."""

    name = "traffic"
    title = "Bytes a node and second"
    share: ClassVar[Mapping[int, int]] = {5: 5, 20: 5, 100: 2, 1000: 1}

    def arms(self, nodes: int) -> tuple[str, ...]:
        return (QUIET, CRASHES)

    def run(self, trial: Trial) -> Figures:
        config = self.config
        end_s = WARM_UP_S + push_pull_scale(trial.nodes) * config.push_pull_interval / NANOS_PER_S
        crashing = max(1, round(trial.nodes / 100)) if trial.arm == CRASHES else 0
        faults: tuple[AnyFault, ...] = (Crash(WARM_UP_S, None, crashing),) if crashing else ()
        mesh = Mesh(Scenario(trial.nodes, end_s, trial.seed, membership=self.membership, faults=faults), [Received])
        (received,) = mesh.observers
        assert isinstance(received, Received)
        mesh.run_until(end_s)
        up = [process.index for process in mesh.world.processes if process.up]
        window = range(int(WARM_UP_S), int(end_s))
        whole = [received.all[second][index] / 1000 for second in window for index in up]
        without = [
            (received.all[second][index] - received.tables[second][index]) / 1000 for second in window for index in up
        ]
        return {
            "mean": [mean(whole) or 0.0],
            "p99": [quantile(whole, 0.99) or 0.0],
            "most": [max(whole)],
            "mean_without": [mean(without) or 0.0],
            "p99_without": [quantile(without, 0.99) or 0.0],
        }

    def section(self, samples: Samples) -> Section:
        rows: list[tuple[Cell, ...]] = []
        goals: list[Goal] = []
        for arm in (QUIET, CRASHES):
            for nodes in samples.sizes_of(arm):
                means = [
                    mean(samples.values(arm, nodes, name)) for name in ("mean_without", "p99_without", "mean", "p99")
                ]
                rows.append(
                    (arm, f"{nodes:,}", samples.seeds(arm, nodes), *means, max(samples.values(arm, nodes, "most")))
                )
            sizes = [nodes for nodes in samples.sizes_of(arm) if nodes >= FLAT_FROM]
            if sizes:
                largest = mean(samples.values(arm, sizes[-1], "mean"))
                goals.append(Goal(f"{arm}: mean at N = {sizes[-1]:,}", largest, "under", MEAN_MAX, "KB/s"))
            if len(sizes) > 1:
                least, *others = [mean(samples.values(arm, nodes, "mean_without")) or 0.0 for nodes in sizes]
                what = f"{arm}: mean without push-pull, the most of any larger N, of that at N = {sizes[0]:,}"
                goals.append(Goal(what, ratio(max(others), least), "at most", FLAT, "×", "the issue: flat in N"))
        if rows:
            rows.append(("memberlist, measured by Rapid", "1,000", None, None, None, 0.54, 5.6, None))
        return Section(
            name=self.name,
            title=self.title,
            asked="Does membership cost a node more in a large mesh? What of that are exchanges of tables?",
            done=f"A mesh that has run for {WARM_UP_S:g} s, watched for as long as its push-pull interval is at that "
            "size. Quiet; and with a hundredth of the members, one at least, crashing at once. Counted is what a node "
            "receives: real encodings, the seal, UDP, TLS and TCP headers; no handshakes. Means and p99 are over nodes "
            f"and seconds; what nodes send is the same on average. Flat is judged from N = {FLAT_FROM} on: who is in a "
            "smaller mesh has fewer to hear of.",
            goals=tuple(goals),
            tables=(
                Table(
                    "KB (1,000 bytes) a node and second",
                    ("mesh", "N", "seeds", "mean without push-pull", "p99 without", "mean", "p99", "most in a second"),
                    tuple(rows),
                ),
            )
            if rows
            else (),
            plots=_plots(samples),
            sources=(
                "Rapid, USENIX ATC 2018, section 7, measured memberlist at 0.54 KB/s mean and 5.6 KB/s p99 a process.",
            ),
        )


def _plots(samples: Samples) -> tuple[Plot, ...]:
    sizes = samples.sizes_of(QUIET)
    if not sizes:
        return ()

    def line(name: str, arm: str, figure: str) -> Series:
        points = [(float(n), mean(samples.values(arm, n, figure)) or 0.0) for n in samples.sizes_of(arm)]
        return Series(name, tuple(points))

    rapid = Series("memberlist, measured by Rapid", ((1000.0, 0.54),), "dots")
    return (
        Plot(
            "Mean bytes a node and second",
            "members",
            "KB/s",
            (
                line("quiet", QUIET, "mean"),
                line("quiet, without push-pull", QUIET, "mean_without"),
                line("1 % crash", CRASHES, "mean"),
                line("1 % crash, without push-pull", CRASHES, "mean_without"),
                rapid,
            ),
            log_x=True,
            line_at=MEAN_MAX,
            line_says="goal: under 6 KB/s",
        ),
    )
