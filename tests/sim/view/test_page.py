"""The view in a real browser, from its file, without a network: what it draws, filters, zooms into and points out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser

from sim.record.happening import Recording
from tests.sim.view.browser import Opened, find_browser, opened_browser
from tests.sim.view.recordings import NASTY, failed, many, nasty, small


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as browser:
        yield browser


@pytest.fixture
def view(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    """The small recording, all of it in sight."""
    with opened(browser, small(), tmp_path) as view:
        yield view


@contextmanager
def opened(browser: Browser, recording: Recording, folder: Path, *, scheme: str = "light") -> Iterator[Opened]:
    """A recording, opened; whatever a test did to it, nothing was fetched but the file and nothing went wrong."""
    view = Opened(browser, recording, folder, scheme=scheme)
    try:
        yield view
    finally:
        view.close()
    assert view.requests == [view.file.as_uri()]
    assert view.complaints == []


# A browser, or a word about it.


def test_without_a_browser_a_test_is_skipped_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        find_browser()


def test_without_a_browser_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        find_browser()


# What is drawn.


def test_the_header_tells_what_was_run(view: Opened) -> None:
    assert view.page.inner_text("#title") == "small"
    assert view.page.inner_text("#outcome") == "1 violation"
    assert view.page.inner_text("#seed") == "42"
    assert view.page.inner_text("#hash") == "5ca1ab1e"
    assert "3 nodes" in view.page.inner_text("#words")
    assert view.page.is_hidden("#forgotten")


def test_all_of_it_is_drawn(view: Opened) -> None:
    view.click("#zoom-all")
    drawn = view.drawn()
    assert (drawn["lanes"], drawn["mode"]) == (3, "arrows")
    assert (drawn["messages"], drawn["lost"]) == (8, 3)
    assert drawn["events"] == 8  # 3 marks, 4 boots, 1 crash; facts only when asked for
    assert drawn["violations"] == 1
    assert drawn["down"] == 1
    assert view.page.inner_text("#mode") == "8 messages in sight, 3 of them lost"


def test_a_held_run_opens_on_all_of_it(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, many(5, 300), tmp_path) as view:
        begin, end = view.window()
        assert begin < 0
        assert end > 60
        assert view.page.inner_text("#outcome") == "held"
        assert view.page.is_hidden("#violations-box")


def test_a_bounded_recording_says_so(browser: Browser, tmp_path: Path) -> None:
    recording = small()
    bounded = replace(recording, happenings=recording.happenings[9:], forgotten=1234, before=recording.happenings[:9])
    with opened(browser, bounded, tmp_path) as view:
        notice = view.page.inner_text("#forgotten")
        assert notice.startswith("1,234 earlier events are not shown")
        assert "begins at 4.000 s" in notice
        view.click("#zoom-all")
        assert view.drawn()["messages"] == 5


def test_lanes_are_grey_while_a_node_is_down_and_tinted_in_a_cut(view: Opened) -> None:
    view.click("#zoom-all")
    height = view.ask("meshsim.placeOf(0, 1).y - meshsim.placeOf(0, 0).y")

    def lane(seconds: float, node: int) -> tuple[int, int, int]:
        place = view.ask(f"meshsim.placeOf({seconds}, {node})")
        return view.colour_at(place["x"], place["y"] + 0.13 * height)

    white = lane(9.5, 1)
    assert lane(7.0, 1) != white
    assert lane(7.0, 0) == white
    assert lane(2.5, 0) == lane(2.5, 1) != lane(2.5, 2) != white


def test_a_lost_message_dies_at_a_cross(view: Opened) -> None:
    lost = view.ask("getComputedStyle(document.documentElement).getPropertyValue('--lost').trim()")
    red = tuple(int(lost[index : index + 2], 16) for index in (1, 3, 5))
    view.click("#zoom-all")
    place = view.ask("meshsim.placeOf(3, 0)")
    near = {view.colour_at(place["x"] + 7 + dx, place["y"] + 18 + dy) for dx in range(-4, 5) for dy in range(-4, 5)}
    assert red in near
    view.page.mouse.move(*on_page(view, place["x"] + 7, place["y"] + 17))
    view.settle()
    hovered = view.ask("meshsim.hovered")
    assert hovered["what"] == "Ping: n0 → n2 (lost)"
    assert ["why", "cut: the network was cut between them"] in hovered["rows"]


def on_page(view: Opened, x: float, y: float) -> tuple[float, float]:
    """A point of the diagram as a point of the page."""
    left, top = view.ask("(r => [r.left, r.top])(document.getElementById('canvas').getBoundingClientRect())")
    return left + x, top + y


# Filters.


def test_messages_are_filtered_by_kind(view: Opened) -> None:
    view.click("#zoom-all")
    view.check("message", "Ack")
    assert view.drawn()["messages"] == 6
    view.click("#messages-none")
    assert view.drawn()["messages"] == 0
    view.click("#messages-all")
    assert view.drawn()["messages"] == 8
    view.click("#only-lost")
    assert (view.drawn()["messages"], view.drawn()["lost"]) == (3, 3)


def test_filters_count_what_there_is(view: Opened) -> None:
    rows = view.page.locator("#message-filters li").all_inner_texts()
    assert [" ".join(row.split()) for row in rows] == ["Ping 6 (2 lost)", "Ack 2 (1 lost)"]
    assert [" ".join(row.split()) for row in view.page.locator("#node-filters li").all_inner_texts()] == [
        "n0 6",
        "n1 6",
        "n2 3",
    ]


def test_a_node_that_is_not_wanted_has_no_lane_and_no_messages(view: Opened) -> None:
    view.click("#zoom-all")
    view.check("node", "n2")
    drawn = view.drawn()
    assert (drawn["lanes"], drawn["messages"], drawn["lost"]) == (2, 5, 1)
    view.click("#nodes-none")
    assert view.drawn()["lanes"] == 0
    view.click("#nodes-all")
    assert view.drawn()["lanes"] == 3


def test_events_are_filtered_and_facts_shown_when_asked_for(view: Opened) -> None:
    view.click("#zoom-all")
    before = view.drawn()["events"]
    view.check("event", "MemberChanged")
    assert view.drawn()["events"] == before - 2
    view.check("event", "JoinedMesh")
    assert view.drawn()["events"] == before - 1
    view.click("#events-none")
    assert view.drawn()["events"] == 0


# Moving.


def test_zooming_and_panning_change_what_is_in_sight(view: Opened) -> None:
    view.click("#zoom-all")
    begin, end = view.window()
    view.click("#zoom-in")
    assert view.window()[1] - view.window()[0] == pytest.approx((end - begin) / 1.6)
    view.click("#zoom-out")
    assert view.window() == pytest.approx((begin, end), abs=0.2)
    view.press("Home", *["+"] * 8)
    assert (view.drawn()["messages"], view.drawn()["violations"]) == (0, 0)
    view.press("0")
    assert view.drawn()["messages"] == 8
    view.press("+", "ArrowRight")
    assert sum(view.window()) > begin + end
    view.press("ArrowLeft", "ArrowLeft")
    assert sum(view.window()) < begin + end


def test_the_wheel_zooms_where_the_pointer_is_and_dragging_pans(view: Opened) -> None:
    view.click("#zoom-all")
    place = view.ask("meshsim.placeOf(3, 1)")
    view.page.mouse.move(*on_page(view, place["x"], place["y"] + 20))
    view.page.mouse.wheel(0, -300)
    view.until(lambda: view.window()[1] - view.window()[0] < 8)
    begin, end = view.window()
    assert view.ask("meshsim.placeOf(3, 1)")["x"] == pytest.approx(place["x"], abs=1)
    view.page.mouse.down()
    view.page.mouse.move(*on_page(view, place["x"] - 200, place["y"] + 20))
    view.page.mouse.up()
    view.settle()
    assert view.window()[0] > begin
    assert view.window()[1] - view.window()[0] == pytest.approx(end - begin)


def test_the_strip_moves_the_window(view: Opened) -> None:
    view.click("#zoom-all")
    view.press("+", "+", "+", "+")
    box = view.page.locator("#overview").bounding_box()
    assert box is not None
    view.page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + 10)
    view.settle()
    assert sum(view.window()) / 2 == pytest.approx(2.5, abs=0.1)


def test_what_is_shown_is_stepped_through_by_keys_and_told(view: Opened) -> None:
    view.click("#zoom-all")
    view.press("Escape", "Home", ".")
    seen = []
    for _ in range(6):
        selected = view.selected()
        assert selected is not None
        seen.append(selected["what"])
        view.press(".")
    assert seen == [
        "n0 starts for the first time",
        "n1 starts for the first time",
        "n2 starts for the first time",
        "Ping: n0 → n1",
        "Ack: n1 → n0",
        "Ping: n0 → n2 (lost)",
    ]
    view.press(",")
    told = view.page.inner_text("#details")
    assert "Ping: n0 → n2 (lost)" in told
    assert "the network was cut between them" in told


def test_lost_messages_are_stepped_through(view: Opened) -> None:
    view.press("Home")
    whys = []
    for _ in range(3):
        view.press("l")
        selected = view.selected()
        assert selected is not None
        whys.append(dict(selected["rows"])["why"].split(":")[0])
    assert whys == ["cut", "down", "nobody there"]
    view.press("L")
    selected = view.selected()
    assert selected is not None
    assert dict(selected["rows"])["lost"] == "5.205000 s (5 ms later)"


def test_the_words_of_every_sort_of_thing(view: Opened) -> None:
    said = []
    view.click("#events-all")
    view.press("Escape", "Home", ".")
    for _ in range(20):
        view.press(".")
        selected = view.selected()
        assert selected is not None
        said.append(f"{selected['what']} {dict(selected['rows'])}")
    told = "\n".join(said)
    assert "n0 n2 is suspect" in told
    assert "n1 crashes at the end of life 1" in told
    assert "never: it still waits" in told
    assert "second copy of a doubled packet" in told
    assert "Ack: n2 → nobody (lost)" in told


# Violations.


def test_a_failed_run_opens_centred_on_its_first_violation(browser: Browser, tmp_path: Path) -> None:
    report, recording = failed()
    first = report.violations[0]
    with opened(browser, recording, tmp_path) as view:
        begin, end = view.window()
        assert (begin + end) / 2 == pytest.approx(first.time_s, abs=1e-6)
        assert end - begin < 11
        assert view.drawn()["mode"] == "arrows"
        assert view.drawn()["violations"] >= 1
        selected = view.selected()
        assert selected is not None
        assert selected["what"] == f"Violated: {first.property}"
        assert first.text in view.page.inner_text("#details")
        assert view.page.locator("#violations li").count() == len(report.violations)
        assert view.page.inner_text("#outcome") == f"{len(report.violations)} violations"


def test_a_violation_is_a_red_line_with_a_flag(view: Opened) -> None:
    value = view.ask("getComputedStyle(document.documentElement).getPropertyValue('--violation').trim()")
    red = tuple(int(value[index : index + 2], 16) for index in (1, 3, 5))
    place = view.ask("meshsim.placeOf(6, 1)")
    assert red in {view.colour_at(place["x"] + dx, place["y"] + 30) for dx in (-1, 0, 1)}
    ring = view.ask("meshsim.placeOf(6, 2)")
    assert red in {view.colour_at(ring["x"] + dx, ring["y"]) for dx in (8, 9, 10)}


def test_violations_are_jumped_to(browser: Browser, tmp_path: Path) -> None:
    report, recording = failed()
    last = report.violations[-1]
    with opened(browser, recording, tmp_path) as view:
        view.page.locator("#violations button").last.click()
        view.settle()
        assert sum(view.window()) / 2 == pytest.approx(last.time_s, abs=1e-6)
        view.press("v")
        assert sum(view.window()) / 2 == pytest.approx(report.violations[0].time_s, abs=1e-6)
        view.press("V")
        assert sum(view.window()) / 2 == pytest.approx(last.time_s, abs=1e-6)


# Text is text.


def test_names_and_words_that_try_to_break_out_are_shown_as_they_are(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, nasty(), tmp_path) as view:
        assert view.ask("window.broken") is None
        assert view.page.locator("img").count() == 0
        assert view.page.text_content("#title") == NASTY
        assert view.page.locator("#node-filters .name").all_text_contents() == ["n0", NASTY, "n2"]
        assert NASTY in (view.page.text_content("#details") or "")
        last = view.page.locator("#violations button").last
        assert last.is_disabled()
        assert "outside of what is shown" in last.inner_text()


# Large ones.


def test_twenty_nodes_and_ten_thousand_messages(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, many(20, 10_000), tmp_path) as view:
        drawn = view.drawn()
        assert (drawn["lanes"], drawn["messages"], drawn["mode"]) == (20, 10_000, "bars")
        assert "zoom in" in view.page.inner_text("#mode")
        view.press(*["+"] * 8)
        drawn = view.drawn()
        assert drawn["mode"] == "arrows"
        assert 50 < drawn["messages"] < 1000


def test_more_nodes_than_fit_are_scrolled_to(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, many(100, 2000), tmp_path) as view:
        before = view.ask("meshsim.placeOf(0, 99).y")
        assert before > 768
        view.press(*["ArrowDown"] * 30)
        assert view.ask("meshsim.placeOf(0, 99).y") < 768
        view.press(*["ArrowUp"] * 40)
        assert view.ask("meshsim.placeOf(0, 99).y") == before


# Looks and access.


def test_light_and_dark_follow_the_system_until_they_are_chosen(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, small(), tmp_path, scheme="dark") as view:
        assert view.ask("document.documentElement.dataset.theme") == "dark"
        dark = view.colour_at(300, 500)
        view.click("#theme")
        assert view.ask("document.documentElement.dataset.theme") == "light"
        assert sum(view.colour_at(300, 500)) > sum(dark)
        view.click("#theme")
        assert view.ask("document.documentElement.dataset.theme") == "dark"


def test_every_control_has_a_name_and_is_reached_by_keyboard(view: Opened) -> None:
    nameless = view.ask(
        "[...document.querySelectorAll('button, input, canvas')]"
        ".filter(e => !(e.ariaLabel || e.textContent.trim() || e.closest('label')?.textContent.trim()))"
        ".map(e => e.outerHTML)"
    )
    assert nameless == []
    unreachable = view.ask("[...document.querySelectorAll('button, input')].filter(e => e.tabIndex < 0).length")
    assert unreachable == 0
    assert view.ask("document.getElementById('canvas').tabIndex") == 0


def test_nothing_in_the_page_can_be_set_from_outside(view: Opened) -> None:
    view.ask("(() => { try { meshsim.from = 1; meshsim.extra = 2; } catch (error) {} })()")
    assert view.ask("meshsim.extra") is None
    assert view.ask("Object.isFrozen(meshsim)")


def test_the_page_forbids_itself_the_network(view: Opened) -> None:
    said: list[str] = []
    view.page.on("console", lambda message: said.append(message.text))
    view.foreseen.append("Content Security Policy")
    outcome = view.ask("fetch('https://example.org/').then(() => 'fetched', () => 'refused')")
    assert outcome == "refused"
    view.until(lambda: any("Content Security Policy" in text for text in said))
