"""What tests of several front ends share: a protocol that can be broken."""

from __future__ import annotations

import pytest

from protocols.core import Instant
from protocols.membership.member import Member, Update
from protocols.membership.swim import Swim


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol in which nobody refutes: after a cut, nobody is believed to be alive again."""

    def refute(self: Swim, now: Instant, row: Member, update: Update) -> None:
        return None

    monkeypatch.setattr(Swim, "_refute", refute)
