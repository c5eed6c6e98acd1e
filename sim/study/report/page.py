"""A study as one HTML file that fetches nothing and runs nothing: a policy forbids all but its own style."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files

from sim.study.findings import Cell, Goal, Section, Study, Table
from sim.study.numbers import written
from sim.study.report.plot import svg
from sim.study.report.text import SIGNS, run_of, verdict, wanted
from sim.view.render import fingerprint

CLASSES = {True: "met", False: "missed", None: "soft"}


def render(study: Study) -> str:
    """The page, whole: write it to a file as UTF-8."""
    style = (files("sim.study.report") / "page.css").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src '{fingerprint(style)}'; base-uri 'none'; form-action 'none'"
    title = f"Study: {study.study}"
    tiles = "".join(_tile(section) for section in study.sections)
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{style}</style></head><body><main>",
            f"<h1>{escape(title)}</h1>",
            '<p class="soft">Simulated meshes of the protocol objects that the daemon runs. '
            f"{escape(run_of(study))}.</p>",
            f"<p><b>{escape(verdict(study.goals))}.</b></p>",
            f"<nav>{tiles}</nav>",
            *(_section(section) for section in study.sections),
            "</main></body></html>\n",
        ]
    )


def _tile(section: Section) -> str:
    held = [goal.met for goal in section.goals]
    kind = CLASSES[False if False in held else None if None in held or not held else True]
    count = f"{held.count(True)} / {len(held)}" if held else "–"
    return f'<a href="#{section.name}"><b class="{kind}">{count}</b>{escape(section.title)}</a>'


def _section(section: Section) -> str:
    plots = "".join(svg(plot) for plot in section.plots)
    sources = "".join(f'<p class="sources">{escape(source)}</p>' for source in section.sources)
    return "\n".join(
        [
            f'<section id="{section.name}"><h2>{escape(section.title)}</h2>',
            f'<p>{escape(section.asked)}</p><p class="soft">{escape(section.done)}</p>',
            f'<div class="plots">{plots}</div>' if plots else "",
            *(_table(table) for table in section.tables),
            _goals(section.goals),
            f"{sources}</section>",
        ]
    )


def _goals(goals: tuple[Goal, ...]) -> str:
    if not goals:
        return '<p class="soft">Nothing was run of this.</p>'
    shown = sorted(goals, key=lambda goal: (goal.met is not False, goal.met is not None))
    unmet = any(goal.met is not True for goal in goals)
    rows = "".join(
        f"<tr><td>{escape(goal.what)}</td><td>{written(goal.figure, goal.unit)}</td><td>{escape(wanted(goal))}</td>"
        f'<td class="{CLASSES[goal.met]}">{SIGNS[goal.met]}</td><td>{escape(goal.source)}</td></tr>'
        for goal in shown
    )
    return (
        f'<details{" open" if unmet else ""}><summary>{escape(verdict(goals))}</summary><div class="scroll">'
        '<table class="goals"><thead><tr>'
        "<th>goal</th><th>figure</th><th>wanted</th><th></th><th>asked by</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join(f"<tr>{''.join(_cells(row))}</tr>" for row in table.rows)
    return (
        f'<div class="scroll"><table><caption>{escape(table.caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cells(row: tuple[Cell, ...]) -> Iterator[str]:
    for cell in row:
        yield f"<td>{escape(cell) if isinstance(cell, str) else written(cell)}</td>"
