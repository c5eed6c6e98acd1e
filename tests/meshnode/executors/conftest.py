"""Running executors over real processes, and the certainty that none of those is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trio
from trio.testing import MockClock

from meshnode.config import load_config
from meshnode.executors.pool import Executors
from tests.meshnode.executors.executor_support import Start

HERE = Path(__file__).parent


@pytest.fixture
async def start(tmp_path: Path, nursery: trio.Nursery) -> Start:
    """Starts executors with this directory as `workdir`."""

    async def start(toml: str, inside: trio.Nursery | None = None) -> Executors:
        (tmp_path / "meshnode.toml").write_text(toml)
        executors = Executors(load_config(tmp_path, environ={}, workdir=str(HERE)))
        await (inside or nursery).start(executors.run)
        return executors

    return start


@pytest.fixture
def leaping_clock() -> MockClock:
    """Goes as real time does, and leaps when a test says so: a body is past its time once it is known to run."""
    return MockClock(rate=1.0)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert left == []
