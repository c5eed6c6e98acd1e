"""Real networks that lose packets: UDP that a firewall blocks, and a machine whose cable is pulled."""

from __future__ import annotations

import pytest

from scripts.localmesh import LocalNode, form_mesh
from tests.e2e.e2e_lan import lan_of, why_no_lan
from tests.e2e.e2e_support import all_see, eventually, nodes_in, sees, short_directory, states_seen, status_of

pytestmark = [
    pytest.mark.xdist_group("e2e-cuts"),
    pytest.mark.skipif(bool(why_no_lan()), reason=why_no_lan()),
]

QUICK = "[membership]\nprobe_interval_s = 0.4\nprobe_timeout_s = 0.15\nheal_interval_s = 1.0\n"
LISTEN = ("--listen", "0.0.0.0:7400", "--log-level", "debug")
BLOCK_UDP = "ip rule add pref 100 lookup local && ip rule add pref 1 ipproto udp blackhole && ip rule del pref 0"
PROBES = 12


async def has_probed(node: LocalNode, times: int) -> None:
    """Wait until `node` has probed so often from now on."""
    enough = (await status_of(node)).membership.probes + times

    async def probed() -> bool:
        return (await status_of(node)).membership.probes >= enough

    await eventually(probed)


async def test_members_whose_udp_is_blocked_stay_alive_and_one_that_dies_is_dead_all_the_same() -> None:
    with lan_of(3) as machines, short_directory() as root, nodes_in(root, "desk", "shelf", "rack", toml=QUICK) as nodes:
        desk, shelf, rack = nodes
        for node, machine in zip(nodes, machines, strict=True):
            node.prefix = machine.prefix
        await form_mesh(nodes, *LISTEN)
        await all_see(nodes, 3)
        for machine in machines:
            machine.run(BLOCK_UDP)
        for node in nodes:
            await has_probed(node, PROBES)
        for node in nodes:
            assert set((await states_seen(node)).values()) == {"alive"}
            log = node.log_path.read_text()
            assert "state=suspect" not in log
            assert log.count("answers over TCP alone") == 2, "of each of the others, once"
        rack.kill()
        for node in (desk, shelf):
            await sees(node, "rack", "dead")


async def test_a_machine_whose_cable_was_pulled_is_dead_for_the_others_and_all_agree_once_it_is_plugged_in() -> None:
    with lan_of(3) as machines, short_directory() as root, nodes_in(root, "desk", "shelf", "rack", toml=QUICK) as nodes:
        desk, shelf, rack = nodes
        for node, machine in zip(nodes, machines, strict=True):
            node.prefix = machine.prefix
        await form_mesh(nodes, *LISTEN)
        await all_see(nodes, 3)
        machines[2].run("ip link set lan0 down")
        for node in (desk, shelf):
            await sees(node, "rack", "dead")
        for other in ("desk", "shelf"):
            await sees(rack, other, "dead")
        machines[2].run("ip link set lan0 up && ip route replace default dev lan0")
        await all_see(nodes, 3)
