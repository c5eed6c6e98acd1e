"""GitHub's workflow commands: annotations on the run's page, and folded groups in its log.

A command is one line on stdout. What would end it early is escaped: `%`, CR and LF everywhere, `:` and `,` in
properties too. GitHub shows ten errors a step and drops the rest in silence, so the tenth says how many more there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

ERRORS_MAX = 10
"""Annotations of one kind that GitHub shows per step."""
TEXT_MAX = 4000
"""Characters of one annotation; it is a pointer to the log, not the log."""


def on_github(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process runs inside of GitHub Actions."""
    return (os.environ if environment is None else environment).get("GITHUB_ACTIONS") == "true"


def escape_data(text: str) -> str:
    """`text` as the message of a command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """`text` as the value of a property of a command."""
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")


def github_error(title: str, text: str, file: str = "") -> str:
    """The line that annotates the run with an error; `file` is a path in the repository that it is about."""
    properties = [f"title={escape_property(title)}"]
    if file:
        properties.insert(0, f"file={escape_property(file)}")
    if len(text) > TEXT_MAX:
        text = text[: TEXT_MAX - 1] + "…"
    return f"::error {','.join(properties)}::{escape_data(text)}"


def github_errors(failures: Iterable[tuple[str, str]]) -> Iterator[str]:
    """One line for each (title, text), `ERRORS_MAX` at most; the last one says how many more there are."""
    wanted = list(failures)
    shown = wanted if len(wanted) <= ERRORS_MAX else wanted[: ERRORS_MAX - 1]
    for title, text in shown:
        yield github_error(title, text)
    if len(shown) < len(wanted):
        titles = "\n".join(title for title, _ in wanted[len(shown) :])
        yield github_error(f"{len(wanted) - len(shown)} more failures", titles)


def github_group(title: str, lines: Iterable[str]) -> Iterator[str]:
    """`lines`, folded under `title`. A line that would be taken for a command is set in by a space."""
    yield f"::group::{escape_data(title)}"
    for line in lines:
        yield f" {line}" if line.startswith(("::", "##[")) else line
    yield "::endgroup::"
