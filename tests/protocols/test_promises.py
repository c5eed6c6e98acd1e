"""Persist before you speak is a type (DESIGN 3): mypy refuses a promise anywhere but in `Save.then`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

import protocols

PREAMBLE = """\
from protocols.core import Delete, Effect, Endpoint, Pledge, Reply, Save, Send, Then, Unknown
from protocols.membership.messages import Ping
from protocols.outbox import Journal, Outbox
from protocols.tasks.messages import Concluded

to = Endpoint("id", "host:1")
outbox = Outbox()
journal = Journal(outbox)
"""
ACCEPTED = {
    "a statement, said at once": "effect: Effect = Send(to, Ping(1))",
    "a promise, pledged behind a save": 'effect: Effect = Save(1, (Delete("k"),), (Pledge(to, Concluded("x")),))',
    "a promise, pledged behind a barrier": 'effect: Effect = Save(1, (), (Pledge(to, Concluded("x")),))',
    "a statement behind a save": 'effect: Effect = Save(1, (), (Send(to, Ping(1)), Reply(1, Unknown("m"))))',
    "the journal takes a pledge": 'journal.save((), (Pledge(to, Concluded("x")),))',
    "the outbox takes a statement": "outbox.send(to, Ping(1))",
}
REFUSED = {
    "a promise, said at once": ('effect: Effect = Send(to, Concluded("x"))', "arg-type"),
    "a promise, said at once behind a save": ('effect = Save(1, (), (Send(to, Concluded("x")),))', "arg-type"),
    "a pledge that is an effect": ('effect: Effect = Pledge(to, Concluded("x"))', "assignment"),
    "a pledge among the effects": ('outbox.effects.append(Pledge(to, Concluded("x")))', "arg-type"),
    "a bare message behind a save": ('effect = Save(1, (), (Concluded("x"),))', "arg-type"),
    "a pledge for a record": ('effect = Save(1, (Pledge(to, Concluded("x")),), ())', "arg-type"),
    "a save inside of a save": ("then: Then = Save(1, ())", "assignment"),
    "a statement that is pledged": ("then: Then = Pledge(to, Ping(1))", "arg-type"),
    "the outbox does not take a promise": ('outbox.send(to, Concluded("x"))', "arg-type"),
    "the journal does not take a bare promise": ('journal.save((), (Concluded("x"),))', "arg-type"),
}


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The codes of the errors that mypy finds in each snippet, by its title; one run for all of them."""
    directory = tmp_path_factory.mktemp("snippets")
    titles: dict[str, str] = {}
    for number, (title, line) in enumerate([*ACCEPTED.items(), *((t, text) for t, (text, _) in REFUSED.items())]):
        module = directory / f"snippet{number}.py"
        module.write_text(f"{PREAMBLE}{line}\n")
        titles[module.stem] = title
    assert protocols.__file__ is not None
    root = Path(protocols.__file__).parent.parent
    config = directory / "mypy.ini"
    config.write_text(f"[mypy]\nmypy_path = {root}\n")
    cache = tmp_path_factory.getbasetemp() / "mypy"
    files = sorted(str(path) for path in directory.glob("snippet*.py"))
    report, trouble, _ = api.run(
        ["--strict", "--config-file", str(config), "--cache-dir", str(cache), "--no-error-summary", *files]
    )
    assert trouble == ""
    found: dict[str, list[str]] = {title: [] for title in titles.values()}
    for line in report.splitlines():
        error = re.fullmatch(r".*?(\w+)\.py:\d+: error: .* \[([\w-]+)\]", line)
        if error is not None:
            found[titles[error[1]]].append(error[2])
    return found


@pytest.mark.parametrize("title", ACCEPTED)
def test_mypy_accepts(title: str, errors: dict[str, list[str]]) -> None:
    assert errors[title] == []


@pytest.mark.parametrize("title", REFUSED)
def test_mypy_refuses(title: str, errors: dict[str, list[str]]) -> None:
    assert errors[title] == [REFUSED[title][1]]
