"""Which code runs: what must be the same in two processes for a seed to be the same run in both.

The commit is no answer: a working copy may differ from it, and an installed package has none.
"""

from __future__ import annotations

import sys
from hashlib import blake2b
from pathlib import Path

import msgspec
from msgspec import Struct

import protocols
import sim


class Code(Struct, frozen=True):
    """What a run depends on besides its scenario."""

    source: str
    """A hash over all source files of `protocols` and `sim`."""
    python: str
    msgspec: str

    def __str__(self) -> str:
        return f"source {self.source[:12]}, Python {self.python}, msgspec {self.msgspec}"


def code_here() -> Code:
    """The code that this process would import now."""
    digest = blake2b(digest_size=16)
    for package in (protocols, sim):
        (folder,) = package.__path__
        for path in sorted(Path(folder).rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
            text = path.read_bytes()
            name = f"{package.__name__}/{path.relative_to(folder).as_posix()}"
            digest.update(f"{name}:{len(text)}:".encode())
            digest.update(text)
    return Code(digest.hexdigest(), f"{sys.version_info.major}.{sys.version_info.minor}", msgspec.__version__)
