"""How runs end, in the words of `BodyEnded`: bounded texts, the same for every kind of handler."""

from __future__ import annotations

from protocols.limits import DETAIL_CHARS_MAX
from protocols.tasks.task import BodyEnded, BodyStatus

OUTPUT_HEADING = "\n--- last output ---\n"


def failed(status: BodyStatus, reason: str, output: str = "") -> BodyEnded:
    """`reason` first, then as much of the end of `output` as fits in a detail."""
    assert status is not BodyStatus.OK
    detail = reason[:DETAIL_CHARS_MAX]
    room = DETAIL_CHARS_MAX - len(detail) - len(OUTPUT_HEADING)
    if output and room > 0:
        detail += OUTPUT_HEADING + output[-room:]
    return BodyEnded(status, detail=detail)


def too_much_output(what: str, limit_bytes: int) -> BodyEnded:
    """`what` went past the limit and was stopped."""
    return failed(
        BodyStatus.OUTPUT_LIMIT,
        f"{what} gave more than {limit_bytes} bytes. Return a reference (a path, a URL) instead of the data itself.",
    )
