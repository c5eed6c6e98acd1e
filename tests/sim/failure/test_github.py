"""GitHub's workflow commands: one line each, escaped as the runner unescapes, never more than it shows."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest

from sim.failure.github import ERRORS_MAX, TEXT_MAX, github_error, github_errors, github_group, on_github

COMMAND = re.compile(r"::(\w+) ?([^:]*)::(.*)")


def understood(line: str) -> tuple[str, dict[str, str], str]:
    """A command as the runner reads it: name, properties, message."""
    assert "\n" not in line
    assert "\r" not in line
    match = COMMAND.fullmatch(line)
    assert match is not None
    properties = dict(part.split("=", 1) for part in match[2].split(",") if part)
    return match[1], {name: unquote(value) for name, value in properties.items()}, unquote(match[3])


@pytest.mark.parametrize(
    "text", ["plain", "50 % lost", "two\nlines\r\n", "a: b, c :: d", "%0A is no line end", "::error::nested", "é ✗"]
)
def test_what_is_written_is_what_is_read(text: str) -> None:
    name, properties, message = understood(github_error(text, text, file=text))
    assert name == "error"
    assert properties == {"title": text, "file": text}
    assert message == text


def test_a_long_text_is_cut() -> None:
    _, _, message = understood(github_error("t", "x" * 100_000))
    assert len(message) == TEXT_MAX
    assert message.endswith("…")


@pytest.mark.parametrize(("count", "lines"), [(0, 0), (1, 1), (ERRORS_MAX, ERRORS_MAX), (57, ERRORS_MAX)])
def test_there_are_never_more_than_github_shows(count: int, lines: int) -> None:
    printed = list(github_errors((f"seed {seed}", "fell") for seed in range(count)))
    assert len(printed) == lines
    if count > ERRORS_MAX:
        _, properties, message = understood(printed[-1])
        assert properties["title"] == "48 more failures"
        assert message.splitlines() == [f"seed {seed}" for seed in range(9, 57)]


def test_a_group_folds_its_lines_and_lets_none_of_them_be_a_command() -> None:
    lines = list(github_group("what\nhappened", ["one", "::error::no", "##[error]no", " ::fine"]))
    assert lines == ["::group::what%0Ahappened", "one", " ::error::no", " ##[error]no", " ::fine", "::endgroup::"]


def test_only_github_is_github() -> None:
    assert on_github({"GITHUB_ACTIONS": "true"})
    assert not on_github({"GITHUB_ACTIONS": "false", "CI": "true"})
    assert not on_github({})
