"""Who is told of what: a run pays only for what somebody watches."""

from __future__ import annotations

from protocols.core import Instant
from protocols.membership.messages import Gossip, Ping, PushPull
from sim.checkers import Checker
from sim.process import Process
from sim.scenario import Run, Scenario
from sim.world import World


class Listener(Checker):
    """Remembers every message that it is told of."""

    name = "listener"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.told: list[Ping | Gossip | PushPull] = []

    def on_message(self, now: Instant, process: Process, message: Ping | Gossip | PushPull) -> None:
        self.told.append(message)


class Everything(Listener):
    messages = (Ping, Gossip)


class News(Listener):
    messages = (PushPull,)
    news = (Ping, Gossip)


def test_who_wants_news_is_told_of_those_messages_alone_that_bring_updates() -> None:
    one = Run(Scenario(nodes=5, seconds=20, start="join"), (Everything, News))
    one.start()
    one.faults_phase()
    everything, news = one.world.watch.checkers
    assert isinstance(everything, Everything)
    assert isinstance(news, News)
    told_of = [each for each in news.told if not isinstance(each, PushPull)]
    assert told_of == [each for each in everything.told if not isinstance(each, PushPull) and each.updates]
    assert 0 < len(told_of) < len(everything.told), "nodes that join bring news, and probes of a quiet mesh do not"
    assert len(told_of) < len(news.told), "and all of a type that it wants without conditions"
