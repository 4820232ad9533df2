"""Small charts as inline SVG; what the numbers mean is not known here.

They are written by hand and not by a chart library, so that the page's own style colours them in light and dark,
their text stays text, and the report stays one light file. A chart is drawn at two widths, since scaled-down text
cannot be read on a phone; the page shows the fitting one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from markupsafe import Markup

WIDE, NARROW = 880, 344
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 22, 30
_LETTER = 6.6
"""Width of a letter at the charts' 12 px, on the wide side."""
_AXIS_PARTS = {1: 5, 1.5: 3, 2: 4, 2.5: 5, 3: 3, 4: 4, 5: 5, 6: 3, 8: 4, 10: 5}
"""First digits an axis may end with, and the parts that keep its ticks round."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its label below, its value, the label above it, and whether it is told apart as unripe."""

    label: str
    value: float
    note: str = ""
    pale: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A step curve through (x, y) with the style class it is drawn in and a label at its end."""

    points: Sequence[tuple[float, float]]
    style: str
    label: str


def stacked(parts: Sequence[tuple[str, float]], total: float, alt: str) -> Markup:
    """A horizontal bar of (style class, value) parts that together fill `total`; it stretches with its cell."""
    pieces, at = [], 0.0
    for style, value in parts:
        width = 100 * value / total if total else 0
        if width > 0:
            pieces.append(f'<rect class="{style}" x="{at:.3f}" y="0" width="{width:.3f}" height="10"/>')
        at += width
    return Markup(  # noqa: S704 - numbers, our own class names, and escaped text
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(alt)}">{"".join(pieces)}</svg>'
    )


def columns(data: Sequence[Column], alt: str, *, tick: Callable[[float], str], height: int = 210) -> Markup:
    """Columns from zero, with as many labels below as there is room for."""
    return _both(alt, height, lambda width: _columns(data, width, height, tick))


def steps(lines: Sequence[Line], alt: str, *, ticks: Sequence[int], unit: str, height: int = 250) -> Markup:
    """Step curves of shares over x from 0 to the last of `ticks`, which carries the `unit`."""
    return _both(alt, height, lambda width: _steps(lines, width, height, ticks, unit))


def axis(value: float) -> tuple[float, int]:
    """Where an axis that must hold `value` ends, and in how many round parts it is divided."""
    if value <= 0:
        return 1.0, 5
    power = 10.0 ** floor(log10(value))
    first = next(first for first in _AXIS_PARTS if first * power >= value * (1 - 1e-9))
    return first * power, _AXIS_PARTS[first]


def _both(alt: str, height: int, draw: Callable[[int], str]) -> Markup:
    return Markup(  # noqa: S704 - numbers, our own class names, and escaped text
        "".join(
            f'<svg class="chart {name}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(alt)}">'
            f"{draw(width)}</svg>"
            for name, width in (("wide", WIDE), ("narrow", NARROW))
        )
    )


def _grid(width: int, height: int, top: float, parts: int, tick: Callable[[float], str]) -> str:
    made = []
    for part in range(parts + 1):
        y = _y(part / parts, height)
        made.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        made.append(_text(_LEFT - 8, y + 4, tick(top * part / parts), "end"))
    return "".join(made)


def _columns(data: Sequence[Column], width: int, height: int, tick: Callable[[float], str]) -> str:
    top, parts = axis(max((column.value for column in data), default=0))
    room = (width - _LEFT - _RIGHT) / max(len(data), 1)
    bar = min(room * 0.72, 64)
    longest = max((len(column.label) for column in data), default=1) * _LETTER + 10
    every = max(1, ceil(longest / room))
    noted = all(len(column.note) * _LETTER <= room for column in data)
    made = [_grid(width, height, top, parts, tick)]
    for number, column in enumerate(data):
        middle = _LEFT + room * (number + 0.5)
        y = _y(column.value / top, height)
        style = "column pale" if column.pale else "column"
        made.append(
            f'<rect class="{style}" x="{middle - bar / 2:.1f}" y="{y:.1f}" width="{bar:.1f}"'
            f' height="{height - _BOTTOM - y:.1f}" rx="{min(2.0, bar / 4):.1f}"><title>{escape(column.label)}:'
            f" {escape(column.note)}</title></rect>"
        )
        if noted and column.note:
            made.append(_text(middle, y - 6, column.note, "middle"))
        if number % every == 0:
            made.append(_text(middle, height - _BOTTOM + 18, column.label, "middle"))
    return "".join(made)


def _steps(lines: Sequence[Line], width: int, height: int, ticks: Sequence[int], unit: str) -> str:
    top, parts = axis(max((y for line in lines for _, y in line.points), default=0))
    reach = width - _LEFT - _RIGHT

    def x_of(value: float) -> float:
        return _LEFT + reach * value / ticks[-1]

    made = [_grid(width, height, top, parts, lambda share: f"{share:.0%}" if top >= 0.1 else f"{share:.1%}")]
    below = height - _BOTTOM + 18
    made.extend(_text(x_of(mark), below, f"{mark}", "middle") for mark in ticks[:-1])
    made.append(_text(width - _RIGHT, below, f"{ticks[-1]} {unit}", "end"))
    for line in lines:
        if not line.points:
            continue
        path = f"M{x_of(line.points[0][0]):.1f} {_y(line.points[0][1] / top, height):.1f}"
        for x, y in line.points[1:]:
            path += f"H{x_of(x):.1f}V{_y(y / top, height):.1f}"
        made.append(f'<path class="curve {line.style}" d="{path}"/>')
        last_x, last_y = line.points[-1]
        room_right = x_of(last_x) > width - 150
        made.append(
            _text(
                x_of(last_x) - 4 if room_right else x_of(last_x) + 6,
                _y(last_y / top, height) - 8,
                line.label,
                "end" if room_right else "start",
                "strong",
            )
        )
    return "".join(made)


def _y(share: float, height: int) -> float:
    return _TOP + (height - _TOP - _BOTTOM) * (1 - share)


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
