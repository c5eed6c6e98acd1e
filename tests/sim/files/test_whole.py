"""Files that are written whole: by several at once, through a link, and where that fails."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sim.files.whole import whole, write_whole


def test_a_reader_sees_what_was_before_until_all_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_whole(path, "before")
    with whole(path) as out:
        out.write("after")
        out.flush()
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_that_write_at_once_the_later_stays(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with whole(path) as first:
        first.write("one")
        write_whole(path, "the other, which is longer")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to("folder/x")
    write_whole(link, "text")
    assert link.is_symlink()
    assert (tmp_path / "folder" / "x").read_text() == "text"


def test_where_it_fails_nothing_is_left_and_nothing_lost(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_whole(path, "before")

    def fills_the_disk() -> None:
        with whole(path) as out:
            out.write("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fills_the_disk()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_names_may_be_long_and_permissions_are_the_usual_ones(tmp_path: Path) -> None:
    path, usual = tmp_path / ("x" * 255), tmp_path / "usual"
    write_whole(path, "text")
    usual.write_text("text")
    assert path.stat().st_mode == usual.stat().st_mode
