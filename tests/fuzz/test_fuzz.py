"""A second of every fuzz target, always the same inputs: that the harness runs, and what it found stays mended."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from targets import TARGETS

from fuzz import changed

INPUTS = 150


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_read(name: str) -> None:
    target, draw = TARGETS[name], random.Random(name)
    for seed in target.seeds:
        target.read(seed)
    for _ in range(INPUTS):
        target.read(changed(draw.choice(target.seeds), draw, target.seeds))
