"""The HTML file from the outside of a browser: self-contained, escaped, and made of what the recording says."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

from msgspec.structs import replace

from sim.record.happening import Happening, Kind, Recording
from sim.scenario import Scenario
from sim.view import render
from sim.view.payload import payload
from sim.view.render import PAGE, SCRIPTS, STYLES
from sim.view.stage import Stretch, cuts, down_times, faults, span
from tests.sim.view.recordings import MS, NASTY, S, nasty, small


class Elements(HTMLParser):
    """Collects the elements of a page, and the text of its scripts and its style."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in self.texts:
            self.texts[self._open].append(data)


def elements(html: str) -> Elements:
    parser = Elements()
    parser.feed(html)
    parser.close()
    return parser


def data_of(html: str) -> Any:
    return json.loads(elements(html).texts["script"][0])


def test_the_file_names_nothing_outside_of_itself() -> None:
    page = elements(render(small()))
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base"), tag
        assert not {"src", "href", "srcset", "action", "style", "onclick"} & attributes.keys(), (tag, attributes)
    for text in (*page.texts["style"], page.texts["script"][1]):
        assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)


def test_the_policy_allows_this_script_and_this_style_and_nothing_else() -> None:
    page = elements(render(small()))
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    style, script = page.texts["style"][0], page.texts["script"][1]
    assert policy == (
        f"default-src 'none'; script-src '{fingerprint(script)}'; style-src '{fingerprint(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def fingerprint(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def test_text_that_tries_to_break_out_stays_inside() -> None:
    html = render(nasty())
    page = elements(html)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in elements(render(small())).tags]
    assert data_of(html)["names"] == ["n0", NASTY, "n2"]
    assert page.texts["title"] == [f"{NASTY}, seed 42"]


def test_a_name_that_looks_like_a_slot_of_the_page_is_left_alone() -> None:
    html = render(replace(small(), names=("{{script}}", "{{recording}}", "n2")))
    assert data_of(html)["names"] == ["{{script}}", "{{recording}}", "n2"]


def test_everything_that_the_page_is_made_of_is_shipped() -> None:
    shipped = {entry.name for entry in files("sim.view").iterdir() if entry.name.endswith((".js", ".css", ".html"))}
    assert shipped == {PAGE, *SCRIPTS, *STYLES}


def test_messages_are_columns_of_differences() -> None:
    data = payload(small())
    messages, strings = data["messages"], data["strings"]
    assert messages["at"][:3] == [1 * S, 6 * MS, 3 * S - (1 * S + 6 * MS)]
    assert sum(messages["at"]) == 9 * S
    assert [strings[number] for number in messages["type"]][:3] == ["Ping", "Ack", "Ping"]
    assert [strings[number] for number in messages["lost"] if number >= 0] == ["cut", "down", "nobody there"]
    assert messages["took"] == [5 * MS, 5 * MS, 0, 1500 * MS, 5 * MS, 0, -1, 5 * MS]
    assert messages["notes"] == {"7": strings.index("duplicate")}


def test_marks_have_a_tone_and_are_filtered_by_what_they_are() -> None:
    data = payload(small())
    events, strings = data["events"], data["strings"]
    assert events["sorts"] == [
        ["boot", ""],
        ["mark", "MemberChanged"],
        ["crash", ""],
        ["mark", "Refuted"],
        ["fact", "JoinedMesh"],
    ]
    tones = [strings[number] for number in events["tone"] if strings[number]]
    assert tones == ["doubt", "bad", "change"]


# The stage.


def test_a_node_is_down_from_its_crash_to_its_boot() -> None:
    assert down_times(small()) == [[], [Stretch(5100 * MS, 8 * S, "down")], []]


def test_a_node_that_starts_late_is_down_until_then() -> None:
    late = replace(small(), happenings=(Happening(3 * S, Kind.BOOT, 0, "boot"),))
    assert down_times(late)[0] == [Stretch(0, 3 * S, "not started yet")]
    assert down_times(late)[1] == [Stretch(0, 10 * S, "not started yet")]


def test_a_node_that_never_comes_back_is_down_to_the_end() -> None:
    recording = replace(small(), happenings=tuple(each for each in small().happenings if each.at < 8 * S))
    assert down_times(recording)[1][-1] == Stretch(5100 * MS, 10 * S, "down")


def test_cuts_and_faults_have_their_stretches() -> None:
    assert cuts(small()) == [Stretch(2 * S, 5 * S, "n0 n1 | n2", "aab")]
    assert faults(small()) == [Stretch(2 * S, 5 * S, "n2 isolated at 2-5 s")]


def test_what_is_in_force_at_the_end_lasts_to_it() -> None:
    recording = replace(small(), happenings=small().happenings[:9])
    assert cuts(recording) == [Stretch(2 * S, 10 * S, "n0 n1 | n2", "aab")]
    open_end = Happening(3 * S, Kind.FAULT, -1, "fault", "rain")
    assert faults(replace(recording, happenings=(open_end,))) == [Stretch(3 * S, 10 * S, "rain")]


def test_the_stage_is_set_by_what_was_forgotten() -> None:
    whole = small()
    bounded = replace(whole, happenings=whole.happenings[14:], before=whole.happenings[:14], forgotten=14)
    assert span(bounded) == (whole.happenings[14].at, 10 * S)
    assert down_times(bounded) == down_times(whole)
    assert cuts(bounded) == cuts(whole)
    assert faults(bounded) == faults(whole)


def test_only_the_asked_for_stretch_is_in_sight() -> None:
    asked = replace(small(), since=3 * S, until=6 * S)
    assert span(asked) == (3 * S, 6 * S)
    data = payload(asked)
    assert (data["begin"], data["end"], data["run_end"]) == (3 * S, 6 * S, 10 * S)
    assert len(data["messages"]["at"]) == 4
    assert data["cuts"][0][0] == 2 * S


def test_an_empty_recording_can_be_shown() -> None:
    empty = Recording(Scenario(nodes=1), ("n0",), (), 0, (), "", end=0)
    assert data_of(render(empty))["begin"] == 0
