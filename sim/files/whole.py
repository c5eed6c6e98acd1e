"""Writes a file whole: who reads it meanwhile, or after this process was killed, finds all of it or what was before."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole(path: Path) -> Iterator[IO[str]]:
    """A text file that becomes `path` when the block is over, and is gone where the block raises.

    Where `path` is a link, what it leads to is replaced, and not the link. Raises `OSError`.
    """
    target = path.resolve()
    beside = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("x", encoding="utf-8", newline="\n") as out:
            yield out
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path`. Raises `OSError`."""
    with whole(path) as out:
        out.write(text)
