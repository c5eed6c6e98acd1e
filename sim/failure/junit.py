"""JUnit XML, as the test pages of GitHub, GitLab and Jenkins read it.

There is no standard, only readers; this keeps to what all of them take: `testsuites` > `testsuite` > (`properties`,
`testcase` > (`properties`, `failure` or `error`)), with counts that add up. One suite is one scenario, one case is one
seed. In a long sweep the seeds that passed are put together in ranges, while every seed that failed stays a case of its
own.

Memory does not grow with the number of cases: they go to a temporary file first, because their counts come before them
in the document.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import IO
from xml.sax.saxutils import quoteattr

from msgspec import Struct

from sim.files.whole import whole
from sim.scenario import Report

EACH_SEED_MAX = 1000
"""Up to here every seed is a case of its own; in longer sweeps, those that passed are put together."""
RANGE_SEEDS = 100
"""How many seeds that passed make one case, at most."""
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Case(Struct, frozen=True):
    """One test: `failure` is what to read where it failed, its first line what to show in a list; empty: it passed."""

    name: str
    seconds: float
    failure: str = ""
    kind: str = "violation"
    """What sort of failure: the name of the property."""
    properties: tuple[tuple[str, str], ...] = ()
    is_error: bool = False
    """The test could not be done: no property failed, and yet nothing was shown to hold."""


class Suite(Struct, frozen=True):
    """The cases of one scenario. They may come from a generator: they are read once, and the properties after them."""

    name: str
    cases: Iterable[Case]
    properties: Iterable[tuple[str, str]] = ()


class NotWritten(Exception):
    """The document could not be written; the text is the system's reason. What it was to tell of may go on."""


class _FromTheCases(Exception):
    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Totals:
    """What the head of a suite says of its cases."""

    def __init__(self) -> None:
        self.tests = 0
        self.failures = 0
        self.errors = 0
        self.seconds = 0.0

    def attributes(self) -> str:
        counts = f'tests="{self.tests}" failures="{self.failures}" errors="{self.errors}" skipped="0"'
        return f'{counts} time="{max(0.0, self.seconds):.3f}"'


def write_junit(path: Path, suites: Iterable[Suite], *, timestamp: str = "") -> None:
    """Write all of `suites` to `path`, which is there whole or not at all. `timestamp` is ISO 8601, of the start.

    Raises `NotWritten`, and whatever the cases raise.
    """
    try:
        _write(path, suites, timestamp)
    except _FromTheCases as error:
        raise error.cause from None
    except OSError as error:
        raise NotWritten(error.strerror or str(error)) from None


def _write(path: Path, suites: Iterable[Suite], timestamp: str) -> None:
    totals = _Totals()
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as bodies:
        for suite in suites:
            _write_suite(bodies, suite, totals, timestamp)
        bodies.seek(0)
        with whole(path) as out:
            out.write('<?xml version="1.0" encoding="utf-8"?>\n')
            out.write(f'<testsuites name="meshsim" {totals.attributes()}>\n')
            shutil.copyfileobj(bodies, out)
            out.write("</testsuites>\n")


def _read(cases: Iterable[Case]) -> Iterator[Case]:
    """`cases`, whose own trouble with files is not taken for that of the document."""
    try:
        yield from cases
    except OSError as error:
        raise _FromTheCases(error) from None


def _write_suite(out: IO[str], suite: Suite, of_all: _Totals, timestamp: str) -> None:
    totals = _Totals()
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as body:
        for case in _read(suite.cases):
            totals.tests += 1
            totals.failures += bool(case.failure) and not case.is_error
            totals.errors += bool(case.failure) and case.is_error
            totals.seconds += case.seconds
            _write_case(body, suite.name, case)
        body.seek(0)
        when = f" timestamp={_attribute(timestamp)}" if timestamp else ""
        out.write(f"  <testsuite name={_attribute(suite.name)} {totals.attributes()}{when}>\n")
        _write_properties(out, suite.properties, "    ")
        shutil.copyfileobj(body, out)
        out.write("  </testsuite>\n")
    of_all.tests += totals.tests
    of_all.failures += totals.failures
    of_all.errors += totals.errors
    of_all.seconds += totals.seconds


