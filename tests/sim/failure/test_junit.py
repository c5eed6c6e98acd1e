"""JUnit XML: well formed whatever is in it, counts that add up, constant memory, whole or not there."""

from __future__ import annotations

import tracemalloc
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from sim.checkers.checker import Violation
from sim.failure.junit import EACH_SEED_MAX, RANGE_SEEDS, Case, NotWritten, Suite, cases_of, write_junit
from sim.scenario import Report, Scenario, run

ALLOWED: dict[str, tuple[str, ...]] = {
    "testsuites": ("testsuite",),
    "testsuite": ("properties", "testcase"),
    "testcase": ("properties", "failure", "error"),
    "properties": ("property",),
    "property": (),
    "failure": (),
    "error": (),
}
NEEDED: dict[str, tuple[str, ...]] = {
    "testsuites": ("tests", "failures", "errors", "skipped", "time"),
    "testsuite": ("name", "tests", "failures", "errors", "skipped", "time"),
    "testcase": ("classname", "name", "time"),
    "property": ("name", "value"),
    "failure": ("message", "type"),
    "error": ("message", "type"),
}


@pytest.fixture(scope="module")
def held() -> Report:
    return run(Scenario(nodes=2, seconds=2))


def reports(held: Report, count: int, failing: tuple[int, ...] = ()) -> Iterator[Report]:
    violation = Violation("agreement", 12.5, "n1", "n1 does not know n0")
    for seed in range(count):
        yield replace(held, seed=seed, violations=(violation,) if seed in failing else ())


def parsed(path: Path) -> ET.Element:
    """The document, held against the structure that readers take."""
    root = ET.parse(path).getroot()
    assert root.tag == "testsuites"
    check(root)
    for name in ("tests", "failures", "errors"):
        assert int(root.get(name, "")) == sum(int(suite.get(name, "")) for suite in root)
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.get("tests", "")) == len(cases)
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("errors", "")) == len(suite.findall("testcase/error"))
        assert float(suite.get("time", "")) == pytest.approx(sum(float(c.get("time", "")) for c in cases), abs=0.01)
        assert len({case.get("name") for case in cases}) == len(cases)
    return root


def check(element: ET.Element) -> None:
    assert set(NEEDED.get(element.tag, ())) <= element.attrib.keys()
    order = [ALLOWED[element.tag].index(child.tag) for child in element]
    assert order == sorted(order)
    for child in element:
        check(child)


def test_one_case_per_seed_with_hash_and_report(held: Report, tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    cases = cases_of(reports(held, 5, (3,)), total=5, text_of=lambda report: f"all about seed {report.seed}")
    write_junit(path, [Suite("split halves", cases, (("commit", "1f2e"),))], timestamp="2026-01-02T03:04:05")
    [suite] = parsed(path)
    assert suite.attrib["name"] == "split halves"
    assert suite.attrib["timestamp"] == "2026-01-02T03:04:05"
    assert [case.get("name") for case in suite.findall("testcase")] == [f"seed {seed}" for seed in range(5)]
    assert [p.attrib for p in suite.findall("properties/property")] == [{"name": "commit", "value": "1f2e"}]
    values = {p.get("name"): p.get("value") for p in suite.findall("testcase")[0].iter("property")}
    assert values["trace_hash"] == held.trace_hash
    [failure] = suite.iter("failure")
    assert failure.get("type") == "agreement"
    assert failure.get("message") == "agreement: at 12.500 s, n1: n1 does not know n0"
    assert "all about seed 3" in (failure.text or "")


def test_in_a_long_sweep_the_seeds_that_passed_come_in_ranges(held: Report, tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    count = EACH_SEED_MAX + 1
    write_junit(path, [Suite("long", cases_of(reports(held, count, (0, 150, 151)), total=count))])
    [suite] = parsed(path)
    names = [case.get("name") for case in suite.findall("testcase")]
    assert names[:6] == ["seed 0", "seeds 1 to 100", "seeds 101 to 149", "seed 150", "seed 151", "seeds 152 to 251"]
    covered = sum(int(p.get("value", "")) for p in suite.iter("property") if p.get("name") == "seeds")
    assert covered == count - 3
    assert suite.get("failures") == "3"
    assert len(names) < 3 + 2 * count / RANGE_SEEDS


def test_seeds_that_are_not_neighbours_make_no_range(held: Report, tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    sparse = [replace(held, seed=seed) for seed in (4, 5, 9)]
    write_junit(path, [Suite("sparse", cases_of(sparse, total=5000))])
    assert [case.get("name") for case in parsed(path).iter("testcase")] == ["seeds 4 to 5", "seed 9"]


@pytest.mark.parametrize(
    "text",
    [
        "]]>",
        "a ]]]]>> b",
        "\x00\x1b[31mred\x1b[0m\x08",
        "<b>&amp;</b> \"quoted\" 'too'",
        "\ud800 alone",
        "\ufffe\uffff",
        "line\nline\ttab",
        "𝄞 ✗ é",
    ],
)
def test_whatever_a_failure_says_is_xml(text: str, tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    case = Case(f"seed {text}", 0.5, text, kind=text, properties=((text, text),))
    write_junit(path, [Suite(f"of {text}", [case], ((text, text),))])
    root = parsed(path)
    [failure] = root.iter("failure")
    legal = "".join("\ufffd" if c in "\x00\x1b\x08\ud800\ufffe\uffff" else c for c in text)
    assert failure.text == legal
    assert root[0].get("name") == f"of {legal}"
    assert failure.get("message") == legal.partition("\n")[0]


def test_what_could_not_be_tested_is_an_error_and_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    write_junit(path, [Suite("cut short", [Case("all", 0.0, "interrupted\nat 3", kind="interrupted", is_error=True)])])
    root = parsed(path)
    assert (root.get("failures"), root.get("errors")) == ("0", "1")
    [error] = root.iter("error")
    assert (error.get("type"), error.get("message")) == ("interrupted", "interrupted")


def test_several_suites_add_up(held: Report, tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    suites = (Suite(name, cases_of(reports(held, 3, (1,)), total=3)) for name in ("one", "two"))
    write_junit(path, suites)
    root = parsed(path)
    assert (root.get("tests"), root.get("failures")) == ("6", "2")
    write_junit(path, [])
    assert parsed(path).get("tests") == "0"


def test_what_goes_wrong_leaves_what_was_there(held: Report, tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    path.write_text("before")

    def breaks() -> Iterator[Case]:
        yield Case("seed 0", 0.1)
        raise RuntimeError("a worker died")

    with pytest.raises(RuntimeError, match="a worker died"):
        write_junit(path, [Suite("broken", breaks())])
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotWritten, match="directory"):
        write_junit(tmp_path / "folder", [Suite("fine", cases_of(reports(held, 1), 1))])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "junit.xml"]
    with pytest.raises(NotWritten, match="No such file"):
        write_junit(tmp_path / "absent" / "junit.xml", [])


def test_memory_does_not_grow_with_the_number_of_cases(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        write_junit(tmp_path / "junit.xml", [Suite("many", (Case(f"seed {n}", 0.0, "x" * 200) for n in range(count)))])
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    small, large = peak(500), peak(20_000)
    assert large < small + 300_000
    assert len(parsed(tmp_path / "junit.xml")[0]) == 20_000
