"""A node that is stopped for a while (SIGSTOP) accuses nobody when it goes on, and is a member again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from protocols.membership.views import ListMembers, MemberList
from scripts.localmesh import LocalNode
from tests.e2e.e2e_support import all_see, ask, eventually, mesh_of, sees, status_of

pytestmark = pytest.mark.xdist_group("e2e-stopped")
PROBES = 5
"""Of a node that is back: each other one twice, and longer than the least time that a suspect has to refute."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[LocalNode]]:
    with mesh_of("desk", "shelf", "box") as nodes:
        yield nodes


async def incarnations(node: LocalNode) -> dict[str, int]:
    listed = await ask(node, MemberList, ListMembers())
    return {member.name: member.incarnation for member in listed.members}


async def test_a_node_that_was_stopped_accuses_nobody_when_it_goes_on(nodes: list[LocalNode]) -> None:
    desk, shelf, box = nodes
    await all_see(nodes, 3)
    before = {node.name: (await status_of(node)).membership.refutations for node in (desk, shelf)}
    assert box.process is not None
    os.kill(box.process.pid, signal.SIGSTOP)
    try:
        for node in (desk, shelf):
            await sees(node, "box", "dead")
    finally:
        os.kill(box.process.pid, signal.SIGCONT)
    await all_see(nodes, 3)
    assert (await incarnations(desk))["box"] > 0  # it was the one to refute
    probes = (await status_of(box)).membership.probes

    async def has_probed() -> bool:
        return (await status_of(box)).membership.probes >= probes + PROBES

    await eventually(has_probed)
    after = {node.name: (await status_of(node)).membership.refutations for node in (desk, shelf)}
    assert after == before
    assert "did not run for a while" in box.log_path.read_text()
