"""A scenario in words: the mesh, what goes wrong and when, what is checked, when it has failed, how long it takes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from protocols.core import NANOS_PER_S
from protocols.membership.settings import MembershipSettings
from sim.checkers import Checker
from sim.checkers.agreement import agreement_bound
from sim.failure.changes import fault_line, unusual_options
from sim.faults import KINDS, AnyFault
from sim.faults.fault import NodeFault
from sim.faults.mix import Mix
from sim.marks import MARKS
from sim.network import LinkProfile
from sim.scenario import Scenario, expand
from sim.scenario.run import checkers_of
from sim.show.words import plural

WIDTH = 100
FAULTS_SHOWN = 200
ZONE_SHOWN = 12
NODE_SECONDS_PER_S = 3_000.0
"""Nodes × virtual seconds in a second of one core: measured in small meshes with faults, and rounded down."""


def explain(scenario: Scenario, *, drawn: bool) -> Iterator[str]:
    """The lines. With `drawn`, also what the scenario's seed draws."""
    yield from _title(scenario)
    yield from _section("The mesh", _mesh(scenario))
    yield from _section("What goes wrong, in order", _timeline(scenario.faults, scenario.seconds))
    mix = scenario.chosen_mix
    if mix is not None:
        yield from _section("What goes wrong besides, drawn from the seed", _mix(mix))
    if drawn:
        expanded = expand(scenario)
        yield from _section(f"As seed {scenario.seed} draws it", _drawn(scenario, expanded))
    yield from _section("What is checked", _checked(scenario))
    yield from _section("When it has failed", _fails(scenario))
    yield from _section("How long it takes", _takes(scenario))


def sentence_of(checker: type[Checker]) -> str:
    """What a checker holds, in one sentence: the first of its docstring."""
    return " ".join((checker.__doc__ or "").strip().partition("\n\n")[0].split())


def _title(scenario: Scenario) -> Iterator[str]:
    yield f"{scenario.name or 'A scenario'}: {plural(scenario.nodes, 'node')} for {scenario.seconds:g} virtual seconds"


def _membership(settings: MembershipSettings) -> Iterator[str]:
    changed = [
        f"{name} {value:g}"
        for name in settings.__struct_fields__
        if name != "profile" and (value := getattr(settings, name)) is not None
    ]
    if settings.profile != "lan" or changed:
        yield f"Membership: profile {settings.profile}{', but ' if changed else ''}{', '.join(changed)}."


def _mesh(scenario: Scenario) -> Iterator[str]:
    names = scenario.names
    called = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    start = {
        "converged": "They know each other from the start.",
        "join": "They start knowing only the addresses of the first few, and find each other.",
    }[scenario.start]
    yield f"{plural(scenario.nodes, 'node')}, {called}. {start}"
    yield f"Links: {_link(scenario.link)}. " + (
        f"A stream that stalls for {scenario.link.stream_stall_s:g} s resets; it never loses bytes silently."
    )
    yield from _zones(scenario)
    yield from _membership(scenario.membership)
    yield f"Disks: a commit takes {_range(scenario.disk.commit_ms_min, scenario.disk.commit_ms_max, 'ms')}."
    yield (
        f"Clocks: they run fast or slow by up to {scenario.clock.drift_ppm} ppm, and wall clocks are off by up to "
        f"{scenario.clock.skew_ms} ms."
    )
    if scenario.events_per_s:
        yield f"Users tell everybody something {scenario.events_per_s:g} times a second; one in ten is a query."
    if scenario.inquiries_per_s:
        yield f"Operators ask {scenario.inquiries_per_s:g} times a second why a member is believed to be what it is."
    if not scenario.tasks_per_s:
        yield "Nobody hands in tasks."
        return
    handlers = ", ".join(f"{handler.name} ({handler.concurrency} at once)" for handler in scenario.handlers)
    yield f"Callers hand in {scenario.tasks_per_s:g} tasks a second, for the handlers {handlers}."


def _zones(scenario: Scenario) -> Iterator[str]:
    for zone, members in scenario.zone_nodes.items():
        yield f"Zone {zone}: {', '.join(members[:ZONE_SHOWN])}{', …' if len(members) > ZONE_SHOWN else ''}."
    if scenario.between_zones is not None:
        yield f"Links between zones: {_link(scenario.between_zones)}."
    for link in scenario.links:
        arrow = " to " if link.one_way else " and "
        yield f"Links between {arrow.join(link.between)}: {_link(link)}."


def _link(link: LinkProfile) -> str:
    parts = [_range(link.latency_ms_min, link.latency_ms_max, "ms") + " one way"]
    parts += [
        f"{100 * chance:.3g} % of {what}"
        for chance, what in (
            (link.loss, "datagrams are lost"),
            (link.duplicate, "datagrams arrive twice"),
            (link.reorder, "datagrams are overtaken"),
            (link.reset, "stream messages reset their stream"),
        )
        if chance
    ]
    return ", ".join(parts)


def _range(least: float, most: float, unit: str) -> str:
    return f"{least:g} {unit}" if least == most else f"{least:g} to {most:g} {unit}"


