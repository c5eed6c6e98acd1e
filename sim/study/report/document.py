"""A study as JSON: all that the page shows, in numbers. It holds no time of day and no duration: it can be compared."""

from __future__ import annotations

from typing import Any

import msgspec

from sim.study.findings import Study


def document(study: Study) -> str:
    """One JSON document, with a goal's verdict beside its figure."""
    whole: dict[str, Any] = msgspec.to_builtins(study)
    for told, section in zip(whole["sections"], study.sections, strict=True):
        for goal, meant in zip(told["goals"], section.goals, strict=True):
            goal["met"] = meant.met
    judged = [goal.met for goal in study.goals]
    whole["goals"] = {"met": judged.count(True), "missed": judged.count(False), "not_measured": judged.count(None)}
    return msgspec.json.format(msgspec.json.encode(whole), indent=1).decode() + "\n"
