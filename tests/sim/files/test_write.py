"""Scenarios as text: what is written loads back to the same, and reads well."""

from __future__ import annotations

import random
import tomllib

import pytest
from hypothesis import given, settings

from protocols.config import HandlerSpec
from sim.errors import ScenarioError
from sim.faults import KINDS, Crash, Groups, Halves, Isolate
from sim.files import dumps, loads
from sim.network import LinkProfile
from sim.scenario import Liveness, Scenario, expand
from tests.sim.files.strategies import scenarios

WRITTEN = """\
# A failure.
#
# seed 7

name = "two \\"halves\\""
nodes = 6
hold = ["agreement", "one_reply"]
faults = [
  { kind = "halves", start_s = 20, end_s = 40.5 },
  { kind = "crash", start_s = 3, salt = 4 },
  { kind = "isolate", start_s = 1, end_s = 2, nodes = ["n1", "n2"] },
]

[link]
latency_ms = [0.2, 30]
loss = 0.05

[workload]
tasks_per_s = 4

[workload.handlers]
"do it" = 2

[liveness]
rest = "broken"
bound_s = 90
"""


def test_what_is_usual_is_left_out_and_a_fault_is_one_line() -> None:
    scenario = Scenario(
        name='two "halves"',
        nodes=6,
        hold=("agreement", "one_reply"),
        faults=(Halves(20, 40.5), Crash(3, salt=4), Isolate(1, 2, nodes=("n1", "n2"))),
        link=LinkProfile(latency_ms_max=30, loss=0.05),
        tasks_per_s=4,
        handlers=(HandlerSpec("do it", 2),),
        liveness=Liveness("broken", 90),
    )
    text = dumps(scenario, comment="A failure.\n\nseed 7")
    assert text == WRITTEN
    assert loads(text) == scenario


def test_the_default_scenario_is_an_empty_file() -> None:
    assert dumps(Scenario()) == "\n"
    assert loads(dumps(Scenario())) == Scenario()


@settings(deadline=None, max_examples=60)
@given(scenarios())
def test_what_is_written_loads_back_to_the_same(scenario: Scenario) -> None:
    assert loads(dumps(scenario, comment="# any\ncomment = 1")) == scenario


@settings(deadline=None, max_examples=40)
@given(scenarios())
def test_so_does_what_was_drawn(scenario: Scenario) -> None:
    drawn = expand(scenario)
    assert loads(dumps(drawn)) == drawn


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_fault_has_a_file_form(kind: str) -> None:
    fault = KINDS[kind].drawn(random.Random(7), 20.0, 40.0, 2)
    if isinstance(fault, Groups):
        fault = Groups(20, 40, groups=(("n0", "n1"), ("n2",)))
    scenario = Scenario(faults=(fault,))  # type: ignore[arg-type]  # every kind is one of `AnyFault`
    assert f'kind = "{kind}"' in dumps(scenario)
    assert loads(dumps(scenario)) == scenario


def test_long_lists_go_over_lines_that_can_be_read_again() -> None:
    nodes = tuple(f"n{index}" for index in range(1500))
    scenario = Scenario(nodes=2000, faults=(Isolate(1, 2, nodes=nodes),))
    text = dumps(scenario)
    assert max(map(len, text.splitlines())) <= 120
    assert loads(text) == scenario


def test_a_comment_can_break_nothing() -> None:
    text = dumps(Scenario(nodes=3), comment="seed = 4\r\nx\x0bnodes = 9\u2028seed = 2\x00")
    assert tomllib.loads(text) == {"nodes": 3}


def test_a_scenario_that_cannot_be_run_is_not_written() -> None:
    with pytest.raises(ScenarioError, match="0 nodes"):
        dumps(Scenario(nodes=0))
    with pytest.raises(ScenarioError, match="Two handlers are called 'x'"):
        dumps(Scenario(handlers=(HandlerSpec("x"), HandlerSpec("x"))))
