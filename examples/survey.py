"""A body that takes a while: the words of every Python file below a directory.

[handlers.survey]
executor = "python"
target = "examples.survey:survey"
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TypedDict

WORD = re.compile(r"[A-Za-z_]\w+")
FILE_BYTES_MAX = 1 << 20


class Survey(TypedDict):
    files: int
    words: int
    most_common: list[tuple[str, int]]


def survey(payload: dict[str, str]) -> Survey:
    """Payload {"directory": text}. Raises `OSError`, `KeyError`."""
    counter: Counter[str] = Counter()
    files = 0
    for path in sorted(Path(payload["directory"]).rglob("*.py")):
        if path.is_file() and path.stat().st_size <= FILE_BYTES_MAX:
            files += 1
            counter.update(WORD.findall(path.read_text(errors="replace")))
    common = sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:10]
    return Survey(files=files, words=counter.total(), most_common=common)
