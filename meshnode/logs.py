"""Logs of the daemon: one line an event on stderr, `time level event key=value …`, never on stdout.

The standard library's logging, with fields. structlog was measured first: it imports asyncio and rich, 10 MB resident,
a sixth of what a whole node may take. What libraries log goes the same way, from `warning` on.
"""

from __future__ import annotations

import logging
import sys
import time

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Log:
    """A logger whose events carry fields: `log.info("member", name="n1", state="alive")`."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, /, **fields: object) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._write(logging.ERROR, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", " ".join((event, *(f"{key}={_quoted(fields[key])}" for key in fields))))


def _quoted(value: object) -> str:
    """A value as one word: foreign text can not forge a line or a field."""
    text = str(value)
    return text if text.isprintable() and not {" ", '"', "="} & set(text) and text else repr(text)


class _Formatter(logging.Formatter):
    """UTC with milliseconds, so that the lines of several nodes can be merged by sorting."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802  # logging's name
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{stamp}.{int(record.msecs):03d}Z"


def configure_logs(level: str) -> None:
    """Log to stderr: the node's own events from `level` (a key of `LEVELS`) on, libraries' from `warning` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("meshnode").setLevel(LEVELS[level])
