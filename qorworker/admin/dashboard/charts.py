"""Charts: places of marks in a picture of 360 by 170, and the same as a table. Web; no queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

WIDTH, HEIGHT = 360, 170
LEFT, RIGHT, TOP, BOTTOM = 44, 6, 8, 22  # what is left for the labels
FLOOR = HEIGHT - BOTTOM
# Where lines of durations may have a tick, in seconds.
TICKS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3_600, 36_000, 86_400, 864_000, 8_640_000)


@dataclass(frozen=True)
class Tick:
    """A line across the picture, or a place below it, with its label."""

    place: str
    label: str
    is_last: bool = False  # it ends at this place, else it would be cut


@dataclass(frozen=True)
class Piece:
    """One part of a bar, or one point of a line."""

    kind: str
    y: str
    height: str = ""
    path: str = ""  # of a symbol that tells its kind without a colour


@dataclass(frozen=True)
class Mark:
    """What stands for one span of time or one run: its values are read out, and may lead to the jobs."""

    x: str
    middle: str
    width: str
    label: str
    url: str
    pieces: list[Piece]


@dataclass(frozen=True)
class Line:
    """Points of a line that stand side by side, as a path."""

    kind: str
    path: str


@dataclass(frozen=True)
class Span:
    """One span of time, as the charts need it."""

    label: str  # all of it, for the table and for those who hear it
    tick: str  # below the picture; empty for most
    url: str


@dataclass(frozen=True)
class Chart:
    """A picture and the table that says the same."""

    key: str
    title: str
    summary: str
    kinds: Sequence[tuple[str, str]]  # of pieces, with their names
    marks: list[Mark]
    across: list[Tick]
    below: list[Tick]
    lines: list[Line] = field(default_factory=list)
    table: list[tuple[str, str, list[str]]] = field(default_factory=list)  # label, address, values
    columns: Sequence[str] = ()  # of the table, if they are not the kinds
    first_column: str = ""
    empty: str = ""  # what stands in place of a picture without marks
    band: Piece | None = None  # what is usual

    @property
    def names(self) -> Sequence[str]:
        """The names of the columns of values."""
        return self.columns or [name for _kind, name in self.kinds]

    @property
    def legend(self) -> list[tuple[str, str, str]]:
        """Kind, name and symbol of each kind; the symbol is empty for bars and lines."""
        has_symbols = any(piece.path for mark in self.marks for piece in mark.pieces)
        return [(kind, name, symbol(kind, 9, 5) if has_symbols else "") for kind, name in self.kinds]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.marks


def bars(
    key: str,
    title: str,
    summary: str,
    kinds: Sequence[tuple[str, str]],
    spans: Sequence[Span],
    values: Sequence[Sequence[int]],
    shown: Callable[[int], str],
) -> Chart:
    """Return a chart with a bar for each span, of one piece for each of *kinds*, from below to above."""
    top = _round_up(max(map(sum, values), default=0))
    scale = (FLOOR - TOP) / top
    marks = []
    for place, (span, numbers) in enumerate(zip(spans, values, strict=True)):
        if sum(numbers):
            pieces, y = [], float(FLOOR)
            for (kind, _name), number in zip(kinds, numbers, strict=True):
                if number:
                    height = max(number * scale, 1.5)
                    y -= height
                    pieces.append(Piece(kind, _shown(max(y, 0)), _shown(height)))
            told = [f"{name}: {shown(number)}" for (_kind, name), number in zip(kinds, numbers, strict=True) if number]
            marks.append(_mark(place, len(spans), span, told, pieces))
    steps = (0, top // 2, top) if top > 1 else (0, top)
    across = [Tick(_shown(FLOOR - step * scale), shown(step)) for step in steps]
    table = [(span.label, span.url, [shown(n) for n in numbers]) for span, numbers in zip(spans, values, strict=True)]
    return Chart(key, title, summary, kinds, marks, across, _below(spans), table=table)


def lines(
    key: str,
    title: str,
    summary: str,
    kinds: Sequence[tuple[str, str]],
    spans: Sequence[Span],
    values: Sequence[Sequence[float | None]],
    shown: Callable[[float | None], str],
) -> Chart:
    """Return a chart of durations in seconds on a logarithmic scale, with a line for each of *kinds*."""
    given = [value for row in values for value in row if value is not None]
    ticks = _ticks(min(given, default=0.1), max(given, default=1.0))
    low, high = math.log(ticks[0]), math.log(ticks[-1])

    def place_of(seconds: float) -> float:
        share = (math.log(max(seconds, ticks[0])) - low) / (high - low)
        return FLOOR - min(share, 1) * (FLOOR - TOP)

    return _drawn(key, title, summary, kinds, spans, values, shown, ticks, place_of)


def curve(
    key: str,
    title: str,
    summary: str,
    kind: tuple[str, str],
    spans: Sequence[Span],
    values: Sequence[float | None],
    shown: Callable[[float | None], str],
    most: float,
    more: Sequence[tuple[str, Sequence[str]]] = (),
) -> Chart:
    """Return a chart of one line, from zero to *most* at the top. *more* are names and texts that are told as well."""
    rows = [[value] for value in values]

    def place_of(value: float) -> float:
        return FLOOR - min(value / most, 1) * (FLOOR - TOP)

    chart = _drawn(key, title, summary, [kind], spans, rows, shown, [0, most / 2, most], place_of)
    table = [
        (label, url, [*told, *(texts[place] for _name, texts in more)])
        for place, (label, url, told) in enumerate(chart.table)
    ]
    return replace(chart, table=table, columns=[kind[1], *(name for name, _texts in more)])


def points(
    key: str,
    title: str,
    summary: str,
    kinds: Sequence[tuple[str, str]],
    spans: Sequence[Span],
    values: Sequence[tuple[str, float]],
    shown: Callable[[float | None], str],
    usual: tuple[float, float] | None,
) -> Chart:
    """Return a chart with a point for each run: its kind, and its duration in seconds on a logarithmic scale.

    *usual* are the limits of a band.
    """
    ticks = _ticks(min(v for _kind, v in values), max(v for _kind, v in values))
    low, high = math.log(ticks[0]), math.log(ticks[-1])

    def place_of(seconds: float) -> float:
        return FLOOR - min((math.log(max(seconds, ticks[0])) - low) / (high - low), 1) * (FLOOR - TOP)

    names, marks = dict(kinds), []
    for place, (span, (kind, seconds)) in enumerate(zip(spans, values, strict=True)):
        y = place_of(seconds)
        piece = Piece(kind, _shown(y), path=symbol(kind, _middle(place, len(spans)), y))
        marks.append(_mark(place, len(spans), span, [names[kind], shown(seconds)], [piece]))
    across = [Tick(_shown(place_of(tick)), shown(tick)) for tick in ticks]
    table = [(span.label, span.url, [names[kind], shown(v)]) for span, (kind, v) in zip(spans, values, strict=True)]
    band = None
    if usual is not None:
        top, bottom = place_of(usual[1]), place_of(usual[0])
        band = Piece("usual", _shown(top), _shown(max(bottom - top, 1)))
    return Chart(key, title, summary, kinds, marks, across, _below(spans), table=table, band=band)


def symbol(kind: str, x: float, y: float) -> str:
    """Return the path of the symbol of a kind of end around a place: a dot, a cross for a failure, else a square."""
    left, right, above, below = (_shown(each) for each in (x - 2.6, x + 2.6, y - 2.6, y + 2.6))
    if kind == "done":
        return f"M{left} {_shown(y)}a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0 -5.2 0"
    if kind == "failed":
        return f"M{left} {above}L{right} {below}M{left} {below}L{right} {above}"
    return f"M{left} {above}H{right}V{below}H{left}Z"


def _drawn(
    key: str,
    title: str,
    summary: str,
    kinds: Sequence[tuple[str, str]],
    spans: Sequence[Span],
    values: Sequence[Sequence[float | None]],
    shown: Callable[[float | None], str],
    ticks: Sequence[float],
    place_of: Callable[[float], float],
) -> Chart:
    marks = []
    for place, (span, row) in enumerate(zip(spans, values, strict=True)):
        pieces = [
            Piece(kind, _shown(place_of(v))) for (kind, _name), v in zip(kinds, row, strict=True) if v is not None
        ]
        told = [f"{name}: {shown(v)}" for (_kind, name), v in zip(kinds, row, strict=True) if v is not None]
        if pieces:
            marks.append(_mark(place, len(spans), span, told, pieces))
    drawn = [
        Line(kind, path)
        for number, (kind, _name) in enumerate(kinds)
        for path in _paths([row[number] for row in values], place_of)
    ]
    across = [Tick(_shown(place_of(tick)), shown(tick)) for tick in ticks]
    table = [(span.label, span.url, [shown(v) for v in row]) for span, row in zip(spans, values, strict=True)]
    return Chart(key, title, summary, kinds, marks, across, _below(spans), drawn, table)


def _paths(values: Sequence[float | None], place_of: Callable[[float], float]) -> list[str]:
    """Return a path for each row of values without a gap; a single value is a point without a line."""
    paths: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            paths.append([])
        else:
            paths[-1].append(f"{_shown(_middle(place, len(values)))} {_shown(place_of(value))}")
    return [f"M{'L'.join(points)}" for points in paths if len(points) > 1]


def _mark(place: int, of: int, span: Span, told: Sequence[str], pieces: list[Piece]) -> Mark:
    step = (WIDTH - LEFT - RIGHT) / of
    middle, width = _middle(place, of), min(step * 0.8, 24)
    label = f"{span.label}: {', '.join(told)}"
    return Mark(_shown(middle - width / 2), _shown(middle), _shown(width), label, span.url, pieces)


def _middle(place: int, of: int) -> float:
    return LEFT + (place + 0.5) * (WIDTH - LEFT - RIGHT) / of


def _below(spans: Sequence[Span]) -> list[Tick]:
    ticks = []
    for place, span in enumerate(spans):
        if span.tick:
            middle, is_last = _middle(place, len(spans)), place == len(spans) - 1 and place > 0
            ticks.append(Tick(_shown(WIDTH - 1 if is_last else middle), span.tick, is_last))
    return ticks


def _ticks(least: float, most: float) -> list[float]:
    """Return the ticks from the last below *least* to the first above *most*."""
    first = max((number for number, tick in enumerate(TICKS) if tick <= least), default=0)
    last = next((number for number, tick in enumerate(TICKS) if tick >= most and number > first), len(TICKS) - 1)
    return list(TICKS[first : last + 1])


def _round_up(number: int) -> int:
    """Return the first of 1, 2, 3, 4, 6, 8, 10, 15, 20, 30 and so on that is not below *number*."""
    power: int = 10 ** (len(str(number)) - 1)
    steps = (step * power // 2 for step in (2, 3, 4, 6, 8, 12, 16, 20))
    return next(step for step in steps if step >= max(number, 1))


def _shown(value: Any) -> str:
    """Return a number for SVG, whatever the language."""
    return f"{value:.1f}".removesuffix(".0")
