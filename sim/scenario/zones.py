"""Zones of a mesh: which node is in which, and what the links within and between them are like.

Pure functions of a scenario. A zone is listed with its nodes, or with a share: the nodes that no list names are dealt
out in order and in proportion to the shares, so that `{ eu = 3, us = 2 }` is three and two of five nodes, and six and
four of ten. Shares are no counts, because a swarm draws how many nodes there are, and shrinking takes some away. A node
that is in no zone is in a zone without a name, like all such nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import fields

from sim.errors import ScenarioError, nearest
from sim.faults import Fault
from sim.network import LinkProfile, Topology

if TYPE_CHECKING:
    from sim.scenario.model import Scenario

ZONES_MAX = 1000
LINKS_MAX = 10_000
GROUPS_MAX = 2000
"""Zones and nodes with links of their own, together: the table of profiles is the square of it."""


class LinkBetween(LinkProfile, frozen=True, forbid_unknown_fields=True):
    """The links between two nodes or zones, whatever else is said. Options left out are those of a LAN."""

    between: tuple[str, ...] = ()
    one_way: bool = False
    """Only from the first to the second."""

    @property
    def profile(self) -> LinkProfile:
        """How these links behave."""
        return LinkProfile(**{field.name: getattr(self, field.name) for field in fields(LinkProfile)})


def zones_of(names: Sequence[str], zones: Mapping[str, int | tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Zone → its nodes, in the order of the mesh; for zones that `check_zones` has nothing against."""
    listed = {name for members in zones.values() if isinstance(members, tuple) for name in members}
    free = [name for name in names if name not in listed]
    total = sum(share for share in zones.values() if isinstance(share, int))
    dealt: dict[str, tuple[str, ...]] = {}
    before = 0
    for zone, members in zones.items():
        if isinstance(members, tuple):
            wanted = set(members)
            dealt[zone] = tuple(name for name in names if name in wanted)
        else:
            first, last = (round_half_up(len(free) * share, total) for share in (before, before + members))
            dealt[zone] = tuple(free[first:last])
            before += members
    return dealt


def check_zones(scenario: Scenario) -> None:
    """Raise `ScenarioError` for the first thing that is wrong with the zones and links of a scenario."""
    names = scenario.names
    known = set(names)
    seen: dict[str, str] = {}
    if len(scenario.zones) > ZONES_MAX:
        raise ScenarioError(f"{len(scenario.zones)} zones; at most {ZONES_MAX} can be used.")
    for zone, members in scenario.zones.items():
        if not zone or not zone.isascii() or not zone.replace("-", "").replace("_", "").isalnum():
            raise ScenarioError(f"The zone {zone!r}: a zone's name is letters, digits, - and _, as in eu-west.")
        if zone in known:
            raise ScenarioError(f"The zone {zone!r} is called like a node. Give it another name.")
        if isinstance(members, int):
            if members < 1:
                raise ScenarioError(f"The zone {zone!r}: a share of {members} nodes. It must be 1 or more.")
            continue
        for name in members:
            if name not in known:
                raise ScenarioError(f"The zone {zone!r}: there is no node {name!r}. {nearest(name, names)}")
            if name in seen:
                raise ScenarioError(f"{name} is in the zones {seen[name]!r} and {zone!r}. It can be in one.")
            seen[name] = zone
    if scenario.between_zones is not None:
        if not scenario.zones:
            raise ScenarioError("between_zones says how zones are linked, and there are none. Name them under [zones].")
        scenario.between_zones.check()
    if len(scenario.links) > LINKS_MAX:
        raise ScenarioError(f"{len(scenario.links)} links; at most {LINKS_MAX} can be used. Use zones.")
    for link in scenario.links:
        link.check()
        if len(link.between) != 2:
            raise ScenarioError(f'A link is between two nodes or zones, as in between = ["{names[0]}", "{names[-1]}"].')
        for name in link.between:
            if name not in known and name not in scenario.zones:
                choices = (*names, *scenario.zones)
                raise ScenarioError(
                    f"A link between {' and '.join(link.between)}: there is no node or zone {name!r}. "
                    f"{nearest(name, choices)}"
                )


def check_places(fault: Fault, names: Sequence[str], zone_nodes: Mapping[str, Sequence[str]]) -> None:
    """Raise `ScenarioError` where `fault` names what is neither node nor zone, or a zone that got no node."""
    if not zone_nodes:
        return
    known = set(names)
    for name in fault.named:
        if name not in known and name not in zone_nodes:
            choices = (*names, *zone_nodes)
            raise ScenarioError(f"{fault.describe()}: there is no node or zone {name!r}. {nearest(name, choices)}")
        if name in zone_nodes and not zone_nodes[name]:
            raise _nobody_in(fault, name, len(names))


def check_sizes(faults: Sequence[Fault], zones: Mapping[str, int | tuple[str, ...]], sizes: range) -> None:
    """Raise `ScenarioError` where a fault names a zone that has no node in a mesh of one of `sizes`.

    Rounding may give a zone a node of three and none of four, so that the smallest mesh does not speak for the others.
    """
    listed = sum(len(members) for members in zones.values() if isinstance(members, tuple))
    shares = {zone: share for zone, share in zones.items() if isinstance(share, int)}
    total = sum(shares.values())
    named = {name: fault for fault in faults for name in fault.named if name in shares}
    for name, fault in named.items():
        before = sum(list(shares.values())[: list(shares).index(name)])
        for size in sizes:
            free = size - listed
            if free * shares[name] >= total:
                break  # no rounding takes a whole node away, here or in a larger mesh
            if round_half_up(free * before, total) == round_half_up(free * (before + shares[name]), total):
                raise ScenarioError(f"The swarm: with {size} nodes, {_nobody_in(fault, name, size)}")


def _nobody_in(fault: Fault, zone: str, nodes: int) -> ScenarioError:
    return ScenarioError(
        f"{fault.describe()}: the zone {zone!r} has none of the {nodes} nodes. "
        "Give it a larger share, or use more nodes."
    )


def topology_of(scenario: Scenario) -> Topology | None:
    """What the links of a scenario are like; None where all are alike. Raises `ScenarioError` for too many kinds."""
    if scenario.between_zones is None and not scenario.links:
        return None
    zones = zones_of(scenario.names, scenario.zones)
    zone = {name: place for place, members in zones.items() for name in members}
    apart = {name for link in scenario.links for name in link.between if name not in zones}
    # Nodes that are linked alike are one group: those of a zone, and each that a link names by itself.
    labels = [(zone.get(name, ""), name if name in apart else "") for name in scenario.names]
    groups = list(dict.fromkeys(labels))
    if len(groups) > GROUPS_MAX:
        raise ScenarioError(f"{len(groups)} zones and nodes with links of their own; at most {GROUPS_MAX} can be used.")
    number = {label: index for index, label in enumerate(groups)}
    between = scenario.link if scenario.between_zones is None else scenario.between_zones
    profiles = [[scenario.link if one[0] == other[0] else between for other in groups] for one in groups]
    for link in scenario.links:
        first, second = ([number[label] for label in groups if end in label] for end in link.between)
        for one in first:
            for other in second:
                profiles[one][other] = link.profile
                if not link.one_way:
                    profiles[other][one] = link.profile
    return Topology(tuple(number[label] for label in labels), tuple(map(tuple, profiles)))


def round_half_up(numerator: int, denominator: int) -> int:
    """`numerator / denominator` to the nearest whole number, in whole numbers only."""
    return (2 * numerator + denominator) // (2 * denominator)
