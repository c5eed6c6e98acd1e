"""A real browser for the tests of the view: found, or missed loudly.

Where there is none, a test that needs one is skipped with the name of the package to install; in CI (`CI=true`) it
fails instead, so that nothing there passes for want of a browser.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from sim.record.happening import Recording
from sim.view import render

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WIDTH, HEIGHT = 1366, 768
PATIENCE_MS = 180_000.0
"""For whatever is asked of the browser, on a machine that has much else to do."""


def find_browser() -> str:
    """The path of a Chromium; skips the test that asks, or fails it in CI, where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missed()
    return path


def missed() -> NoReturn:
    """There is no browser."""
    text = "no Chromium to open the view in: install the Debian package `chromium` (apt-get install chromium)"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(text)
    pytest.skip(text)


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """A headless browser, closed at the end."""
    path = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS), timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


class Opened:
    """A recording in a browser without a network. `requests` are all that was fetched, `complaints` what went wrong.

    `foreseen` are words of complaints that tests bring about themselves: at first, that reading pixels back is slow.
    """

    def __init__(self, browser: Browser, recording: Recording, folder: Path, *, scheme: str = "light") -> None:
        self.file = folder / "view.html"
        self.file.write_text(render(recording), encoding="utf-8")
        self.complaints: list[str] = []
        self.foreseen = ["willReadFrequently"]
        self.requests: list[str] = []
        context = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT},
            color_scheme="dark" if scheme == "dark" else "light",
            offline=True,
        )
        context.set_default_timeout(PATIENCE_MS)
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self._complain(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(self.file.as_uri())
        self.settle()

    def _complain(self, text: str) -> None:
        if not any(words in text for words in self.foreseen):
            self.complaints.append(text)

    def close(self) -> None:
        self.page.context.close()

    def ask(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.page.evaluate(script)

    def settle(self) -> None:
        """Wait until what was asked for has been drawn: two frames of the browser."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what comes from the browser when it comes, frame by frame."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not condition():
            assert time.monotonic() < deadline, "it never came"
            self.settle()

    def click(self, selector: str) -> None:
        self.page.click(selector)
        self.settle()

    def press(self, *keys: str) -> None:
        """Press keys with the diagram focused."""
        self.page.focus("#canvas")
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def check(self, group: str, name: str) -> None:
        """Press the checkbox of the filter called `name` in one of the groups message, event and node."""
        self.page.locator(f"#{group}-filters li", has_text=name).locator("input").click()
        self.settle()

    def drawn(self) -> dict[str, Any]:
        """What the last frame drew."""
        drawn: dict[str, Any] = self.ask("meshsim.drawn")
        return drawn

    def window(self) -> tuple[float, float]:
        """From when to when is shown, in seconds."""
        begin, end = self.ask("[meshsim.from, meshsim.to]")
        return begin, end

    def selected(self) -> dict[str, Any] | None:
        selected: dict[str, Any] | None = self.ask("meshsim.selected")
        return selected

    def colour_at(self, x: float, y: float) -> tuple[int, int, int]:
        """The colour of a point of the diagram."""
        red, green, blue, _ = self.ask(
            "[...document.getElementById('canvas').getContext('2d')"
            f".getImageData(Math.round({x} * devicePixelRatio), Math.round({y} * devicePixelRatio), 1, 1).data]"
        )
        return red, green, blue
