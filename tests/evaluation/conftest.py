"""What is scored."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def inputs(inputs: dict[str, Path], model_folder: Path) -> dict[str, Path]:
    """What the stage reads."""
    return {**inputs, "model": model_folder}
