"""A week of hours as inline SVG: one square for each, its colour for a share, its size for how much it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from tinko_pipelines.reports.charts import NARROW, WIDE

SHADES = 5
_LEFT, _TOP, _GAP = 40, 4, 2


@dataclass(frozen=True, slots=True)
class Cell:
    """A share from 0 to 1, what is said of it, and whether it rests on too little."""

    share: float
    note: str
    thin: bool = False


def heat(
    cells: Mapping[tuple[int, int], Cell], across: Sequence[int], down: Mapping[int, str], alt: str
) -> Markup:
    """Cells by (row, column); `down` names the rows. The shades run from the smallest share of a cell that is not thin to the largest."""
    told = [cell.share for cell in cells.values() if not cell.thin] or [cell.share for cell in cells.values()]
    shade = _shades(min(told, default=0.0), max(told, default=0.0))
    return Markup(  # noqa: S704 - numbers, our own class names, and escaped text
        "".join(
            f'<svg class="chart {name}" viewBox="0 0 {width} {_height(width, across, down)}" role="img"'
            f' aria-label="{escape(alt)}">{_squares(cells, across, down, width, shade)}</svg>'
            for name, width in (("wide", WIDE), ("narrow", NARROW))
        )
    )


def _shades(least: float, most: float) -> Callable[[float], int]:
    def shade(share: float) -> int:
        place = (share - least) / (most - least) if most > least else 1.0
        return 1 + min(SHADES - 1, max(0, int(place * SHADES)))

    return shade


def _room(width: int, across: Sequence[int]) -> float:
    return (width - _LEFT) / max(len(across), 1)


def _tall(width: int, across: Sequence[int]) -> float:
    return min(24.0, max(16.0, _room(width, across)))


def _height(width: int, across: Sequence[int], down: Mapping[int, str]) -> float:
    return _TOP + _tall(width, across) * len(down) + 22


def _squares(
    cells: Mapping[tuple[int, int], Cell],
    across: Sequence[int],
    down: Mapping[int, str],
    width: int,
    shade: Callable[[float], int],
) -> str:
    room, tall = _room(width, across), _tall(width, across)
    made = []
    for number, (row, name) in enumerate(down.items()):
        y = _TOP + tall * number
        made.append(
            f'<text x="{_LEFT - 8}" y="{y + tall / 2 + 4:.1f}" text-anchor="end">{escape(name)}</text>'
        )
        for place, column in enumerate(across):
            x, cell = _LEFT + room * place, cells.get((row, column))
            made.append(_square("none", x, y, room, tall, 1.0, ""))
            if cell is not None:
                size = 0.45 if cell.thin else 1.0
                made.append(_square(f"shade-{shade(cell.share)}", x, y, room, tall, size, cell.note))
    below = _TOP + tall * len(down) + 15
    made.extend(
        f'<text x="{_LEFT + room * place:.1f}" y="{below:.1f}">{column}</text>'
        for place, column in enumerate(across)
        if column % 6 == 0
    )
    return "".join(made)


def _square(style: str, x: float, y: float, room: float, tall: float, size: float, note: str) -> str:
    wide, high = (room - _GAP) * size, (tall - _GAP) * size
    left, top = x + (room - _GAP - wide) / 2, y + (tall - _GAP - high) / 2
    title = f"<title>{escape(note)}</title>" if note else ""
    return f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{high:.1f}">{title}</rect>'
