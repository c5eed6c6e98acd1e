"""What the tests of the commands share: a folder of their own, and a protocol that can be broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols.core import Instant
from protocols.membership.member import Member, Update
from protocols.membership.swim import Swim


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run in an empty folder: what they write there is seen, and is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return tmp_path


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol in which nobody refutes."""

    def refute(self: Swim, now: Instant, row: Member, update: Update) -> None:
        return None

    monkeypatch.setattr(Swim, "_refute", refute)
