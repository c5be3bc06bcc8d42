"""Plots as inline SVG: no script, no fonts, readable in light and dark, the same bytes for the same figures.

Every plot is drawn twice, for a wide page and for a telephone, and the page's style shows one of them: so letters keep
their size and nothing has to be scrolled into view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import floor, log10

from markupsafe import Markup

WIDE, NARROW = 640, 340  # units of a drawing's width; letters are 12 high
HEIGHT = 280
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 34, 40
LETTER = 7  # about the width of a letter
MAX_POINTS = 400  # of a line
ROW = 24  # height of a bar with its gap
COLOURS = 4  # that the page names
SHADES = 16  # of a picture of attention
CELL = 9  # least height of a row with a label in them

Points = Sequence[tuple[float, float]]
Drawing = tuple[int, list[str]]  # height and elements


def number(value: float) -> str:
    """A figure as people read it: `1,234,567`, `12.3`, `0.045`."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def short(value: float) -> str:
    """A tick's label: `1.5M`, `200k`, `0.5`."""
    if abs(value) >= 1e15:
        return f"{value:.0e}".replace("e+", "e")
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that span the range."""
    raw = (high - low) / about or 1.0
    power = 10.0 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = floor(low / step)
    count = 1
    while (first + count - 1) * step < high - 1e-9 * step:
        count += 1
    return [round((first + i) * step, 12) for i in range(count)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers in the range, each a like factor from the next: three, where it has so many."""
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        powers = range(floor(log10(low)), floor(log10(high)) + 2)
        marks = [float(f"{factor}e{power}") for power in powers for factor in factors]
        inside = [mark for mark in marks if low * 0.9999 <= mark <= high * 1.0001]
        if len(inside) >= 3:
            return inside
    return inside if len(inside) > 1 else ticks(low, high)


def axis(values: Sequence[float], log: bool) -> tuple[list[float], Callable[[float], float]]:
    """The ticks of an axis, and how far along it a value is, from 0 to 1. Logarithmic only above 0.

    It ends where the values end. A single value stands between 0 and itself, or half and twice of it.
    """
    low, high = min(values), max(values)
    log = log and low > 0
    if low == high:
        low, high = (low / 2, high * 2) if log else (min(0.0, low), max(0.0, high) or 1.0)
    marks = log_ticks(low, high) if log else ticks(low, high)
    scale = log10 if log else float
    first, last = scale(low if log else marks[0]), scale(high)
    slack = 1e-3 * (last - first)
    inside = [mark for mark in marks if first - slack <= scale(mark) <= last + slack]
    return inside, lambda value: (scale(value) - first) / (last - first)


def thin(points: Points) -> Points:
    """At most MAX_POINTS points, evenly taken, the last always."""
    if len(points) <= MAX_POINTS:
        return points
    stride = -(-len(points) // MAX_POINTS)
    return [*points[:-1:stride], points[-1]]


def line_chart(
    series: Sequence[tuple[str, Points]], x_label: str, y_label: str, *, log: str = "", dots: Sequence[str] = ()
) -> Markup:
    """Lines over one pair of axes; `series` are (name, [(x, y), …]). Empty where there is no point.

    `log` names the logarithmic axes, as `xy`; series named in `dots` are drawn as dots.
    """
    series = [(name, thin(points)) for name, points in series if points]
    if not series:
        return Markup("")
    ends = "; ".join(f"{name} from {number(points[0][1])} to {number(points[-1][1])}" for name, points in series)
    return drawn(f"{y_label} over {x_label}: {ends}", lambda width: lines(series, x_label, y_label, log, dots, width))


def lines(
    series: Sequence[tuple[str, Points]], x_label: str, y_label: str, log: str, dots: Sequence[str], width: int
) -> Drawing:
    """A line chart of that width."""
    xs = [x for _, points in series for x, _ in points]
    ys = [y for _, points in series for _, y in points]
    x_ticks, x_share = axis(xs, "x" in log)
    y_ticks, y_share = axis(ys, "y" in log)

    def across(x: float) -> float:
        return LEFT + x_share(x) * (width - LEFT - RIGHT)

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - y_share(y) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="2" y="14">{escape(y_label)}</text>']
    for y in y_ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{up(y) + 4:.1f}">{short(y)}</text>')
    spaced = x_ticks if width == WIDE or len(x_ticks) < 7 else x_ticks[::2]
    parts += [f'<text class="mid" x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 16}">{short(x)}</text>' for x in spaced]
    parts.append(f'<text class="mid" x="{(LEFT + width - RIGHT) / 2}" y="{HEIGHT - 6}">{escape(x_label)}</text>')
    for index, (name, points) in enumerate(series):
        if name in dots:
            parts += [f'<circle class="bar c{index}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="4"/>' for x, y in points]
        else:
            path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
            parts.append(f'<polyline class="series c{index}" points="{path}"/>')
    longest = max(len(name) for name, _ in series)
    left = width - RIGHT - LETTER * longest
    for index, (name, _) in enumerate(series if len(series) > 1 else ()):
        y = TOP + 14 + 18 * index
        parts.append(f'<line class="series c{index}" x1="{left - 30}" x2="{left - 8}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left}" y="{y + 4}">{escape(name)}</text>')
    return HEIGHT, parts


def bar_chart(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], label: str) -> Markup:
    """Horizontal bars, each row a stack of (name, value) parts. Empty where there is no row."""
    return drawn(label, lambda width: bars(rows, width)) if rows else Markup("")


