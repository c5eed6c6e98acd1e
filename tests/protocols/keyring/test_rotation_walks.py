"""Keyrings on random walks: changes anywhere, crashes, cuts and a lossy network, drawn from a seed.

Whatever happened, once it is over all members hold one keyring, the primary among it, and every packet opens. Nothing
that was acknowledged is forgotten by a restart.
"""

from __future__ import annotations

from random import Random

import pytest

from protocols.core import NANOS_PER_S
from protocols.keyring.keeper import KEYRING_KEY, LINGER
from protocols.keyring.ring import Keyring, held, joined
from protocols.keyring.views import AddKey, KeysReport, RemoveKey, UseKey
from protocols.membership.member import State
from tests.protocols.harness import Host
from tests.protocols.keyring.keyring_mesh import SealedWorld

NAMES = ("a", "b", "c", "d")
STEPS = 40


class Walk:
    """One mesh, and what befalls it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"keyring walk/{seed}")
        self.world = SealedWorld(seed)
        self.hosts = self.world.sealed_mesh(*NAMES)
        self.acknowledged: dict[str, Keyring] = {}
        """What each member held when it reported a change as made."""
        self.asked: dict[tuple[str, int, int], Host] = {}

    def step(self) -> None:
        host = self.random.choice(self.hosts)
        what = self.random.choice(
            ("add", "add", "use", "use", "use", "remove", "crash", "start", "split", "heal", "wait")
        )
        match what:
            case "crash" if host.core is not None and sum(each.core is not None for each in self.hosts) > 1:
                host.crash(unsaved_survives=self.random.random() < 0.5)
            case "start" if host.core is None:
                host.start()
            case "split":
                cut = self.random.randrange(1, len(NAMES))
                self.world.split(NAMES[:cut], NAMES[cut:])
            case "heal":
                self.world.heal()
            case "add" | "use" | "remove" if host.core is not None:
                self.ask(host, what)
            case _:
                pass
        self.world.run(self.random.choice((0.01, 0.5, 2, 8)))
        self.look()

    def ask(self, host: Host, what: str) -> None:
        key = self.random.choice(held(host.node.keyring.ring)).key_id.hex()
        force = self.random.random() < 0.3
        commands = {
            "add": AddKey(self.random.randbytes(32)),
            "use": UseKey(key, force),
            "remove": RemoveKey(key, force),
        }
        number = host.request(commands[what])
        self.asked[host.name, host.lives, number] = host

    def look(self) -> None:
        for (name, lives, number), host in list(self.asked.items()):
            outcome = host.outcomes.get(number)
            if outcome is None and host.lives == lives and host.core is not None:
                continue
            del self.asked[name, lives, number]
            if isinstance(outcome, KeysReport) and outcome.done and host.core is not None and host.lives == lives:
                stored = host.stored(KEYRING_KEY)
                assert outcome.key in [each.key for each in outcome.keys] or outcome.action == "remove"
                if isinstance(stored, Keyring):
                    self.acknowledged[name] = stored
        for host in self.hosts:
            stored = host.stored(KEYRING_KEY)
            if isinstance(stored, Keyring) and host.name in self.acknowledged:
                assert joined(stored, self.acknowledged[host.name]) == stored, "it has forgotten a change"

    def rest(self) -> None:
        """Heal everything, and wait until all members agree."""
        self.world.heal()
        self.world.loss = 0.0
        for host in self.hosts:
            if host.core is None:
                host.start()
        self.world.run_until(
            lambda: (
                all(host.sees(name) is State.ALIVE for host in self.hosts for name in NAMES)
                and len({host.node.keyring.ring for host in self.hosts}) == 1
            ),
            within_s=300,
        )
        self.world.run(LINGER / NANOS_PER_S + 5)


@pytest.mark.parametrize("seed", range(25))
def test_all_agree_in_the_end_and_every_packet_opens(seed: int) -> None:
    walk = Walk(seed)
    walk.world.loss = 0.1 if seed % 3 == 0 else 0.0
    for _ in range(STEPS):
        walk.step()
    walk.rest()
    rings = {host.node.keyring.ring for host in walk.hosts}
    assert len(rings) == 1
    assert {host.stored(KEYRING_KEY) or host.config.keyring for host in walk.hosts} == rings
    assert len({walk.world.keys_of(host) for host in walk.hosts}) == 1
    walk.world.unopened.clear()
    opened = walk.world.opened
    walk.world.run(60)
    assert walk.world.unopened == []
    assert walk.world.opened > opened + 200
