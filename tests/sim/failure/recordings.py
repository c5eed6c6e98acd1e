"""Recordings made by hand: a few lines of text say what happened."""

from __future__ import annotations

from protocols.core import NANOS_PER_MS
from sim.checkers.checker import Violation
from sim.record.happening import Happening, Kind, Recording
from sim.scenario import Scenario

NAMES = ("n0", "n1", "n2")


def happened(at_ms: int, kind: Kind, node: int, what: str = "", text: str = "", peer: int = -1) -> Happening:
    until = (at_ms + 1) * NANOS_PER_MS if kind is Kind.MESSAGE else -1
    return Happening(at_ms * NANOS_PER_MS, kind, node, what, text, peer, until)


def verdict(at_ms: int, node: int, about: int, state: str, incarnation: int) -> Happening:
    text = f"n{about} is {state}, generation 1, incarnation {incarnation}"
    return happened(at_ms, Kind.MARK, node, "MemberChanged", text, about)


def ping(at_ms: int, node: int, peer: int) -> Happening:
    return happened(at_ms, Kind.MESSAGE, node, "Ping", "", peer)


def fell(at_ms: int, node: int, text: str) -> Happening:
    return happened(at_ms, Kind.VIOLATION, node, "agreement", text)


def recording(*happenings: Happening, seed: int = 0, forgotten: int = 0, trace_hash: str = "") -> Recording:
    violations = tuple(
        Violation(each.what, each.at / 1e9, NAMES[each.node] if each.node >= 0 else "", each.text)
        for each in happenings
        if each.kind is Kind.VIOLATION
    )
    return Recording(
        Scenario(nodes=len(NAMES), seed=seed), NAMES, happenings, forgotten, violations, trace_hash or f"hash {seed}"
    )
