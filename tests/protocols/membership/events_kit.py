"""Events to be told, and hosts that hear them, for the tests of user events."""

from __future__ import annotations

from collections.abc import Iterable

from protocols.membership.event_views import EventList, EventSent, ReadEvents, SendEvent
from protocols.membership.messages import Gossip
from protocols.membership.rumours import UserEvent
from tests.protocols.harness import Host, World, alive, config_of, endpoint_of, id_of

TOP = (1 << 62) - 1
MINUTE = 60 * 10**9


def event(origin: str, number: int, *, ltime: int = 0, generation: int = 1, payload: str = "") -> UserEvent:
    return UserEvent(id_of(origin), generation, number, ltime or number, "told", payload or f"{origin}{number}")


def payloads(host: Host, *, after: str = "") -> list[str]:
    """What users of `host` can read."""
    listed = host.ask(ReadEvents(after, limit=512))
    assert isinstance(listed, EventList)
    return [each.payload for each in listed.events]


def send(host: Host, payload: str) -> EventSent:
    sent = host.ask(SendEvent("told", payload))
    assert isinstance(sent, EventSent), sent
    return sent


def met(*names: str, checked: bool = True) -> Host:
    """A host by itself that has heard of others, none of which answers."""
    host = World().add("a", config_of("a")).start()
    host.checked = checked
    host.world.run(0.1)
    host.hears(endpoint_of("b"), Gossip(tuple(alive(name) for name in names)))
    return host


def hears(host: Host, events: Iterable[UserEvent], *, by: str = "z") -> None:
    for each in events:
        host.hears(endpoint_of(by), Gossip((), (each,)))
    host.world.run(0.1)
