"""`meshnode reload` against a control socket: what it tells of the daemon's answer, and how it fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.calls import Reloaded
from meshnode.errors import ExitCode
from protocols.core import Refused
from tests.meshnode.cli_desk import Desk, meshnode, serving
from tests.meshnode.control_desk import short_directory


@pytest.fixture
def root() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


async def test_it_tells_what_counts_now_and_what_needs_a_restart(root: Path) -> None:
    desk = Desk()
    reloaded = Reloaded({"zone": "changed", "handlers.h": "added"}, ("listen", "membership"), ("gpu",), 1, 7)
    desk.reloads = [reloaded, reloaded, Reloaded()]
    async with serving(root, desk):
        run = await meshnode(root, "reload")
        assert (run.status, run.err) == (0, "")
        lines = run.out.splitlines()
        assert lines[:2] == ["zone: changed", "handlers.h: added"]
        assert lines[2].endswith("`meshnode tags set`: gpu")
        assert "restart" in lines[3]
        assert lines[3].endswith("listen, membership")
        run = await meshnode(root, "reload", "--json")
        assert run.document == {
            "applied": {"zone": "changed", "handlers.h": "added"},
            "needs_restart": ["listen", "membership"],
            "tags_left_out": ["gpu"],
            "generation": 1,
            "incarnation": 7,
        }
        run = await meshnode(root, "reload")
        assert run.out == "nothing that applies while it runs changed\n"


async def test_a_bad_file_is_a_configuration_error_and_leaving_a_refusal(root: Path) -> None:
    desk = Desk()
    desk.reloads = [
        Refused("bad_config", "meshnode.toml: has no setting `zoone`.", "Did you mean `zone`?"),
        Refused("slow_config", "The configuration could not be read within 10 s.", "See that it is a plain file."),
        Refused("leaving", "This node is leaving.", "Do it when it has been started again."),
    ]
    async with serving(root, desk):
        run = await meshnode(root, "reload")
        assert (run.status, run.out) == (ExitCode.USAGE, "")
        assert "zoone" in run.err
        assert "Nothing has changed" in run.err
        assert "next: Did you mean" in run.err
        run = await meshnode(root, "reload")
        assert run.status == ExitCode.FAILED
        run.assert_told("within 10 s", "Nothing has changed")
        run = await meshnode(root, "reload")
        assert run.status == ExitCode.FAILED
        assert "leaving" in run.err