def _timeline(faults: Sequence[AnyFault], seconds: float) -> Iterator[str]:
    in_order = sorted(faults, key=lambda fault: fault.start_s)
    for fault in in_order[:FAULTS_SHOWN]:
        yield f"{_at(fault.start_s)}  {fault.describe()}"
    if len(in_order) > FAULTS_SHOWN:
        yield f"… and {plural(len(in_order) - FAULTS_SHOWN, 'fault')} more"
    if not in_order:
        yield "Nothing is set to go wrong."
    yield f"{_at(seconds)}  every fault that is still in force ends, and no new work comes"


def _at(time_s: float) -> str:
    return f"{f'{time_s:g} s':>9}"


def _mix(mix: Mix) -> Iterator[str]:
    for kind, chance in mix.chances.items():
        lasts = _range(chance.lasts_s_min, chance.lasts_s_max, "s")
        whom = ""
        if issubclass(KINDS[kind], NodeFault):
            whom = f", {_range(chance.count_min, chance.count_max, 'node(s)')} each time"
        yield f"{kind}: about {chance.per_minute:g} a minute, for {lasts}{whom}"
    yield f"At most {mix.at_once_max} at the same time, from {mix.start_s:g} s on" + (
        "." if mix.down_max is None else f", and at most {mix.down_max} nodes down or stopped."
    )
    if mix.swarm is None:
        return
    drawn = [f"which kinds take part (each in {100 * mix.swarm.kinds:.0f} % of the seeds)"]
    if mix.swarm.nodes_max:
        drawn.append(f"how many nodes there are ({_range(mix.swarm.nodes_min, mix.swarm.nodes_max, 'nodes')})")
    drawn += [
        what
        for wanted, what in (
            (mix.swarm.latency, "the latencies of links"),
            (True, "what goes wrong on links"),
            (mix.swarm.disk, "the speed of disks"),
            (mix.swarm.tasks_per_s_max > 0, f"the work (up to {mix.swarm.tasks_per_s_max:g} tasks a second)"),
            (mix.swarm.start, "how the mesh starts"),
        )
        if wanted
    ]
    yield f"Every seed draws {'; '.join(drawn)}."


def _drawn(scenario: Scenario, expanded: Scenario) -> Iterator[str]:
    written = dict(unusual_options(scenario))
    drawn = [f"{name} {value}" for name, value in unusual_options(expanded) if written.get(name) != value]
    if drawn:
        yield f"Options: {', '.join(drawn)}."
    if not expanded.faults:
        yield "No fault strikes."
        return
    yield "Whom a fault hits where it names nobody is drawn when it begins, from a stream of its own."
    for fault in sorted(expanded.faults, key=lambda fault: fault.start_s)[:FAULTS_SHOWN]:
        yield f"{_at(fault.start_s)}  {fault_line(fault)}"


def _checked(scenario: Scenario) -> Iterator[str]:
    for checker in checkers_of(scenario):
        yield f"{checker.name}: {sentence_of(checker)}"
    if not scenario.hold:
        yield "That is every property there is; `hold` picks some of them."


def _fails(scenario: Scenario) -> Iterator[str]:
    bound_s = agreement_bound(scenario.membership.swim(), scenario.nodes) / NANOS_PER_S
    yield "One of these is violated at any time; or a node breaks a rule between it and its driver."
    who = "all nodes"
    if scenario.liveness.rest == "broken":
        yield (
            "When the faults are over, only a core, a majority drawn from the seed, is healed, and the rest stays "
            "broken, each node in a way that is drawn."
        )
        who = "the core"
    yield (
        f"After the last disturbance {who} do not come to rest in time: they have "
        f"{scenario.liveness.bound_s or bound_s:.0f} s to agree"
        + (
            ", as the scenario says."
            if scenario.liveness.bound_s
            else "; how that follows is in sim/checkers/agreement.py."
        )
    )
    kinds = [fault.kind() for fault in scenario.faults]
    if scenario.chosen_mix is not None:
        kinds += scenario.chosen_mix.chances
    if kinds:
        yield f"A sweep in which one of these kinds of fault never struck: {', '.join(dict.fromkeys(kinds))}."
    for name in scenario.sometimes:
        yield f"A sweep that never got to {name}: {sentence_of(MARKS[name])}"


def _takes(scenario: Scenario) -> Iterator[str]:
    bound_s = scenario.liveness.bound_s or agreement_bound(scenario.membership.swim(), scenario.nodes) / NANOS_PER_S
    yield (
        f"{scenario.seconds:g} virtual seconds, then until the mesh has come to rest: mostly a few seconds, "
        f"{bound_s:.0f} s or a little more at worst."
    )
    seed_s = scenario.nodes * scenario.seconds / NODE_SECONDS_PER_S
    yield f"On one core very roughly {_wall(seed_s)} a seed, {_wall(500 * seed_s)} for 500."


def _wall(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds:.1g} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield ""
    yield title
    for line in lines:
        indent = len(line) - len(line.lstrip()) + 4
        yield from textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent=" " * indent) or [""]
