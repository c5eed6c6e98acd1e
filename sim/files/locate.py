"""On which line of a TOML text each key stands, because `tomllib` tells values without their places.

`locate` follows the grammar of TOML 1.0 (toml.io/en/v1.0.0) over a text that `tomllib` has already accepted, so it
need not judge, only keep count: it skips what is inside strings and comments, and knows the element that `[[a]]` opens
and `[a.b]` goes on with. It gives a line for exactly those paths that the parsed document has.
"""

from __future__ import annotations

import re
import tomllib
from typing import TypeAlias

TomlPath: TypeAlias = tuple[str | int, ...]
"""Keys from the top of the document down; a number is the place in an array, from 0."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_LITERAL_STRING = re.compile(r"'[^']*'")
_LONG_BASIC_STRING = re.compile(r'"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"{3,5}', re.DOTALL)
_LONG_LITERAL_STRING = re.compile(r"'''[^']*(?:'(?!'')[^']*)*'{3,5}")
_SCALAR = re.compile(r"[^,\]}#\n]+")
_BLANK = re.compile(r"[ \t\r]*")
_BLANK_LINES = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")


def locate(text: str) -> dict[TomlPath, int]:
    """The line, from 1, of every key and array element of a valid TOML text; of a table, where it is first named.

    Lines end in a newline character. `tomllib` must have accepted the text.
    """
    return _Locator(text).document()


class _Locator:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted_to = 0
        self._line = 1
        self._lines: dict[TomlPath, int] = {}
        self._elements: dict[TomlPath, int] = {}
        """How many elements each array of tables has so far."""

    def document(self) -> dict[TomlPath, int]:
        table: TomlPath = ()
        self._skip(_BLANK_LINES)
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text[self._at] == "[":
                table = self._header(1)
            else:
                self._pair(table)
            self._skip(_BLANK_LINES)
        return self._lines

    def _header(self, brackets: int) -> TomlPath:
        """`[a.b]` or `[[a.b]]`: the table that what follows belongs to."""
        line = self._here()
        self._at += brackets
        *parents, last = self._key()
        self._at += brackets
        path: TomlPath = ()
        for part in parents:
            path = self._element(self._note((*path, part), line))
        path = self._note((*path, last), line)
        if brackets == 1:
            return path
        self._elements[path] = self._elements.get(path, 0) + 1
        return self._note(self._element(path), line)

    def _element(self, path: TomlPath) -> TomlPath:
        """The element that a header means where it names an array of tables: the last one."""
        count = self._elements.get(path)
        return path if count is None else (*path, count - 1)

    def _pair(self, table: TomlPath) -> None:
        """`key = value`; the key may be dotted."""
        line = self._here()
        path = table
        for part in self._key():
            path = self._note((*path, part), line)
        self._at += 1
        self._skip(_BLANK)
        self._value(path)

    def _key(self) -> list[str]:
        """A dotted key, up to what follows it."""
        parts: list[str] = []
        while True:
            self._skip(_BLANK)
            match self._text[self._at]:
                case '"':
                    parts.append(_unquoted(self._take(_BASIC_STRING)))
                case "'":
                    parts.append(_unquoted(self._take(_LITERAL_STRING)))
                case _:
                    parts.append(self._take(_BARE_KEY))
            self._skip(_BLANK)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _value(self, path: TomlPath) -> None:
        text, at = self._text, self._at
        if text[at] == "[":
            self._array(path)
        elif text[at] == "{":
            self._inline_table(path)
        elif text.startswith('"""', at):
            self._take(_LONG_BASIC_STRING)
        elif text.startswith("'''", at):
            self._take(_LONG_LITERAL_STRING)
        elif text[at] == '"':
            self._take(_BASIC_STRING)
        elif text[at] == "'":
            self._take(_LITERAL_STRING)
        else:
            self._take(_SCALAR)

    def _array(self, path: TomlPath) -> None:
        self._at += 1
        self._skip(_BLANK_LINES)
        index = 0
        while self._text[self._at] != "]":
            self._value(self._note((*path, index), self._here()))
            index += 1
            self._skip(_BLANK_LINES)
            if self._text[self._at] == ",":
                self._at += 1
                self._skip(_BLANK_LINES)
        self._at += 1

    def _inline_table(self, path: TomlPath) -> None:
        self._at += 1
        self._skip(_BLANK_LINES)
        while self._text[self._at] != "}":
            self._pair(path)
            self._skip(_BLANK_LINES)
            if self._text[self._at] == ",":
                self._at += 1
                self._skip(_BLANK_LINES)
        self._at += 1

    def _note(self, path: TomlPath, line: int) -> TomlPath:
        self._lines.setdefault(path, line)
        return path

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        assert match is not None, "every pattern of blanks matches nothing"
        self._at = match.end()

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, f"tomllib accepted what is at character {self._at}"
        self._at = match.end()
        return match[0]


def _unquoted(token: str) -> str:
    value = tomllib.loads(f"key = {token}")["key"]
    assert isinstance(value, str)
    return value
