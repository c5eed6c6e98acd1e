"""How large what a member announces may be, beyond its id, name, address and tags (DESIGN 4).

It travels in one packet beside the announcements of others, so it is bounded, and judged before anything counts:
whatever is configured at the start or while the node runs is refused as a whole, and never cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.limits import HANDLERS_MAX, NAME_CHARS_MAX, PROFILE_BYTES_MAX

FIXED_BYTES = 16
"""Weight, version and headers."""
HANDLER_OVERHEAD_BYTES = 6


class TooLarge(ValueError):
    """More than a member can announce. The text says what, and `next_step` what to do."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


def check_size(zone: str, handlers: Sequence[str]) -> None:
    """Raise `TooLarge` where a zone and names of handlers are more than a member can announce."""
    if len(handlers) > HANDLERS_MAX:
        raise TooLarge(
            f"names more than {HANDLERS_MAX} handlers and MCP servers",
            f"There are {len(handlers)}; serve some of them from another data directory.",
        )
    size = FIXED_BYTES + _bytes(zone) + sum(_bytes(name) + HANDLER_OVERHEAD_BYTES for name in handlers)
    if size > PROFILE_BYTES_MAX or len(zone) > NAME_CHARS_MAX:
        raise TooLarge(
            f"announces {size} bytes of handlers and zone; {PROFILE_BYTES_MAX} fit",
            "Shorten names, or serve some handlers from another data directory.",
        )


def _bytes(text: str) -> int:
    return len(text.encode())
