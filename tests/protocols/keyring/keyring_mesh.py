"""A mesh whose packets are sealed, on virtual time: every packet carries the key that its sender seals with, and opens
only where the receiver holds it, or still retires it. What does not open waits for a moment, as it does in
`meshnode/transport/packets.py`, and is counted if its key does not come."""

from __future__ import annotations

from msgspec.structs import replace

from protocols.core import NANOS_PER_S, Carrier, Endpoint, Instant, Outcome, Put, Refused
from protocols.keyring.keeper import KEYRING_KEY, keyring_at_start
from protocols.keyring.ring import KEY_BYTES, Keyring, first_keyring, held, key_id
from protocols.keyring.views import AddKey, KeysChanged, KeysReport, ListKeys, RemoveKey, TellKeys, UseKey
from tests.protocols.harness import Host, World, config_of

OLD, NEW, NEWER = (bytes([number]) * KEY_BYTES for number in (1, 2, 3))
OLD_ID, NEW_ID, NEWER_ID = (key_id(key).hex() for key in (OLD, NEW, NEWER))
UNSEALED = bytes(KEY_BYTES)
PARK = 3 * NANOS_PER_S


class SealedWorld(World):
    """A world in which a packet reaches only who can open it. `unopened` names sender and receiver of the others."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.unopened: list[tuple[str, str]] = []
        self.opened = 0
        self.parked: list[tuple[Host, Host, bytes, Instant]] = []
        self._began: dict[str, tuple[int, int, tuple[bytes, ...]]] = {}

    def member(self, name: str, *, keys: tuple[bytes, ...] = (OLD,)) -> Host:
        """A host of the mesh, not started."""
        return self.add(name, replace(config_of(name, seeds=("a",)), keyring=first_keyring(keys)))

    def sealed_mesh(self, *names: str) -> list[Host]:
        """Started members that all know each other."""
        hosts = [self.member(name).start() for name in names]
        self.run_until(lambda: all(len(host.node.members()) == len(names) for host in hosts))
        return hosts

    def keys_of(self, host: Host) -> tuple[bytes, ...]:
        """What opens at `host`, by what its driver was told; the first key seals."""
        lives, since, first = self._began.get(host.name, (0, 0, ()))
        if lives != host.lives:
            stored = host.stored(KEYRING_KEY)
            saved = [Put(KEYRING_KEY, stored)] if isinstance(stored, Keyring) else []
            first = tuple(key.secret for key in held(keyring_at_start(host.config.keyring, saved)))
            since = len(host.facts)
            self._began[host.name] = (host.lives, since, first)
        changes = [fact for fact in host.facts[since:] if isinstance(fact, KeysChanged)]
        return (*changes[-1].keys, *changes[-1].retiring) if changes else first

    def carry(self, source: Host, to: Endpoint, data: bytes, carrier: Carrier) -> None:
        key = self.keys_of(source)[0] if carrier is Carrier.DATAGRAM else UNSEALED
        super().carry(source, to, key + data, carrier)

    def _deliver(self, source: Host, target: Host, data: bytes) -> None:
        if target.core is None:
            return
        key, message = data[:KEY_BYTES], data[KEY_BYTES:]
        if key not in (UNSEALED, *self.keys_of(target)):
            self.parked.append((source, target, data, self.now))
            self.after(PARK, self._expire)
            target.request(TellKeys(source.config.node_id))
            return
        self.opened += key != UNSEALED
        super()._deliver(source, target, message)
        ready = [each for each in self.parked if each[1] is target and each[2][:KEY_BYTES] in self.keys_of(target)]
        self.parked = [each for each in self.parked if each not in ready]
        for sender, _, waiting, _ in ready:
            self._deliver(sender, target, waiting)

    def _expire(self) -> None:
        for each in [each for each in self.parked if each[3] + PARK <= self.now]:
            self.parked.remove(each)
            self.unopened.append((each[0].name, each[1].name))


Command = ListKeys | AddKey | UseKey | RemoveKey
FIRST = first_keyring([OLD])


def reported(outcome: Outcome) -> KeysReport:
    assert isinstance(outcome, KeysReport), outcome
    return outcome


def done(host: Host, command: Command) -> KeysReport:
    """The report of a change that reached everybody."""
    report = reported(host.ask(command))
    assert (report.done, report.code) == (True, ""), report
    return report


def refused(outcome: Outcome) -> Refused:
    assert isinstance(outcome, Refused), outcome
    assert outcome.next_step
    return outcome


def holds(host: Host) -> list[bytes]:
    return [key.secret for key in held(host.node.keyring.ring)]


def states_of(report: KeysReport) -> dict[str, str]:
    return {member.name: member.state for member in report.members}
