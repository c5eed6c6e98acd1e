"""A study told: as text beside its goals (`text.py`), as JSON (`document.py`), and as one HTML file (`page.py`)."""

from __future__ import annotations

from sim.study.report.document import document
from sim.study.report.page import render
from sim.study.report.text import summary

__all__ = ["document", "render", "summary"]
