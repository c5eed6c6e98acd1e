"""Links that are bad for a while: they lose, delay, clog, double, reorder, or break streams.

They are the links of some nodes, both ways: with everybody, or only with the nodes in `to`. Several such faults add up,
and add to what the scenario says of its links. What befalls a message is counted under the mishap's own name.
"""

from __future__ import annotations

import random
from typing import ClassVar, Literal, Self

from protocols.core import Instant
from sim.errors import ScenarioError, nearest
from sim.faults.fault import Chance, NodeFault, Stage, Undo
from sim.faults.partitions import indexes, needs_nodes
from sim.network import Change, LinkProfile, Network, Pairs

Way = Literal["both", "out", "in"]
WAYS: dict[Way, str] = {"both": "", "out": " on the way out", "in": " on the way in"}


class LinkFault(NodeFault, frozen=True, forbid_unknown_fields=True):
    """A fault of the links of some nodes."""

    to: tuple[str, ...] = ()
    """Only the links between these and the nodes that are hit; empty: all of their links."""
    way: Way = "both"
    """What the nodes that are hit say, "out"; what is said to them, "in"; or "both"."""

    places: ClassVar[tuple[str, ...]] = ("nodes", "to")

    @property
    def which(self) -> str:
        """The links, in words."""
        return f"the links of {self.whom}{' and ' + ', '.join(self.to) if self.to else ''}{WAYS.get(self.way, '')}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if self.way not in WAYS:
            raise ScenarioError(f"{self.kind()}: there is no way {self.way!r}. {nearest(self.way, WAYS)}")
        needs_nodes(self, names, 2)
        super().check(names, seconds)

    def pairs(self, stage: Stage) -> Pairs:
        """The links that are hit, drawn where that is asked for."""
        world = stage.world
        victims = [victim.index for victim in stage.victims(self, world.processes)]
        return Pairs.links_of(len(world.processes), victims, indexes(stage, self.to), way=self.way)

    def worse(self, link: LinkProfile) -> LinkProfile:
        """What `link` is like while this is in force."""
        raise NotImplementedError

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        pairs = self.pairs(stage)
        return self.strike(stage.world.network, pairs) if pairs else None

    def strike(self, network: Network, pairs: Pairs) -> Undo:
        """Do it to these links, of which there is one at least."""
        change = Change(pairs, self.worse)
        network.worsen(change)
        return lambda now: network.mend(change)

    def check_probability(self, name: str, value: float) -> None:
        """Raise `ScenarioError` where an option is no probability, or one at which nothing would happen."""
        if not 0 < value <= 1:
            raise ScenarioError(
                f"{self.kind()}: {name} {value:g} is a probability, more than 0 and at most 1. For 5 % write 0.05."
            )


class Lossy(LinkFault, frozen=True, tag="lossy", forbid_unknown_fields=True):
    """Links lose datagrams with probability `loss`; on streams, messages must be sent again and are late."""

    loss: float = 0.3

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.5, lasts_s_min=2.0, lasts_s_max=12.0, count_max=3)

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count, loss=draw.choice((0.05, 0.3, 0.8)), way=draw.choice(tuple(WAYS)))

    def describe(self) -> str:
        return f"{self.which} losing {self.loss:.4g} of the datagrams {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        self.check_probability("loss", self.loss)
        super().check(names, seconds)

    def worse(self, link: LinkProfile) -> LinkProfile:
        return link.worse(loss=self.loss)


class Slow(LinkFault, frozen=True, tag="slow", forbid_unknown_fields=True):
    """Links take `add_ms_min` to `add_ms_max` longer."""

    add_ms_min: float = 50.0
    add_ms_max: float = 400.0

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.5, lasts_s_min=2.0, lasts_s_max=12.0, count_max=2)

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        least, most = draw.choice(((20.0, 30.0), (50.0, 400.0), (400.0, 3000.0)))
        return cls(start_s, end_s, count, add_ms_min=least, add_ms_max=most, way=draw.choice(tuple(WAYS)))

    def describe(self) -> str:
        return f"{self.which} slower by {self.add_ms_min:g} to {self.add_ms_max:g} ms {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if not (0 <= self.add_ms_min <= self.add_ms_max <= 3_600_000 and self.add_ms_max > 0):
            raise ScenarioError(
                f"slow: {self.add_ms_min:g} to {self.add_ms_max:g} ms: the most must be above 0, at most an hour, "
                "and no less than the least."
            )
        super().check(names, seconds)

    def worse(self, link: LinkProfile) -> LinkProfile:
        return link.worse(delay_ms_min=self.add_ms_min, delay_ms_max=self.add_ms_max)


class Duplicating(LinkFault, frozen=True, tag="duplicating", forbid_unknown_fields=True):
    """A storm of doubles: links deliver datagrams a second time with probability `duplicate`."""

    duplicate: float = 0.5

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.0, lasts_s_min=2.0, lasts_s_max=12.0, count_max=3)
    misleads: ClassVar[bool] = False

    def describe(self) -> str:
        return f"{self.which} doubling {self.duplicate:.4g} of the datagrams {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        self.check_probability("duplicate", self.duplicate)
        super().check(names, seconds)

    def worse(self, link: LinkProfile) -> LinkProfile:
        return link.worse(duplicate=self.duplicate)


class Reordering(LinkFault, frozen=True, tag="reordering", forbid_unknown_fields=True):
    """Links hold datagrams up by up to `reorder_ms` with probability `reorder`, and later ones overtake them."""

    reorder: float = 0.5
    reorder_ms: float = 300.0

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.0, lasts_s_min=2.0, lasts_s_max=12.0, count_max=3)

    def describe(self) -> str:
        return (
            f"{self.which} holding up {self.reorder:.4g} of the datagrams by up to {self.reorder_ms:g} ms {self.when}"
        )

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        self.check_probability("reorder", self.reorder)
        if not 0 < self.reorder_ms <= 3_600_000:
            raise ScenarioError(f"reordering: reorder_ms {self.reorder_ms:g} must be above 0, and at most an hour.")
        super().check(names, seconds)

    def worse(self, link: LinkProfile) -> LinkProfile:
        return link.worse(reorder=self.reorder, reorder_ms=self.reorder_ms)


class Reset(LinkFault, frozen=True, tag="reset", forbid_unknown_fields=True):
    """Every stream on these links resets at once, and then with probability `reset` for every message until the end."""

    reset: float = 0.3

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.5, lasts_s_min=1.0, lasts_s_max=10.0, count_max=3)
    misleads: ClassVar[bool] = False

    def describe(self) -> str:
        again = f", and with probability {self.reset:.4g} for every message" if self.reset else ""
        return f"all streams on {self.which} reset{again} {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if self.reset:
            self.check_probability("reset", self.reset)
        super().check(names, seconds)

    def worse(self, link: LinkProfile) -> LinkProfile:
        return link.worse(reset=self.reset)

    def strike(self, network: Network, pairs: Pairs) -> Undo:
        network.reset(pairs)
        return super().strike(network, pairs)


class Clog(LinkFault, frozen=True, tag="clog", forbid_unknown_fields=True):
    """Links deliver nothing, and at the end everything in a burst, in order; datagrams beyond a full queue are lost."""

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.5, lasts_s_min=0.2, lasts_s_max=6.0, count_max=2)

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count, way=draw.choice(tuple(WAYS)))

    def describe(self) -> str:
        return f"{self.which} clogged {self.when}"

    def strike(self, network: Network, pairs: Pairs) -> Undo:
        network.clog(pairs)
        return lambda now: network.unclog(now, pairs)
