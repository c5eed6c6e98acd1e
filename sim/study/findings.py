"""What a study says, as data: sections of goals, tables and plots. Who shows them decides nothing of their content."""

from __future__ import annotations

from typing import Literal, TypeAlias, assert_never

from msgspec import Struct

Cell: TypeAlias = str | float | None
"""None: there is no such figure."""
Bound = Literal["at most", "at least", "under"]
Point: TypeAlias = tuple[float, float]
Look = Literal["line", "dashed", "dots"]


class Goal(Struct, frozen=True):
    """One figure beside what it should be. `figure` None: too little was run to tell."""

    what: str
    figure: float | None
    bound: Bound
    limit: float
    unit: str = ""
    source: str = "the issue"
    """Who asks for it."""

    @property
    def met(self) -> bool | None:
        """Whether the figure is as it should be; None where there is none."""
        if self.figure is None:
            return None
        match self.bound:
            case "at most":
                return self.figure <= self.limit
            case "at least":
                return self.figure >= self.limit
            case "under":
                return self.figure < self.limit
            case unknown:
                assert_never(unknown)


class Table(Struct, frozen=True):
    """Rows of cells under columns; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Series(Struct, frozen=True):
    """Points of one kind. In a plot of bars, x is the place of the group."""

    name: str
    points: tuple[Point, ...]
    look: Look = "line"


class Plot(Struct, frozen=True):
    """A picture of a few series. `groups`: bars side by side, one group each; none: points over x."""

    caption: str
    x: str
    y: str
    series: tuple[Series, ...]
    groups: tuple[str, ...] = ()
    log_x: bool = False
    log_y: bool = False
    line_at: float | None = None
    """A goal, drawn across."""
    line_says: str = ""


class Section(Struct, frozen=True):
    """One experiment: what was asked, how, what came of it, and where the numbers beside it are from."""

    name: str
    title: str
    asked: str
    done: str
    goals: tuple[Goal, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    sources: tuple[str, ...] = ()


class Study(Struct, frozen=True):
    """All of it. `trials` were run of `planned`."""

    study: str
    nodes: tuple[int, ...]
    seeds: str
    trials: int
    planned: int
    sections: tuple[Section, ...]

    @property
    def goals(self) -> list[Goal]:
        """The goals of all sections."""
        return [goal for section in self.sections for goal in section.goals]
