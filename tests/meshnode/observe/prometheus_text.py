"""A reader of the Prometheus text format 0.0.4, written from its description and from nothing of this project's.

https://prometheus.io/docs/instrumenting/exposition_formats/, "Text format details". It reads character by character
and takes nothing that the description does not allow; `FormatError` says where.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
SUFFIXES = {"summary": ("", "_sum", "_count"), "histogram": ("_bucket", "_sum", "_count")}


class FormatError(Exception):
    """The text is not in the format."""


Labels = tuple[tuple[str, str], ...]


@dataclass
class Metric:
    """All that a text says of one metric; samples by the name that they were written under, and by labels."""

    name: str
    type: str = "untyped"
    help: str | None = None
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, suffix: str = "", **labels: str) -> float:
        return self.samples[self.name + suffix, tuple(sorted(labels.items()))]

    def label_values(self, label: str) -> set[str]:
        return {value for _, labels in self.samples for name, value in labels if name == label}


class _Line:
    """One line, and how far it has been read."""

    def __init__(self, text: str, number: int) -> None:
        self.text = text
        self.number = number
        self.at = 0

    def error(self, what: str) -> FormatError:
        return FormatError(f"line {self.number}, column {self.at + 1}: {what}: {self.text!r}")

    @property
    def next(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def skip_blanks(self) -> bool:
        begin = self.at
        while self.next in (" ", "\t") and self.next:
            self.at += 1
        return self.at > begin

    def expect(self, character: str) -> None:
        if self.next != character:
            raise self.error(f"expected {character!r}")
        self.at += 1

    def name(self, *, of_label: bool) -> str:
        first = LETTERS + "_" + ("" if of_label else ":")
        begin = self.at
        if not self.next or self.next not in first:
            raise self.error("expected a name")
        while self.next and self.next in first + "0123456789":
            self.at += 1
        return self.text[begin : self.at]

    def quoted(self) -> str:
        self.expect('"')
        value = ""
        while self.next != '"':
            if not self.next:
                raise self.error("a label value does not end")
            value += self.escaped('\\"n')
        self.at += 1
        return value

    def escaped(self, allowed: str) -> str:
        character = self.next
        self.at += 1
        if character != "\\":
            return character
        escape = self.next
        if not escape or escape not in allowed:
            raise self.error("no such escape")
        self.at += 1
        return "\n" if escape == "n" else escape

    def rest_escaped(self) -> str:
        value = ""
        while self.next:
            value += self.escaped("\\n")
        return value

    def word(self) -> str:
        begin = self.at
        while self.next and self.next not in " \t":
            self.at += 1
        return self.text[begin : self.at]


def read(text: str) -> dict[str, Metric]:
    """The metrics of a text, by name. Raises `FormatError`."""
    if text and not text.endswith("\n"):
        raise FormatError("the last line does not end with a line feed")
    metrics: dict[str, Metric] = {}
    current: Metric | None = None
    for number, content in enumerate(text.split("\n")[:-1], 1):
        line = _Line(content, number)
        line.skip_blanks()
        if not line.next:
            continue
        if line.next == "#":
            current = _comment(line, metrics, current)
        else:
            current = _sample(line, metrics, current)
    return metrics


def _comment(line: _Line, metrics: dict[str, Metric], current: Metric | None) -> Metric | None:
    line.expect("#")
    line.skip_blanks()
    kind = line.word()
    if kind not in ("HELP", "TYPE"):
        return current
    line.skip_blanks()
    name = line.name(of_label=False)
    metric = _metric(line, metrics, current, name)
    if not line.skip_blanks() and line.next:
        raise line.error("expected a blank")
    if kind == "HELP":
        if metric.help is not None:
            raise line.error("a second HELP")
        metric.help = line.rest_escaped()
        return metric
    told = line.word()
    line.skip_blanks()
    if told not in TYPES or line.next:
        raise line.error("no such type")
    if metric.type != "untyped" or metric.samples:
        raise line.error("a second TYPE, or one behind samples")
    metric.type = told
    return metric


def _metric(line: _Line, metrics: dict[str, Metric], current: Metric | None, name: str) -> Metric:
    """All lines of a metric have to come as one group."""
    if current is not None and current.name == name:
        return current
    if name in metrics:
        raise line.error("this metric was over already")
    metric = metrics[name] = Metric(name)
    return metric


def _sample(line: _Line, metrics: dict[str, Metric], current: Metric | None) -> Metric:
    written = line.name(of_label=False)
    if current is not None and written in [current.name + suffix for suffix in SUFFIXES.get(current.type, ("",))]:
        metric = current
    else:
        metric = _metric(line, metrics, current, written)
    labels: dict[str, str] = {}
    line.skip_blanks()
    if line.next == "{":
        line.at += 1
        line.skip_blanks()
        while line.next != "}":
            name = line.name(of_label=True)
            if name in labels:
                raise line.error("a label is there twice")
            line.skip_blanks()
            line.expect("=")
            line.skip_blanks()
            labels[name] = line.quoted()
            line.skip_blanks()
            if line.next == ",":
                line.at += 1
                line.skip_blanks()
            elif line.next != "}":
                raise line.error("expected , or }")
        line.at += 1
        line.skip_blanks()
    value = _number(line)
    if line.skip_blanks() and line.next:
        timestamp = line.word()
        if not timestamp.lstrip("-").isdigit():
            raise line.error("a timestamp is a whole number")
        line.skip_blanks()
    if line.next:
        raise line.error("something behind the sample")
    key = (written, tuple(sorted(labels.items())))
    if key in metric.samples:
        raise line.error("this series is there twice")
    if ("quantile" in labels) != (metric.type == "summary" and written == metric.name):
        raise line.error("a quantile outside of a summary, or a summary without one")
    metric.samples[key] = value
    return metric


def _number(line: _Line) -> float:
    word = line.word()
    if word in ("NaN", "+Inf", "-Inf"):
        return float(word)
    if not word or any(character not in "0123456789+-.eE" for character in word):
        raise line.error("expected a number")
    try:
        return float(word)
    except ValueError:
        raise line.error("expected a number") from None
