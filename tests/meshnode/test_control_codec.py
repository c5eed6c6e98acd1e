"""Lines of the control socket: what is valid survives, what is not is one named error."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.calls import CallerCommand, CallerOutcome, CreateToken, Inspect, Inspection, TokenCreated
from meshnode.control.codec import (
    ANSWER_BYTES_MAX,
    REQUEST_BYTES_MAX,
    BadAnswer,
    BadRequest,
    Call,
    decode_answer,
    decode_call,
    encode_answer,
    encode_call,
)
from meshnode.errors import ExitCode, MeshError
from meshnode.transport.traffic import Flow
from protocols.core import Refused, Unknown
from protocols.detector.why import Explanation, Finding, OwnFindings, SuspicionView, Teller, Why
from protocols.membership.rtt import EstimateRtt, RttEstimate, RttView
from protocols.membership.views import GetStatus, Leave, ListMembers, MemberView
from protocols.tasks.task import Accepted, CancelTask, GetTask, ListTasks, Submit, TaskState
from protocols.tools import FindTools

ONE, TWO = Teller("a" * 26, "one"), Teller("b" * 26, "")
EXPLANATION = Explanation(
    MemberView("b" * 26, "two", "h:1", "suspect", 1, 2, ("h",), "", 1, 3.5),
    ONE,
    OwnFindings(9.5, 3.5, 1.25, 2, (ONE,), (TWO,)),
    (Finding(ONE, "silent", "suspect", 2, -1.0, 4.0, (TWO,)),),
    (TWO,),
    SuspicionView(True, (ONE, TWO), 3.5, 12.0, 1),
)


@pytest.mark.parametrize(
    "command",
    [
        Submit("h", '{"a": "ü\u2028"}', key="k", idempotency_key="i", timeout_ms=5, submitted_unix_ms=7),
        GetTask("t", 5),
        CancelTask("t"),
        ListTasks((TaskState.DEAD,), 3),
        ListMembers(),
        GetStatus(),
        Why("box"),
        EstimateRtt("a", "b"),
        Leave(),
        FindTools("q", "s", "t", 4),
        CreateToken(60.0, 2),
        Inspect(),
    ],
)
def test_every_command_survives_the_wire(command: CallerCommand) -> None:
    line = encode_call(3, command)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode_call(line[:-1]) == Call(3, command)


@pytest.mark.parametrize(
    "outcome",
    [
        Accepted("t", "n", True),
        TokenCreated("tok", 1.5, 2),
        RttEstimate("a", "i", "b", "j", RttView(1.5, 0.25, "probes", 3, 2.0)),
        Refused("code", "message", "next", 0.25),
        Unknown("message", "next"),
        Inspection(1, "v", 2, "", {"seal": 3}, 4, 5, 6, {"ping": Flow(1, 2, 3, 4)}, 0.5, 1.5, 2.5),
        EXPLANATION,
    ],
)
def test_every_outcome_survives_the_wire(outcome: CallerOutcome) -> None:
    answer = decode_answer(encode_answer(9, outcome)[:-1])
    assert (answer.id, answer.outcome) == (9, outcome)


@pytest.mark.parametrize(
    ("line", "call_id", "word"),
    [
        (b"", None, "not valid JSON"),
        (b"{", None, "not valid JSON"),
        (b"\xff\xfe", None, "not valid JSON"),
        (b"[1, 2]", None, "object"),
        (b'{"id": 4}', 4, "command"),
        (b'{"id": -1, "command": {"type": "inspect"}}', None, "id"),
        (b'{"id": "x", "command": {"type": "inspect"}}', None, "id"),
        (b'{"id": 5, "command": {"type": "explode"}}', 5, "explode"),
        (b'{"id": 6, "command": {"type": "inspect", "loud": true}}', 6, "loud"),
        (b'{"id": 7, "command": {"type": "inspect"}, "extra": 1}', 7, "extra"),
        (b'{"id": 8, "command": {"type": "get_task", "task_id": "t", "wait_ms": -1}}', 8, "wait_ms"),
        (b'{"id": 9, "command": {"type": "submit", "handler": "\xff"}}', 9, "JSON"),
        (b'{"id": 1, "command": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001, None, "deeply"),
    ],
)
def test_a_bad_line_is_a_bad_request_with_its_id_where_that_can_be_read(
    line: bytes, call_id: int | None, word: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_call(line)
    assert caught.value.call_id == call_id
    assert word in caught.value.why


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(msgspec.json.encode))
def test_arbitrary_lines_raise_nothing_else(line: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_call(line)
    with pytest.raises(BadAnswer):
        decode_answer(line)


def test_a_request_over_the_limit_is_not_encoded() -> None:
    with pytest.raises(MeshError) as caught:
        encode_call(1, Submit("h", "x" * REQUEST_BYTES_MAX))
    assert (caught.value.code, caught.value.exit_code) == ("too_large", ExitCode.USAGE)


def test_text_that_is_not_unicode_is_refused_before_it_is_sent() -> None:
    with pytest.raises(MeshError) as caught:
        encode_call(1, GetTask("\udcff"))
    assert caught.value.code == "bad_text"


def test_an_answer_over_the_limit_becomes_a_refusal() -> None:
    line = encode_answer(1, Refused("c", "x" * ANSWER_BYTES_MAX))
    outcome = decode_answer(line[:-1]).outcome
    assert isinstance(outcome, Refused)
    assert outcome.code == "answer_too_large"
