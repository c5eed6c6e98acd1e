"""`signed_views_hold`: nodes sign and believe each other through faults and between versions, alike in every run."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.core import Message
from protocols.detector.messages import Reached
from protocols.signing import KEYLESS
from sim.faults import Crash, Halves, Liar, Upgrade, Wipe
from sim.scenario import Run, Scenario, run
from sim.scenario.mesh import configs_for
from sim.versions import NEXT, PRESENT, Present

ASKED = Scenario(nodes=5, seconds=30, inquiries_per_s=2)


@pytest.mark.parametrize(
    "scenario",
    [
        replace(ASKED, faults=(Crash(5, 15, 2), Halves(10, 25))),
        replace(ASKED, faults=(Upgrade(5, 25, nodes=("n0", "n1", "n2")),)),
        replace(ASKED, faults=(Wipe(8, 8.2, nodes=("n1",), changed=True), Liar(5, 25, per_s=20, tells="probes"))),
        replace(ASKED, mix="swarm", seed=3, tasks_per_s=1),
    ],
    ids=["crashes and a cut", "two versions", "wiped, and lied to", "everything"],
)
def test_it_holds_whatever_happens(scenario: Scenario) -> None:
    report = run(scenario)
    assert report.violations == ()
    assert report.tasks["asked why: Explanation"] > 20
    assert report.tasks["asked why: views"] > 60


def test_runs_that_sign_are_the_same_runs() -> None:
    one, other = run(ASKED), run(ASKED)
    assert one.trace_hash == other.trace_hash
    assert run(replace(ASKED, seed=1)).trace_hash != one.trace_hash
    keys = [[config.signer.credential for config in configs_for(replace(ASKED, seed=seed))] for seed in (1, 1, 2)]
    assert keys[0] == keys[1] != keys[2]


def test_a_node_that_does_not_sign_is_noticed() -> None:
    one = Run(ASKED)
    silent = one.world.processes[2]
    silent.config = replace(silent.config, signer=KEYLESS)
    one.start()
    one.faults_phase()
    one.finish()
    violations = one.world.watch.violations
    assert {violation.property for violation in violations} == {"signed_views_hold"}
    assert any("a view of n2 on" in violation.text and "not signed" in violation.text for violation in violations)
    # And it believes nobody's signature, for it has nothing to check one with.
    assert any(violation.node == "n2" and "does not believe what" in violation.text for violation in violations)


class Unsigned(Present):
    """The version before views were signed, as its nodes wrote and read them."""

    def known(self, message: Message) -> Message:
        return replace(message, credential=b"", signature=b"") if isinstance(message, Reached) else message

    def encode_message(self, message: Message, kind: int) -> bytes:
        return super().encode_message(self.known(message), kind)

    def decode_message(self, data: bytes) -> Message:
        return self.known(super().decode_message(data))


def test_in_a_mesh_that_is_being_upgraded_views_of_the_older_are_shown_as_unsigned_and_none_is_refused() -> None:
    one = Run(ASKED)
    one.world.versions.codecs = {NEXT: Present(), PRESENT: Unsigned()}
    for process in one.world.processes[:2]:
        process.installed = NEXT
    one.start()
    one.faults_phase()
    one.finish()
    told = [(each.property, each.node, each.text.partition(" on ")[0]) for each in one.world.watch.violations]
    older = {f"shows a view of n{number}" for number in (2, 3, 4)}
    by_newer = {text for _, node, text in told if node in ("n0", "n1")}
    assert by_newer == older  # of each other they have signed ones, and of n0's and n1's own words, too
    assert {name for name, _, _ in told} == {"signed_views_hold"}
    assert not any("does not believe" in violation.text for violation in one.world.watch.violations)
