"""Values as people write them, and outcomes as people and programs read them: pure functions of the command line."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import msgspec
import pytest

from meshnode.cli import tables
from meshnode.cli.documents import embedded, task_document
from meshnode.cli.present import printable
from meshnode.cli.values import parse_seconds, parse_state, read_json, read_token
from meshnode.errors import ExitCode, MeshError
from protocols.limits import PAYLOAD_BYTES_MAX
from protocols.tasks.task import TaskState, TaskView


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("1.5", 1.5), (".5", 0.5), ("250ms", 0.25), ("90s", 90.0), ("10m", 600.0), (" 1 h ", 3600.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds("--wait", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1", "1e3", "nan", "inf", "1h30m", "8d", "9" * 400, "٣"])
def test_what_is_no_duration_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(MeshError) as caught:
        parse_seconds("--wait", text)
    assert (caught.value.code, caught.value.exit_code) == ("bad_value", ExitCode.USAGE)
    assert "--wait" in caught.value.message


def test_every_state_has_its_name() -> None:
    for state in TaskState:
        assert parse_state(state.name.lower()) is state
        assert parse_state(state.name) is state


def test_json_is_checked_and_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"b": 1.50, "a": 12345678901234567890123, "ü": "\\u00e9"}'
    assert read_json("--payload", f"  {text}\n") == text
    (tmp_path / "file.json").write_text(text + "\n")
    assert read_json("--payload", f"@{tmp_path}/file.json") == text
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert read_json("--payload", "-", object_only=True) == text


def test_json_of_just_the_limit_is_taken_and_one_byte_more_is_not(tmp_path: Path) -> None:
    fits = '"' + "x" * (PAYLOAD_BYTES_MAX - 2) + '"'
    assert read_json("--payload", fits) == fits
    (tmp_path / "big.json").write_text(fits + " ")
    for argument in (fits + " ", f"@{tmp_path}/big.json"):
        with pytest.raises(MeshError) as caught:
            read_json("--payload", argument)
        assert caught.value.code == "too_large"


def test_a_token_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("mesh1.abc\n")
    assert read_token(f"@{tmp_path}/token") == read_token(" mesh1.abc ") == "mesh1.abc"


@pytest.mark.parametrize("text", ["nonsense", "NaN", "[" * 5000, '{"a": 1} x', ""])
def test_output_that_is_no_json_is_shown_as_the_text_that_it_is(text: str) -> None:
    assert embedded(text) == text


def test_output_is_kept_to_every_digit() -> None:
    text = '{"n":123456789012345678901234567890.10,"s":"\\u0000"}'
    assert msgspec.json.encode({"output": embedded(text)}) == f'{{"output":{text}}}'.encode()


def test_a_task_document_has_every_field_of_the_task() -> None:
    task = TaskView("t", "h", "k", TaskState.DEAD, 3, "c", "w", "desk", "", "why", 5, 6)
    document = task_document(task)
    assert set(TaskView.__struct_fields__) <= set(document)
    assert (document["state"], document["final"], document["output"]) == ("dead", True, None)


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ('{"content": [{"type": "text", "text": "a\\u001b[1m"}], "isError": false}', "a\\x1b[1m"),
        (
            '{"content": [{"type": "text", "text": "a"}, {"type": "image", "data": "x"}]}',
            'a\n{"type": "image", "data": "x"}',
        ),
        ('{"content": [], "structuredContent": {"n": 1}}', '{"n": 1}'),
        ('{"content": [7]}', '{"content": [7]}'),
        ('"plain"', "plain"),
        ("[1, 2]", "[1, 2]"),
        ("nonsense", "nonsense"),
        ("", ""),
    ],
)
def test_tool_answers(output: str, shown: str) -> None:
    assert tables.tool_answer(output) == shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0124, "12ms"),
        (3.44, "3.4s"),
        (60, "1m"),
        (320.9, "5m 20s"),
        (7380, "2h 3m"),
        (3600, "1h"),
        (349_200, "4d 1h"),
    ],
)
def test_time_spans(seconds: float, text: str) -> None:
    assert tables.duration(seconds) == text


def test_no_control_character_gets_through() -> None:
    text = "".join(map(chr, range(32))) + "\x7f\x85\x9b\u202e ok ü\n"
    shown = printable(text)
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert shown.endswith(" ok ü\n")
    assert json.loads(json.dumps(shown)) == shown
