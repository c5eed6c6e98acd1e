"""What a member says that is broken and lies: of the right types, within the bounds of the codec, and false.

Its core goes on as ever, so it answers probes and passes news on; these are said besides, in its name, for a member's
streams and packets prove who it is and nothing else. It knows what its own table knows, so what it claims of others is
about the members that there are, in numbers that outdo what is believed of them: by one, by as many as may pass, by as
many as there are. Of members that there are not it does not speak: a table that is filled with those is another matter
(`limits.MEMBERS_MAX`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from msgspec.structs import replace

from protocols.core import Message
from protocols.detector.messages import Reach, Reached
from protocols.keyring.messages import Keys, KeysAsk, KeysHeld
from protocols.keyring.ring import KeyEntry, Keyring, key_id
from protocols.limits import WEIGHT_MAX
from protocols.membership.coordinates import DIMENSIONS, ERROR_MAX, ERROR_UNIT, SPAN_US, Coordinate
from protocols.membership.member import (
    GENERATION_MAX,
    INCARNATION_MAX,
    Accusation,
    Alive,
    Believed,
    Member,
    Refutation,
    State,
    Update,
    precedence_of,
)
from protocols.membership.messages import Ack, Gossip, Nack, Ping, PingReq, PushPull, StreamAck
from protocols.membership.rumours import (
    LAMPORT_BITS,
    NUMBER_BITS,
    EventDigest,
    Events,
    EventsWanted,
    Mark,
    QueryAnswer,
    UserEvent,
    UserQuery,
)
from protocols.membership.vitals import COUNT_MAX, WHOLE, Vitals

Topic = Literal["everything", "deaths", "races", "lives", "tables", "probes", "events", "keys"]
TOPICS: tuple[Topic, ...] = get_args(Topic)[1:]

ACCUSED_MAX = 6
PROBE_MAX = (1 << 62) - 1
MINUTES_MAX = (1 << 32) - 1
NUMBER_MAX = (1 << NUMBER_BITS) - 1
LAMPORT_MAX = (1 << LAMPORT_BITS) - 1
NOWHERE = "nobody.invalid:7000"


class Lies:
    """What one liar says, lie by lie."""

    def __init__(self, draw: random.Random, topic: Topic) -> None:
        self._draw = draw
        self._topics = TOPICS if topic == "everything" else (topic,)
        self._ahead = 0
        self._tellers: dict[Topic, Callable[[Member, Sequence[Member]], Message]] = {
            "deaths": self._deaths,
            "races": self._races,
            "lives": self._lives,
            "tables": self._tables,
            "probes": self._probes,
            "events": self._events,
            "keys": self._keys,
        }

    def next(self, me: Member, others: Sequence[Member]) -> Message:
        """The next lie of the member `me` about some of `others`, of whom there is at least one."""
        return self._tellers[self._draw.choice(self._topics)](me, others)

    # Precedence.

    def _forged(self, row: Member, *states: State) -> int:
        """Words that mostly outdo what is believed of a member, by a little or by all that there is."""
        draw = self._draw
        generation = draw.choice(
            (
                row.generation,
                row.generation,
                row.generation,
                row.generation + 1,
                row.generation + draw.randint(1, 1 << 10),
                GENERATION_MAX // 2,
                GENERATION_MAX // 2 + 1,
                GENERATION_MAX - 1,
                GENERATION_MAX,
            )
        )
        incarnation = draw.choice(
            (
                row.incarnation,
                row.incarnation + 1,
                row.incarnation + draw.randint(1, 1 << 20),
                row.incarnation + (1 << 21),
                INCARNATION_MAX - 1,
                INCARNATION_MAX,
            )
        )
        return precedence_of(min(generation, GENERATION_MAX), min(incarnation, INCARNATION_MAX), draw.choice(states))

    def _accused(self, others: Sequence[Member]) -> list[Member]:
        return self._draw.sample(others, min(len(others), self._draw.randint(1, ACCUSED_MAX)))

    def _carried(self, updates: list[Update]) -> Message:
        """Some message that carries updates."""
        draw = self._draw
        kind = draw.randrange(3)
        if kind == 0:
            return Gossip(tuple(updates))
        probe = draw.randint(0, PROBE_MAX)
        return Ping(probe, tuple(updates)) if kind == 1 else Ack(probe, tuple(updates))

    # Topics.

    def _deaths(self, me: Member, others: Sequence[Member]) -> Message:
        """Who is well is suspect, dead or gone."""
        by = self._draw.choice(others).alive.node_id
        words: list[Update] = [
            Accusation(row.alive.node_id, self._forged(row, State.SUSPECT, State.DEAD, State.DEAD, State.LEFT), by)
            for row in self._accused(others)
        ]
        return self._carried(words)

    def _races(self, me: Member, others: Sequence[Member]) -> Message:
        """Everybody is dead in an incarnation that they have not come to, and in a larger one the next time."""
        self._ahead += self._draw.randint(1, 8)
        words: list[Update] = []
        for row in self._accused(others):
            incarnation = min(row.incarnation + self._ahead, INCARNATION_MAX)
            precedence = precedence_of(row.generation, incarnation, self._draw.choice((State.DEAD, State.LEFT)))
            words.append(Accusation(row.alive.node_id, precedence, me.alive.node_id))
        return Gossip(tuple(words))

    def _lives(self, me: Member, others: Sequence[Member]) -> Message:
        """Others are alive in lives and at places that are not theirs; and dead in the next breath."""
        draw = self._draw
        words: list[Update] = []
        for row in self._accused(others)[:2]:
            node_id, precedence = row.alive.node_id, self._forged(row, State.ALIVE)
            if draw.random() < 0.3:
                words.append(Refutation(node_id, precedence))
                continue
            address = draw.choice((row.alive.profile.address, me.alive.profile.address, NOWHERE))
            changed = replace(row.alive.profile, address=address, handlers=(), weight=draw.choice((0, WEIGHT_MAX)))
            words.append(Alive(node_id, precedence, changed))
            words.append(Accusation(node_id, precedence | draw.choice((State.DEAD, State.LEFT)), me.alive.node_id))
        return self._carried(words)

    def _tables(self, me: Member, others: Sequence[Member]) -> Message:
        """A table in which nothing is right."""
        draw = self._draw
        rows: list[Alive | Believed] = []
        for row in self._accused(others):
            announced = Alive(row.alive.node_id, self._forged(row, State.ALIVE), row.alive.profile)
            believed = max(announced.precedence, self._forged(row, State.SUSPECT, State.DEAD, State.LEFT))
            age = draw.choice((0, 1, draw.randint(0, MINUTES_MAX), MINUTES_MAX))
            rows.append(draw.choice((announced, Believed(announced, believed, me.alive.node_id, age))))
            rows.append(Believed(row.alive, max(row.precedence, believed), me.alive.node_id, age))
        return PushPull(tuple(rows), draw.random() < 0.2)

    def _probes(self, me: Member, others: Sequence[Member]) -> Message:
        """Answers that nobody asked for, in numbers that nobody gave, from the end of the world."""
        draw = self._draw
        probe = draw.choice((0, 1, draw.randint(0, 100), PROBE_MAX))
        vitals = Vitals(COUNT_MAX, COUNT_MAX, draw.choice((0, COUNT_MAX)), WHOLE, WHOLE)
        edge = draw.choice((-SPAN_US, 0, SPAN_US))
        error = draw.choice((0, int(ERROR_MAX * ERROR_UNIT)))
        there = Coordinate((edge,) * DIMENSIONS, draw.choice((0, SPAN_US)), draw.choice((-SPAN_US, SPAN_US)), error)
        target = draw.choice(others).alive
        millis = (1 << 48) - 1
        accusers = (me.alive.node_id,) * 8
        return draw.choice(
            (
                Ping(probe, (), vitals),
                Ack(probe, (), vitals, there),
                Nack(probe),
                StreamAck(probe),
                PingReq(probe, target.node_id, draw.choice((target.profile.address, NOWHERE, ""))),
                Reached(probe, Reach.SILENT, self._forged(others[0], State.DEAD), accusers, True, millis, millis, 1),
            )
        )

    def _events(self, me: Member, others: Sequence[Member]) -> Message:
        """Events and queries of others, from the end of time."""
        draw = self._draw
        row = draw.choice((me, *others))
        node_id = row.alive.node_id
        generation = draw.choice((row.generation, row.generation + 1, GENERATION_MAX))
        number = draw.choice((0, draw.randint(1, 4), 200, 1000, NUMBER_MAX))
        event = UserEvent(node_id, generation, number, draw.choice((0, LAMPORT_MAX, LAMPORT_MAX // 2)), "lie", "x" * 99)
        query = UserQuery(node_id, generation, number, draw.choice((100, 45_000)), "members", "")
        return draw.choice(
            (
                Gossip((), (event, query)),
                Events((event,), draw.random() < 0.5, generation, NUMBER_MAX),
                EventDigest(LAMPORT_MAX, (Mark(node_id, generation, number),), draw.random() < 0.5, True),
                EventsWanted(generation, number),
                QueryAnswer(generation, number, "no"),
            )
        )

    def _keys(self, me: Member, others: Sequence[Member]) -> Message:
        """Keyrings that nobody has made."""
        draw = self._draw
        secret = draw.randbytes(draw.choice((0, 16, 32)))
        version = draw.choice((0, 1 << 20, (1 << 62) - 1))
        entry = KeyEntry(draw.choice((key_id(secret), draw.randbytes(4))), version, secret)
        ring = Keyring((entry,), draw.choice((entry, None)))
        return draw.choice((Keys(ring), KeysAsk(draw.randint(0, 9), ring), KeysHeld(draw.randint(0, 9), (b"lies",))))
