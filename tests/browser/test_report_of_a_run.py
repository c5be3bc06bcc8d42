"""The report of a whole run, charts of evaluation and audit too, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from page_parts import is_readable

PARTS = ("Learning to predict", "From predictor to assistant", "Aligned with", "What it knows", "What was memorised")


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
def test_every_chart_of_a_run_is_readable(whole: Path, browser: Any, width: int, height: int) -> None:
    is_readable(browser, whole / "report" / "index.html", width, height)
    headings = "section => section.querySelector('h2').textContent"
    shown = f"[...document.querySelectorAll('section:has(figure)')].map({headings})"
    told = " ".join(browser.run(shown))
    assert all(part in told for part in PARTS), told
