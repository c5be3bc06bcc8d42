"""Plots are drawn to scale, of a bounded number of points."""

from __future__ import annotations

import re

import pytest

from gristmill.report.plot import MAX_POINTS, bar_chart, line_chart, ticks


def test_plots_draw_what_they_are_given() -> None:
    points = [(float(i), float(i % 7)) for i in range(5000)]
    drawn = str(line_chart([("a", points)], "x", "y"))
    coordinates = re.search(r'points="([^"]+)"', drawn)
    assert coordinates and len(coordinates[1].split()) <= MAX_POINTS + 1
    bars = str(bar_chart([("a", [("", 2.0)]), ("b", [("", 1.0)])], "label"))
    widths = [float(width) for width in re.findall(r'<rect class="bar c0"[^>]*width="([\d.]+)"', bars)]
    assert widths[0] == pytest.approx(2 * widths[1])
    assert line_chart([], "x", "y") == "" == bar_chart([], "label")
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10] and ticks(3.0, 3.0)[0] <= 3.0