def _write_case(out: IO[str], suite: str, case: Case) -> None:
    out.write(
        f"    <testcase classname={_attribute(f'meshsim.{suite}')} name={_attribute(case.name)}"
        f' time="{max(0.0, case.seconds):.3f}">\n'
    )
    _write_properties(out, case.properties, "      ")
    if case.failure:
        message = case.failure.strip().partition("\n")[0]
        tag = "error" if case.is_error else "failure"
        out.write(f"      <{tag} type={_attribute(case.kind)} message={_attribute(message)}>")
        out.write(_cdata(case.failure))
        out.write(f"</{tag}>\n")
    out.write("    </testcase>\n")


def _write_properties(out: IO[str], properties: Iterable[tuple[str, str]], margin: str) -> None:
    given = list(properties)
    if given:
        out.write(f"{margin}<properties>\n")
        for name, value in given:
            out.write(f"{margin}  <property name={_attribute(name)} value={_attribute(value)}/>\n")
        out.write(f"{margin}</properties>\n")


def _legal(text: str) -> str:
    """`text` without what XML 1.0 cannot hold, in any spelling: control characters, lone surrogates, U+FFFE."""
    return _NOT_XML.sub("\ufffd", text)


def _attribute(text: str) -> str:
    return quoteattr(_legal(text))


def _cdata(text: str) -> str:
    safe = _legal(text).replace("]]>", "]]]]><![CDATA[>")
    return f"<![CDATA[{safe}]]>"


# From reports to cases.


def cases_of(
    reports: Iterable[Report],
    total: int,
    text_of: Callable[[Report], str] | None = None,
) -> Iterator[Case]:
    """The cases of a sweep over `total` seeds, in the order of its reports. `text_of` tells of a failure at length."""
    grouped = total > EACH_SEED_MAX
    passed: list[Report] = []
    for report in reports:
        if passed and (not report.held or len(passed) == RANGE_SEEDS or report.seed != passed[-1].seed + 1):
            yield _case_of_range(passed)
            passed = []
        if report.held and grouped:
            passed.append(report)
        else:
            yield case_of(report, text_of)
    if passed:
        yield _case_of_range(passed)


def case_of(report: Report, text_of: Callable[[Report], str] | None = None) -> Case:
    """One seed as a case."""
    failure = ""
    if report.violations:
        head = "\n".join(_line(violation.time_s, violation.node, violation.text) for violation in report.violations)
        failure = f"{report.violations[0].property}: {head}"
        if text_of is not None:
            failure += "\n\n" + text_of(report)
    return Case(
        name=f"seed {report.seed}",
        seconds=report.wall_seconds + report.setup_seconds,
        failure=failure,
        kind=report.violations[0].property if report.violations else "violation",
        properties=(("seed", str(report.seed)), ("trace_hash", report.trace_hash), ("events", str(report.events))),
    )


def _line(time_s: float, node: str, text: str) -> str:
    return f"at {time_s:.3f} s, {f'{node}: ' if node else ''}{text}"


def _case_of_range(reports: list[Report]) -> Case:
    first, last = reports[0].seed, reports[-1].seed
    whole = blake2b(digest_size=16)
    for report in reports:
        whole.update(report.trace_hash.encode())
    return Case(
        name=f"seed {first}" if first == last else f"seeds {first} to {last}",
        seconds=sum(report.wall_seconds + report.setup_seconds for report in reports),
        properties=(
            ("seeds", str(len(reports))),
            ("trace_hash", reports[0].trace_hash if first == last else whole.hexdigest()),
            ("events", str(sum(report.events for report in reports))),
        ),
    )


def suite_properties(commit: str, figures: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The properties of a suite: the commit first, then what else there is to know."""
    return (("commit", commit), *figures.items())
