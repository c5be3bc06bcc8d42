"""Stage `export`: model → one folder that other tools open unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gristmill.export.huggingface import export
from gristmill.manifest import Manifest
from gristmill.recipe import Export


def run(inputs: Mapping[str, Path], params: Export, out: Path) -> Manifest:
    """Write the Hugging Face folder."""
    export(inputs["model"], inputs["tokenizer"], out)
    return Manifest(metrics={"bytes": sum(file.stat().st_size for file in out.iterdir())})
