"""What the tests of quorum confirmation share: somebody who asks, answers that were never given, and being asked."""

from __future__ import annotations

from msgspec.structs import replace

from protocols.core import NANOS_PER_S
from protocols.detector.confirm import CHECK_SEQ_BASE, COUNT_BITS, Confirmer, Gathered
from protocols.detector.messages import AskReach, Reach, Reached
from protocols.detector.statements import Question, signed
from protocols.membership.member import State, precedence_of
from protocols.membership.messages import Gossip, Ping
from protocols.outbox import Outbox
from protocols.signing import Signer
from tests.protocols.harness import Host, World, alive, endpoint_of, id_of
from tests.protocols.signing_kit import Stamp

OTHERS = ("b", "c", "d", "e")
SECOND = NANOS_PER_S


class Questioner:
    """Asks on behalf of one node of a world, as a part of its core would: what comes of it is kept."""

    def __init__(self, host: Host, signer: Signer | None = None) -> None:
        self.host = host
        self.gathered: list[Gathered] = []
        self.outbox = Outbox()
        membership = host.node.membership
        config = replace(host.config, signer=signer or host.config.signer)
        self.confirmer = Confirmer(config, membership.swim, membership.evidence, self.outbox)
        self._about = ""

    def ask(self, question: Question, token: int = 7) -> None:
        self._about = question.about
        self._keep(self.confirmer.ask(self.host.world.now, token, question))

    def hears(self, name: str, message: Reached) -> None:
        """`name` says this of the member that was last asked about, and signs it."""
        me = self.host.config.node_id
        self.hears_as_it_is(name, signed(Stamp(id_of(name)), id_of(name), me, self._about, message))

    def hears_as_it_is(self, name: str, message: Reached) -> None:
        self._keep(self.confirmer.on_reached(self.host.world.now, endpoint_of(name), message))

    def fire(self) -> None:
        for each in self.confirmer.fire(self.host.world.now):
            self._keep(each)

    def _keep(self, gathered: Gathered | None) -> None:
        if gathered is not None:
            self.gathered.append(gathered)


def knowing(*names: str) -> Host:
    """A node that knows `names`, none of which exists: a test speaks for them."""
    host = World().add("a").start()
    host.world.run(0.001)
    for name in names:
        host.hears(endpoint_of("z"), Gossip((alive(name),)))
    return host


def questioner(*names: str) -> Questioner:
    """The same, that asks."""
    return Questioner(knowing(*names))


def pair(*, answered: bool = False) -> tuple[World, Host, Host]:
    """A mesh of three, and two of them, a and b: the one has had no answer of the other for a second, so that it has to
    try, or with `answered` has had one within half a second."""
    world = World()
    host, other, _ = world.mesh("a", "b", "c")
    world.run_until(lambda: fresh_for(host, "b") < SECOND // 2 if answered else fresh_for(host, "b") > SECOND)
    return world, host, other


def bereaved() -> tuple[World, Host, Host]:
    """The same two, of which the other has crashed, and the one takes it for dead."""
    world = World()
    host, other, _ = world.mesh("a", "b", "c")
    other.crash()
    world.run_until(lambda: host.sees("b") is State.DEAD)
    return world, host, other


def ids(*names: str) -> tuple[str, ...]:
    return tuple(id_of(name) for name in names)


def numbered(count: int, life: int = 1) -> int:
    """The number of the `count`th question that a node asks in that life."""
    return life << COUNT_BITS | count


def silent(question: int, seconds: float, *, life: int = 1) -> Reached:
    """An answer to the first, the second … question of a first life; `life`: of the one who is silent."""
    precedence = precedence_of(life, 0, State.SUSPECT)
    return Reached(numbered(question), Reach.SILENT, precedence, silent_ms=int(seconds * 1000), pings=3)


def answers(question: int) -> Reached:
    return Reached(numbered(question), Reach.ANSWERS, precedence_of(1, 0, State.ALIVE), has_answered=True)


def asked(host: Host, about: str, number: int = 1, by: str = "asker") -> None:
    host.hears(endpoint_of(by), AskReach(number, id_of(about)))


def told(host: Host, to: str = "asker") -> list[Reached]:
    """What `host` has answered, without the signatures."""
    return [replace(message, credential=b"", signature=b"") for message in host.said_of(Reached, to)]


def tries(host: Host, about: str) -> list[Ping]:
    return [ping for ping in host.said_of(Ping, about) if ping.probe >= CHECK_SEQ_BASE]


def fresh_for(host: Host, name: str) -> int:
    """Nanoseconds since `name` answered `host`."""
    answered = host.node.membership.evidence.last_answer(id_of(name))
    return host.world.now - answered if answered is not None else 1 << 60
