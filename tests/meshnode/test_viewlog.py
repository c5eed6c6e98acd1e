"""What the log says of who is there."""

from __future__ import annotations

import logging

import pytest

from meshnode.logs import Log
from meshnode.viewlog import ViewLog
from protocols.membership.facts import MemberChanged, ViewChanged
from protocols.membership.member import State, precedence_of

ME, OTHER = "m" * 26, "o" * 26


def changed(node_id: str, name: str) -> MemberChanged:
    return MemberChanged(node_id, name, precedence_of(1, 0, State.ALIVE), node_id)


@pytest.fixture
def view_log(caplog: pytest.LogCaptureFixture) -> ViewLog:
    caplog.set_level(logging.INFO, "viewlog-test")
    return ViewLog(Log("viewlog-test"), ME, "me")


def test_a_view_is_one_line_with_names(view_log: ViewLog, caplog: pytest.LogCaptureFixture) -> None:
    view_log.member_changed(changed(OTHER, "other"))
    assert caplog.messages == []  # a single change is for those who debug
    view_log.view_changed(ViewChanged(2, 2, joined=(ME, OTHER), failed=("x" * 26,), held=1))
    assert caplog.messages == ["view number=2 serving=2 joined=me,other failed=xxxxxxxx held=1"]


def test_a_burst_does_not_fill_the_log(view_log: ViewLog, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"n{number}" for number in range(500)]
    for name in names:
        view_log.member_changed(changed(name, name))
    view_log.view_changed(ViewChanged(1, 501, joined=tuple(names)))
    assert caplog.messages == ["view number=1 serving=501 joined='n0,n1,n2,n3,n4,n5,n6,n7 and 492 more'"]


def test_the_name_of_a_forgotten_member_is_forgotten(view_log: ViewLog, caplog: pytest.LogCaptureFixture) -> None:
    view_log.member_changed(changed(OTHER, "other"))
    view_log.forget(OTHER)
    view_log.view_changed(ViewChanged(3, 1, left=(OTHER,)))
    assert caplog.messages == ["view number=3 serving=1 left=oooooooo"]
