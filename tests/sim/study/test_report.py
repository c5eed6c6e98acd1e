"""A study told: the page from the outside, the text, and the JSON document."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from sim.study.findings import Goal, Plot, Section, Series, Study, Table
from sim.study.report import document, render, summary
from sim.view.render import fingerprint

NASTY = "<b>&\"'"
MET = Goal("what is met", 1.0, "at most", 2.0, "s")
MISSED = Goal("what is missed", 3.0, "at most", 2.0, "s")
UNKNOWN = Goal("what was not run", None, "at least", 2.0, "s")
LINES = Plot("lines", "members", "s", (Series("a", ((5.0, 1.0), (20.0, 2.5))), Series("b", ((5.0, 4.0),), "dots")))
BARS = Plot("bars", "cuts", "s", (Series("x", ((0.0, 1.0), (1.0, 0.0))),), ("g", NASTY), line_at=2.0, line_says="goal")
TABLE = Table("a table", ("name", "figure"), ((NASTY, 1.25), ("nothing", None)))
FULL = Section("one", f"One {NASTY}", "asked", "done", (MET, MISSED, UNKNOWN), (TABLE,), (LINES, BARS), ("a source",))
EMPTY = Section("two", "Two", "asked", "done")
STUDY = Study("membership", (5, 20), "0..3", 7, 9, (FULL, EMPTY))


class Elements(HTMLParser):
    """Collects the elements of a page, and checks that they are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> Elements:
    elements = Elements()
    elements.feed(page)
    assert elements.open == []
    return elements


def test_the_page_fetches_nothing_and_runs_nothing() -> None:
    page = render(STUDY)
    elements = parsed(page)
    assert not [tag for tag, _ in elements.tags if tag in ("script", "img", "link", "iframe", "object", "image", "use")]
    for _, attributes in elements.tags:
        assert "style" not in attributes, "the policy forbids it"
        assert not {"src", "srcset", "data", "xlink:href"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in page
    assert "@import" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_policy_names_the_very_style_of_the_page() -> None:
    page = render(STUDY)
    (policy,) = (
        attributes["content"]
        for tag, attributes in parsed(page).tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    style = re.search("<style>(.*)</style>", page, re.S)
    assert style is not None
    assert policy is not None
    assert f"style-src '{fingerprint(style[1])}'" in policy
    assert "default-src 'none'" in policy
    assert "prefers-color-scheme: dark" in style[1]


def test_text_is_never_markup() -> None:
    page = render(STUDY)
    assert '<b>&"' not in page
    assert f"One {NASTY}" in parsed(page).text


def test_every_figure_is_on_the_page() -> None:
    elements = parsed(render(STUDY))
    for said in ("what is met", "1 s", "at most 2 s", "MISSED", "not measured", "1.25", "a source", "Nothing was run"):
        assert said in elements.text
    assert elements.text.count("1 of 3 goals met; 1 missed, 1 not measured") == 2, "of the study, and of its section"
    assert "1 / 3" in elements.text
    assert "it was broken off" in elements.text
    kinds = [tag for tag, _ in elements.tags]
    assert kinds.count("figure") == 2
    assert "a: 2.5 at 20" in elements.text, "the tooltip of a point"
    assert "x, g: 1" in elements.text, "the tooltip of a bar"


def test_a_bar_of_nothing_has_no_height_and_one_of_little_is_seen() -> None:
    plot = Plot("bars", "", "", (Series("x", ((0.0, 0.0), (1.0, 1e-6), (2.0, 100.0))),), ("a", "b", "c"))
    page = render(Study("s", (5,), "", 1, 1, (Section("n", "t", "", "", (MET,), (), (plot,)),)))
    heights = [float(attributes["height"] or 0) for tag, attributes in parsed(page).tags if tag == "rect"]
    assert heights[0] == 0
    assert heights[1] == 1.5
    assert heights[2] > 100


def test_a_legend_names_every_series() -> None:
    entries = re.findall("<li>.*?</li>", render(STUDY))
    assert [re.sub("<.*?>", "", entry) for entry in entries] == ["a", "b", "x"]


def test_what_was_not_run_has_no_place_in_a_plot_and_the_others_keep_their_colours() -> None:
    plot = Plot("bars", "", "", (Series("no", ()), Series("yes", ((0.0, 2.0),))), ("a",))
    page = render(Study("s", (5,), "", 1, 1, (Section("n", "t", "", "", (MET,), (), (plot,)),)))
    assert [re.sub("<.*?>", "", entry) for entry in re.findall("<li>.*?</li>", page)] == ["yes"]
    (bar,) = (attributes for tag, attributes in parsed(page).tags if tag == "rect")
    assert bar["class"] == "bar c1"
    middle = float(bar["x"] or 0) + float(bar["width"] or 0) / 2
    (label,) = (attributes for tag, attributes in parsed(page).tags if tag == "text" and attributes["class"] == "value")
    assert float(label["x"] or 0) == middle
    assert f'class="tick" x="{middle:.1f}"' in page, "it stands over its name"


def test_the_summary_says_each_figure_beside_its_goal() -> None:
    lines = summary(STUDY).splitlines()
    assert (
        lines[0]
        == "study membership: N = 5, 20; seeds: 0..3; 7 of 9 runs: it was broken off, and this is what there is"
    )
    assert re.search(r"^  met          what is met +1 s  \(at most 2 s\)$", "\n".join(lines), re.M)
    assert re.search(r"^  MISSED       what is missed +3 s  \(at most 2 s\)$", "\n".join(lines), re.M)
    assert re.search(r"^  not measured what was not run +–", "\n".join(lines), re.M)
    assert "  nothing was run of this" in lines
    assert lines[-1] == "1 of 3 goals met; 1 missed, 1 not measured"


def test_what_was_not_measured_is_never_told_as_met() -> None:
    study = Study("s", (5,), "", 1, 1, (Section("n", "t", "", "", (MET, UNKNOWN)),))
    assert summary(study).splitlines()[-1] == "1 of 2 goals met; 1 not measured"
    page = render(study)
    assert "all met" not in page
    assert '<b class="soft">1 / 2</b>' in page
    assert "<details open>" in page
    assert summary(Study("s", (5,), "", 0, 1, (EMPTY,))).splitlines()[-1] == "nothing was measured"


def test_the_document_has_the_figures_and_their_verdicts() -> None:
    told = json.loads(document(STUDY))
    assert told["goals"] == {"met": 1, "missed": 1, "not_measured": 1}
    assert [goal["met"] for goal in told["sections"][0]["goals"]] == [True, False, None]
    assert told["sections"][0]["tables"][0]["rows"][0] == [NASTY, 1.25]
    assert told["sections"][0]["plots"][0]["series"][0]["points"] == [[5.0, 1.0], [20.0, 2.5]]


def test_a_figure_at_its_limit_is_within_it_but_not_under_it() -> None:
    assert Goal("", 2.0, "at most", 2.0).met is True
    assert Goal("", 2.0, "at least", 2.0).met is True
    assert Goal("", 2.0, "under", 2.0).met is False
    assert Goal("", 1.9, "under", 2.0).met is True