def bars(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], width: int) -> Drawing:
    """A bar chart of that width; in a narrow one each bar is below its label."""
    most = max(sum(value for _, value in parts) for _, parts in rows) or 1
    names = list(dict.fromkeys(name for _, parts in rows for name, _ in parts))
    said = [" · ".join(number(value) for _, value in parts) for _, parts in rows]
    below = width == NARROW
    left = 2 if below else 24 + LETTER * min(34, max(len(row) for row, _ in rows))
    full = width - left - 12 - LETTER * max(map(len, said))
    step = ROW + 16 if below else ROW
    legend, found = len(names) > 1, []
    for index, name in enumerate(names if legend else ()):
        place = left + (100 if below else 130) * index
        found.append(f'<rect class="bar c{index}" x="{place}" y="4" width="12" height="12"/>')
        found.append(f'<text x="{place + 18}" y="15">{escape(name)}</text>')
    for place, (row, parts) in enumerate(rows):
        y, x = (30 if legend else 4) + step * place, float(left)
        if below:
            found.append(f'<text x="{left}" y="{y + 11}">{escape(row)}</text>')
            y += 16
        else:
            found.append(f'<text class="end" x="{left - 8}" y="{y + 14}">{escape(row)}</text>')
        for name, value in parts:
            long = value / most * full
            box = f'x="{x:.1f}" y="{y}" width="{long:.1f}" height="{ROW - 6}"'
            found.append(f'<rect class="bar c{names.index(name)}" {box}/>')
            x += long
        found.append(f'<text x="{x + 6:.1f}" y="{y + 14}">{said[place]}</text>')
    return (30 if legend else 4) + step * len(rows) + 4, found


def share_chart(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], label: str) -> Markup:
    """Rows of named shares of one: each row a bar from 0 to 1, what is not named left blank.

    The largest shares of the last row have colours of their own, wherever they occur.
    """
    return drawn(label, lambda width: shares(rows, width)) if rows else Markup("")


def shares(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], width: int) -> Drawing:
    """A chart of shares of that width."""
    left, full, found = 90, width - 90 - RIGHT, []
    coloured = [name for name, _ in rows[-1][1][:COLOURS]]
    for place, (row, parts) in enumerate(rows):
        y, x = 4 + ROW * place, float(left)
        found.append(f'<text class="end" x="{left - 8}" y="{y + 14}">{escape(row)}</text>')
        found.append(f'<rect class="rest" x="{left}" y="{y}" width="{full}" height="{ROW - 6}"/>')
        for name, value in parts:
            long = value * full
            colour = f"bar c{coloured.index(name)}" if name in coloured else "other"
            box = f'x="{x:.1f}" y="{y}" width="{max(long - 1, 0.3):.1f}" height="{ROW - 6}"'
            found.append(f'<rect class="{colour}" {box}><title>{escape(name)} {value:.3f}</title></rect>')
            if long > 9 * len(name) + 6:
                inside = "" if colour == "other" else ' class="inside"'
                found.append(f'<text{inside} x="{x + 4:.1f}" y="{y + 14}">{escape(name)}</text>')
            x += long
    return 4 + ROW * len(rows), found


def head_maps(heads: Sequence[Sequence[Sequence[float]]], tokens: Sequence[str], label: str) -> Markup:
    """Attention of some heads as pictures side by side: a row looks at the columns, the stronger the more.

    `heads` are T × T weights each; nothing is drawn of what is in the future. Cells of one shade are one path.
    """
    return drawn(label, lambda width: maps(heads, tokens, width))


def maps(heads: Sequence[Sequence[Sequence[float]]], tokens: Sequence[str], width: int) -> Drawing:
    """Pictures of attention in rows of that width."""
    size = len(tokens)
    names = 6 * max(map(len, tokens)) + 6
    left = names + 8
    most = max(1, min(len(heads), (width - left) // (CELL * size + 14)))
    across = -(-len(heads) // -(-len(heads) // most))  # as many in the last row as in the others, or nearly
    cell = min(((width - left) / across - 14) / size, 14.0)
    found = []
    for number, weights in enumerate(heads):
        x0 = left + (number % across) * (width - left) / across
        y0 = 18 + (number // across) * (cell * size + names + 24)
        found.append(f'<text x="{x0:.1f}" y="{y0 - 6:.1f}">head {number + 1}</text>')
        edge = f"M{x0:.1f} {y0:.1f}V{y0 + cell * size:.1f}H{x0 + cell * size:.1f}Z"
        found.append(f'<path class="edge" d="{edge}"/>')
        for shade in range(1, SHADES + 1):
            cells = [
                f"M{x0 + cell * column:.1f} {y0 + cell * row:.1f}h{cell:.1f}v{cell:.1f}h-{cell:.1f}z"
                for row in range(size)
                for column in range(row + 1)
                if round(weights[row][column] * SHADES) == shade
            ]
            if cells:
                found.append(f'<path class="bar c1" opacity="{shade / SHADES:.3g}" d="{"".join(cells)}"/>')
        for place, token in enumerate(tokens):
            y = y0 + cell * (place + 0.5) + 3
            if number % across == 0:
                found.append(f'<text class="small end" x="{x0 - 4:.1f}" y="{y:.1f}">{escape(token)}</text>')
            at = f"{x0 + cell * (place + 0.5) + 3:.1f} {y0 + cell * size + 4:.1f}"
            found.append(f'<text class="small end" transform="translate({at}) rotate(-90)">{escape(token)}</text>')
    return round(-(-len(heads) // across) * (cell * size + names + 24)), found


def drawn(label: str, draw: Callable[[int], Drawing]) -> Markup:
    """A plot in both widths, with a description for those who cannot see it; `draw` makes one of a given width."""
    found = ""
    for name, width in (("wide", WIDE), ("narrow", NARROW)):
        height, parts = draw(width)
        head = f'<svg class="{name}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        found += head + "".join(parts) + "</svg>"
    return Markup(found)  # noqa: S704  # texts in it are escaped
