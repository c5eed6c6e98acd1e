"""Makes the one HTML file of a recording: the page, its style and its script in line, the recording as data.

The file fetches nothing: a content security policy forbids everything but this very script and this very style, named
by their hashes. Text from a recording reaches the page only as JSON in which no `<` is left, and the page's script
writes it as text, never as markup.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files

import msgspec

from sim.record.happening import Recording
from sim.view.payload import payload, title

PAGE = "page.html"
STYLES = ("page.css",)
SCRIPTS = (
    "recording.js",
    "state.js",
    "layout.js",
    "words.js",
    "draw.js",
    "arrows.js",
    "glyphs.js",
    "tracks.js",
    "overview.js",
    "pick.js",
    "panels.js",
    "input.js",
    "main.js",
)
"""In the order in which they are put together, inside of one function: none of their names leaves the page."""

_SLOT = re.compile(r"\{\{(\w+)\}\}")
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(recording: Recording) -> str:
    """The HTML of `recording`, whole: write it to a file as UTF-8."""
    script, style = _script(), _style()
    slots = {
        "title": escape(f"{title(recording.scenario)}, seed {recording.scenario.seed}"),
        "policy": _policy(script, style),
        "style": style,
        "script": script,
        "recording": _json(recording),
    }
    return _SLOT.sub(lambda slot: slots[slot[1]], _read(PAGE))


def _json(recording: Recording) -> str:
    text = msgspec.json.encode(payload(recording)).decode()
    return re.sub("[<>&\u2028\u2029]", lambda character: _UNSAFE[character[0]], text)


def _policy(script: str, style: str) -> str:
    return (
        f"default-src 'none'; script-src '{fingerprint(script)}'; style-src '{fingerprint(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def fingerprint(text: str) -> str:
    """How a content security policy names a script or style that stands in the page itself."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


@cache
def _script() -> str:
    parts = "\n".join(_read(name) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();'


@cache
def _style() -> str:
    return "\n".join(_read(name) for name in STYLES)


def _read(name: str) -> str:
    return (files("sim.view") / name).read_text(encoding="utf-8")
