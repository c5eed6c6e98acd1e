"""What the log says of facts that come again and again."""

from __future__ import annotations

import logging

import pytest

from meshnode.fact_log import REFUTED_EVERY_S, SAME_EVERY_S, FactLog
from meshnode.logs import Log
from protocols.core import Fact
from protocols.keyring.views import KeyringRejected
from protocols.membership.facts import ReachedByStreamOnly, Refuted, TagsLeftOut

ME, ONE, OTHER = "m" * 26, "a" * 26, "b" * 26


class Watched:
    """A log of facts, and a clock."""

    def __init__(self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        self._caplog = caplog
        self._now = 1000.0
        caplog.set_level(logging.INFO, "fact-log-test")
        monkeypatch.setattr("meshnode.fact_log.time.monotonic", lambda: self._now)
        self._log = FactLog(Log("fact-log-test"), ME, "me")

    def lines(self, *facts: Fact, after_s: float = 0.0) -> int:
        """How many lines `facts` make."""
        self._now += after_s
        self._caplog.clear()
        for fact in facts:
            self._log.write(fact)
        return len(self._caplog.messages)


@pytest.fixture
def watched(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(caplog, monkeypatch)


@pytest.mark.parametrize("kind", [ReachedByStreamOnly, KeyringRejected])
def test_what_a_member_does_again_and_again_is_told_now_and_then(
    watched: Watched, kind: type[ReachedByStreamOnly | KeyringRejected]
) -> None:
    assert watched.lines(*[kind(ONE)] * 100) == 1
    assert watched.lines(kind(ONE), kind(OTHER), after_s=SAME_EVERY_S / 2) == 1
    assert watched.lines(kind(ONE), kind(OTHER), after_s=SAME_EVERY_S / 2) == 1


def test_accusers_that_are_made_up_fill_no_log(watched: Watched) -> None:
    assert watched.lines(*(Refuted(f"{number:026}", number) for number in range(5000))) == 1
    assert watched.lines(Refuted(ONE, 5001), after_s=REFUTED_EVERY_S) == 1


def test_tags_that_have_no_room_are_told_when_they_are_others_than_before(watched: Watched) -> None:
    assert watched.lines(*[TagsLeftOut(("gpu",))] * 20) == 1
    assert watched.lines(TagsLeftOut(("cuda", "gpu")), TagsLeftOut(("gpu",))) == 2
