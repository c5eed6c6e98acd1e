"""What goes wrong in words that a person can act on: what happened, what it means, what to do next."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit statuses of the `meshnode` command (documented in README.md)."""

    OK = 0
    FAILED = 1
    """The request was refused, or the task did not succeed."""
    USAGE = 2
    """Unusable arguments, configuration or token: nothing was tried."""
    NOT_RUNNING = 3
    """No daemon serves this data directory."""
    UNKNOWN = 4
    """No answer in time: the request may or may not have taken effect."""
    INTERRUPTED = 130


class MeshError(Exception):
    """A failure with a stable `code`, a message, a next step and an exit status."""

    def __init__(
        self,
        code: str,
        message: str,
        next_step: str = "",
        exit_code: ExitCode = ExitCode.FAILED,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_step = next_step
        self.exit_code = exit_code
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()
