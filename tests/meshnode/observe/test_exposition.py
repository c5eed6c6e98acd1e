"""What is written for Prometheus is read back by a reader that knows only the description of the format."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.observe.exposition import Family, Sample, render
from tests.meshnode.observe.prometheus_text import FormatError, read

FINITE = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
AWKWARD = ('a"b', "a\\b", "a\nb", "\\n", '\\"', "\\", '"', "\n", "\r", "é漢🜁", " x ", "#", "}", ",")
TEXT = st.text(max_size=30) | st.sampled_from(AWKWARD)
LABELS = st.dictionaries(st.sampled_from(("a", "B", "_c", "d9", "e_f")), TEXT)


SERIES = st.lists(st.tuples(LABELS, FINITE), max_size=6, unique_by=lambda each: str(sorted(each[0].items())))


@given(help_text=TEXT, series=SERIES)
def test_any_text_and_any_number_comes_through(help_text: str, series: list[tuple[dict[str, str], float]]) -> None:
    samples = tuple(Sample(value, labels) for labels, value in series)
    text = render([Family("m", "gauge", help_text, samples), Family("next_total", "counter", "n", (Sample(1),))])
    metrics = read(text)
    assert metrics["next_total"].value() == 1
    if not series:
        assert "m" not in metrics
        return
    assert metrics["m"].help == help_text.lstrip(" \t")  # how many blanks stand in front of it says nothing
    assert metrics["m"].samples == {("m", tuple(sorted(labels.items()))): value for labels, value in series}


def test_the_text_is_what_the_description_shows() -> None:
    text = render(
        [
            Family(
                "http_requests_total",
                "counter",
                "The total number\nof C:\\ requests.",
                (Sample(1027, {"method": "post", "code": "200"}), Sample(3, {"method": "post", "code": 'a"\\\n'})),
            ),
            Family("rtt_seconds", "summary", "R", (Sample(0.25, {"quantile": "0.5"}), Sample(7, suffix="_count"))),
        ]
    )
    assert text == (
        "# HELP http_requests_total The total number\\nof C:\\\\ requests.\n"
        "# TYPE http_requests_total counter\n"
        'http_requests_total{method="post",code="200"} 1027\n'
        'http_requests_total{method="post",code="a\\"\\\\\\n"} 3\n'
        "# HELP rtt_seconds R\n"
        "# TYPE rtt_seconds summary\n"
        'rtt_seconds{quantile="0.5"} 0.25\n'
        "rtt_seconds_count 7\n"
    )


@pytest.mark.parametrize(
    ("value", "written"), [(math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (1e300, "1e+300"), (0.1, "0.1")]
)
def test_numbers_that_are_none_are_written_as_go_reads_them(value: float, written: str) -> None:
    text = render([Family("m", "gauge", "h", (Sample(value),))])
    assert text.splitlines()[-1] == f"m {written}"
    read(text)


def test_a_lone_surrogate_does_not_break_the_text() -> None:
    text = render([Family("m", "gauge", "\udc80", (Sample(1, {"a": "\ud800"}),))])
    text.encode()
    assert read(text)["m"].value(a="?") == 1


@pytest.mark.parametrize(
    "families",
    [
        [Family("m_total", "gauge", "h", (Sample(1),))],
        [Family("m", "counter", "h", (Sample(1),))],
        [Family("1m", "gauge", "h", (Sample(1),))],
        [Family("m-n", "gauge", "h", (Sample(1),))],
        [Family("m", "gauge", "h", (Sample(1), Sample(2)))],
        [Family("m", "gauge", "h", (Sample(1, {"a": "x"}), Sample(2, {"a": "x"})))],
        [Family("m", "gauge", "h", (Sample(1),)), Family("m", "gauge", "h", (Sample(1),))],
        [Family("m", "gauge", "h", (Sample(1, {"a": "x", "b": "y"}), Sample(2, {"b": "y", "a": "x"})))],
        [Family("m", "gauge", "h", (Sample(1, {"a-b": "x"}),))],
        [Family("m", "gauge", "h", (Sample(1, {"__a": "x"}),))],
        [Family("m", "gauge", "h", (Sample(1, {"a:b": "x"}),))],
        [Family("m", "gauge", "h", (Sample(1, suffix="_sum"),))],
    ],
)
def test_what_breaks_the_rules_is_a_fault_of_this_program(families: list[Family]) -> None:
    with pytest.raises(AssertionError):
        render(families)


@pytest.mark.parametrize(
    "text",
    [
        "m 1",
        "m\n",
        "m one\n",
        "m 1 2 3\n",
        'm{a="x} 1\n',
        'm{a="\\x"} 1\n',
        'm{a="x"b="y"} 1\n',
        'm{a="x",a="y"} 1\n',
        "m{a=x} 1\n",
        "1m 1\n",
        "m 1\nm 2\n",
        'm 1\nn 1\nm{a="x"} 2\n',
        "# TYPE m number\nm 1\n",
        "m 1\n# TYPE m gauge\n",
        "# TYPE m gauge\n# TYPE m gauge\nm 1\n",
        "# TYPE m summary\nm 1\n",
        "# TYPE m gauge\nm_sum 1\nm 1\n",
        "m 1\r\n",
    ],
)
def test_the_reader_itself_refuses_what_is_not_the_format(text: str) -> None:
    with pytest.raises(FormatError):
        read(text)
