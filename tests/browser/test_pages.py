"""The report as a person has it: in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from page_parts import is_readable

from gristmill.manifest import Manifest
from gristmill.recipe import Pretrain, Report
from gristmill.report import stage
from gristmill.report.learning import inspect
from gristmill.training import pretrain

SHAPE: dict[str, Any] = dict(layers=2, width=32, heads=4, kv_heads=2, head_dim=8, ffn_width=64, context=128)


@pytest.fixture(scope="module")
def run(model_folder: Path, inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: a short pretraining, and a random model as the assistant."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    shutil.copytree(model_folder, folder / "sft")
    for name, source in (("tokenizer", inputs["tokenizer"]), ("tokenize", inputs["tokens"])):
        shutil.copytree(source, folder / name)
        Manifest(metrics={"bytes_per_token": 3.3}, stage=name).write(folder / name)
    (folder / "pretrain").mkdir()
    params = Pretrain(**SHAPE, batch=8, max_steps=30, evaluate_every=10, sample_prompts=["The"])
    made = pretrain.run(inputs, params, folder / "pretrain")
    made.params = params.model_dump()
    made.write(folder / "pretrain")
    return folder


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
@pytest.mark.parametrize("kind", ["report", "inspect"])
def test_pages_are_whole_and_load_nothing(
    browser: Any, run: Path, tmp_path: Path, kind: str, width: int, height: int
) -> None:
    if kind == "report":
        folders = {name: run / name for name in ("tokenizer", "tokenize", "pretrain")}
        stage.run(folders, Report(), tmp_path)
    else:
        _, text = inspect("run", "Old Anna walks to", run / "pretrain", run / "tokenizer")
        (tmp_path / "index.html").write_text(text)
    is_readable(browser, tmp_path / "index.html", width, height)
