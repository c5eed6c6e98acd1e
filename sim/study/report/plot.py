"""A plot as SVG, by hand: hairline grid, thin marks, a legend, and the figure of every mark in its tooltip.

What has no points is not shown; the others keep their colours. Colours are classes; the style sheet of the page decides
on them, for light and dark. Nothing here is a style attribute, which the page's policy forbids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from textwrap import wrap

from sim.study.findings import Plot, Point, Series
from sim.study.numbers import written
from sim.study.report.scale import Scale, linear, logarithmic

WIDTH, HEIGHT = 540, 290
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 14, 50
COLOURS = 6
MARKED_MAX = 12
"""Lines of more points than this have no marks of their own."""
BAR_MAX = 30.0
LETTER_WIDTH = 6.4
DIGIT_WIDTH = 6.4
"""Of the figure over a bar; one that is wider than its bar is left to the tooltip and the table."""


def svg(plot: Plot) -> str:
    """The picture with its caption and legend, as one `figure` element."""
    drawn = "".join(_bars(plot) if plot.groups else _lines(plot))
    legend = "".join(_legend_entry(place, series) for place, series in enumerate(plot.series) if series.points)
    return (
        f'<figure class="plot"><figcaption>{escape(plot.caption)}</figcaption>'
        f'<ul class="legend">{legend}</ul>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(plot.caption)}">{drawn}</svg></figure>'
    )


def _legend_entry(place: int, series: Series) -> str:
    mark = f'<svg viewBox="0 0 22 10" class="key"><path class="{_classes(place, series)}" d="M1 5H21"/></svg>'
    if series.look == "dots":
        mark = (
            f'<svg viewBox="0 0 22 10" class="key"><circle class="dot c{place % COLOURS}" cx="11" cy="5" r="4"/></svg>'
        )
    return f"<li>{mark}{escape(series.name)}</li>"


def _classes(place: int, series: Series) -> str:
    return f"line c{place % COLOURS}" + (" dashed" if series.look == "dashed" else "")


def _upright(plot: Plot, values: list[float]) -> Scale:
    if plot.line_at is not None:
        values = [*values, plot.line_at]
    if plot.log_y:
        return logarithmic(values, HEIGHT - BOTTOM, TOP, whole=True)
    return linear(values, HEIGHT - BOTTOM, TOP)


def _lines(plot: Plot) -> Iterator[str]:
    points = [point for series in plot.series for point in series.points if math.isfinite(point[1])]
    across = [x for x, _ in points]
    right = WIDTH - RIGHT
    x = logarithmic(across, LEFT, right, whole=False) if plot.log_x else linear(across, LEFT, right)
    y = _upright(plot, [value for _, value in points])
    yield from _grid(plot, y)
    for tick in sorted(set(across)) if plot.log_x and len(set(across)) <= MARKED_MAX else x.ticks:
        yield _below(x.place(tick), written(tick))
    for place, series in enumerate(plot.series):
        yield from _series(place, series, x, y)
    yield from _goal(plot, y)


def _below(at: float, text: str, room: float = WIDTH) -> str:
    """Under the axis, in lines of no more than `room`."""
    lines = wrap(text, max(1, int(room / LETTER_WIDTH)))
    return "".join(
        f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 16 + 13 * number}" text-anchor="middle">'
        f"{escape(line)}</text>"
        for number, line in enumerate(lines)
    )


def _series(place: int, series: Series, x: Scale, y: Scale) -> Iterator[str]:
    drawn = [(x.place(a), y.place(b)) for a, b in series.points]
    if series.look != "dots" and drawn:
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in drawn)
        yield f'<path class="{_classes(place, series)}" d="{path}"><title>{escape(series.name)}</title></path>'
    if series.look == "dots" or (series.look == "line" and len(drawn) <= MARKED_MAX):
        for (a, b), point in zip(drawn, series.points, strict=True):
            yield (
                f'<circle class="dot c{place % COLOURS}" cx="{a:.1f}" cy="{b:.1f}" r="4">'
                f"<title>{_says(series, point)}</title></circle>"
            )


def _says(series: Series, point: Point) -> str:
    return escape(f"{series.name}: {written(point[1])} at {written(point[0])}")


def _bars(plot: Plot) -> Iterator[str]:
    y = _upright(plot, [value for series in plot.series for _, value in series.points])
    yield from _grid(plot, y)
    room = (WIDTH - LEFT - RIGHT) / len(plot.groups)
    shown = [(place, series) for place, series in enumerate(plot.series) if series.points]
    width = min(BAR_MAX, 0.8 * room / max(1, len(shown)))
    for group, name in enumerate(plot.groups):
        middle = LEFT + room * (group + 0.5)
        yield _below(middle, name, room)
        left = middle - width * len(shown) / 2
        for beside, (place, series) in enumerate(shown):
            value = next((value for at, value in series.points if at == group), None)
            if value is not None:
                says = escape(f"{series.name}, {name}: {written(value)}")
                yield from _bar(left + beside * width, width, y, value, f"c{place % COLOURS}", says)
    yield from _goal(plot, y)


def _bar(left: float, width: float, y: Scale, value: float, colour: str, says: str) -> Iterator[str]:
    top = y.place(value)
    height = max(HEIGHT - BOTTOM - top, 0.0)
    if value > 0 and height < 1.5:  # what is there is seen
        top, height = HEIGHT - BOTTOM - 1.5, 1.5
    yield (
        f'<rect class="bar {colour}" x="{left + 1:.1f}" y="{top:.1f}" width="{width - 2:.1f}" height="{height:.1f}">'
        f"<title>{says}</title></rect>"
    )
    figure = written(value)
    if DIGIT_WIDTH * len(figure) <= width:
        yield f'<text class="value" x="{left + width / 2:.1f}" y="{top - 4:.1f}" text-anchor="middle">{figure}</text>'


def _grid(plot: Plot, y: Scale) -> Iterator[str]:
    for tick in y.ticks:
        at = y.place(tick)
        yield f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="tick" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{written(tick)}</text>'
    yield f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'
    across, down = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    yield f'<text class="label" x="{across}" y="{HEIGHT - 3}" text-anchor="middle">{escape(plot.x)}</text>'
    yield (
        f'<text class="label" transform="translate(13 {down}) rotate(-90)" text-anchor="middle">{escape(plot.y)}</text>'
    )


def _goal(plot: Plot, y: Scale) -> Iterator[str]:
    if plot.line_at is not None:
        at = y.place(plot.line_at)
        yield f'<path class="goal" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>'
        yield (
            f'<text class="says" x="{WIDTH - RIGHT}" y="{at - 5:.1f}" text-anchor="end">{escape(plot.line_says)}</text>'
        )
