"""The example body counts as `wc` does. (The example server is tested with the executor that runs it.)"""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

count = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "wordcount.py"))["count"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    parts=st.lists(
        st.sampled_from([b" ", b"\n", b"\t\n", b"word", b"\xc3\xa9", b"x" * 70_000, b" " * 70_000]), max_size=8
    )
)
def test_counting(tmp_path: Path, parts: list[bytes]) -> None:
    content = b"".join(parts)
    path = tmp_path / "file"
    path.write_bytes(content)
    assert count({"path": str(path)}) == {
        "words": len(content.split()),
        "lines": content.count(b"\n"),
        "bytes": len(content),
    }


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        count({"path": str(tmp_path / "none")})
