"""The daemon's own order of things: what it does before it serves, and that it can be stopped at any time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NoReturn

import pytest
import trio

from meshnode.admission import enter_mesh
from meshnode.config import load_config
from meshnode.daemon import Daemon
from meshnode.datadir import DataDir
from meshnode.errors import ExitCode, MeshError
from meshnode.storage import Storage, StorageError
from protocols.core import Record
from tests.meshnode.control_desk import short_directory


@pytest.fixture
def directory() -> Iterator[DataDir]:
    with short_directory() as root:
        yield DataDir(root)


@pytest.fixture
def _handlers_of_signals() -> Iterator[None]:
    """A daemon leaves them ignored, for its process ends with it."""
    handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in handled]
    yield
    for number, handler in zip(handled, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers_of_signals")
async def test_a_node_that_cannot_save_its_first_record_stops_when_it_is_told_to(
    directory: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Sequence[Record]] = []

    def commit(self: Storage, records: Sequence[Record]) -> NoReturn:
        tried.append(records)
        raise StorageError("the disk is full")

    monkeypatch.setattr(Storage, "commit", commit)
    load = partial(load_config, directory.root, environ={})
    config = load()
    entry = await enter_mesh(directory, config, join=None, name="desk")
    storage = Storage.open(directory.database)
    ready: list[Daemon] = []
    ended: list[MeshError] = []

    async def serve() -> None:
        try:
            await Daemon(directory, config, entry, storage, load=load).run(partial(ready.append))
        except* MeshError as group:
            ended.extend(error for error in group.exceptions if isinstance(error, MeshError))

    with trio.fail_after(20):  # it would give up by itself, but not so soon
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            while not tried:
                await trio.lowlevel.checkpoint()
            os.kill(os.getpid(), signal.SIGTERM)
    storage.close()
    assert [(error.code, error.exit_code) for error in ended] == [("interrupted", ExitCode.INTERRUPTED)]
    assert ready == []
