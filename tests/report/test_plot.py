"""Plots are drawn to scale, of a bounded number of points."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gristmill.files import write_jsonl
from gristmill.report.plot import BOTTOM, HEIGHT, MAX_POINTS, RIGHT, TOP, WIDE, bar_chart, line_chart, ticks
from gristmill.report.sections.pretraining import samples


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


def points_of(points: list[tuple[float, float]], log: str = "") -> tuple[list[tuple[float, float]], list[str]]:
    """Where a line's points are drawn, and the labels of the axes."""
    wide = str(line_chart([("a", points)], "x", "y", log=log)).partition("</svg>")[0]
    drawn = re.search(r'points="([^"]+)"', wide)
    assert drawn
    places = [tuple(map(float, place.split(","))) for place in drawn[1].split()]
    return [(x, y) for x, y in places], re.findall(r'<text class="(?:end|mid)"[^>]*>([^<]*)<', wide)


def test_a_line_fills_its_axes() -> None:
    for log in ("", "y", "xy"):
        places, labels = points_of([(1_000, 2.9), (400_000, 0.35), (1_070_000, 0.52)], log)
        assert places[2][0] == WIDE - RIGHT and places[0][1] == TOP
        assert (places[1][1] == HEIGHT - BOTTOM) == (log != "") and len(labels) > 6


@pytest.mark.parametrize("log", ["", "xy"])
def test_a_constant_is_not_drawn_as_nothing(log: str) -> None:
    places, labels = points_of([(1.0, 1.0), (2.0, 1.0)], log)
    assert all(y < HEIGHT - BOTTOM for _, y in places) and {"1", "2"} <= {*labels}
    assert points_of([(1.0, 0.0), (2.0, 0.0)])[0][0][1] == HEIGHT - BOTTOM
    assert len(points_of([(1.0, 0.301), (2.0, 0.302)], "y")[1]) >= 4


def test_each_prompt_is_shown_from_its_first_sample_to_its_last(tmp_path: Path) -> None:
    made = [{"step": step, "prompt": one, "text": "x"} for step in range(0, 130, 10) for one in ("The", "Once", "A")]
    write_jsonl(tmp_path / "samples.jsonl", [*made])
    shown = [vars(one)["label"] for one in samples({"pretrain": tmp_path})]
    assert shown == [f"at step {step}, after “{one}”" for one in ("The", "Once", "A") for step in (0, 120)]
    write_jsonl(tmp_path / "samples.jsonl", [one for one in made if one["prompt"] == "Once"])
    assert len({vars(one)["label"] for one in samples({"pretrain": tmp_path})}) == 8
