"""Run the real `meshnode` command, and look at all that it leaves: status, stdout, stderr.

`meshnode` starts a process. `called` calls the entry point in this one, for long lists of wrong arguments: some 20
times faster, and the same code but for the interpreter's start and end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshnode.cli.main import main

TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Run:
    """What a finished command has left."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, object]:
        """The one JSON document that is all of stdout."""
        assert self.out.endswith("\n")
        assert self.out.count("\n") == 1, f"more than one line on stdout: {self.out!r}"
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document

    @property
    def error(self) -> dict[str, object]:
        error = self.document["error"]
        assert isinstance(error, dict)
        return error

    def assert_told(self, *words: str) -> None:
        """stderr is an error and a next step for people, without a traceback."""
        assert self.err.startswith("error: "), self.err
        assert "\nnext: " in self.err, self.err
        assert "Traceback" not in self.err
        for word in words:
            assert word in self.err, self.err


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "meshnode", *map(str, arguments)]


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, without what would lead to a node of its user's, and without colour or terminal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MESHNODE_", "XDG_"))}
    return {**kept, "HOME": str(home), "PYTHONWARNINGS": "error", **(extra or {})}


def meshnode(
    *arguments: str | Path,
    home: Path,
    stdin: bytes = b"",
    extra: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Run:
    done = subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        env=environment(home, extra),
        cwd=cwd,
        timeout=TIMEOUT_S,
        check=False,
    )
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


def called(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Run:
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Run(status, captured.out, captured.err)
