"""The default recipe made tiny, with the stages that it does without, as a command that a user types."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from gristmill.manifest import Manifest
from gristmill.settings.stages import STAGES

NAMES = [stage.name for stage in STAGES if stage.name != "common_crawl"]
ROOT = Path(__file__).parent.parent.parent
TINY = {
    "miniweb.pages": 200,
    "tokenizer.vocab_size": 600,
    "tokenize.heldout": 0.05,
    "pretrain.layers": 2,
    "pretrain.width": 48,
    "pretrain.ffn_width": 96,
    **{f"pretrain.{name}": 2 for name in ("heads", "kv_heads", "snapshots")},
    "pretrain.head_dim": 24,
    "pretrain.context": 128,
    "pretrain.max_steps": 24,
    "pretrain.evaluate_every": 12,
    **{f"{stage}.checkpoint_seconds": 0.05 for stage in ("pretrain", "sft", "dpo", "kto", "reward", "rl")},
    "passages": "{}",
    **{f"{stage}.preferences": '"{miniweb}/preferences.jsonl"' for stage in ("dpo", "kto")},
    "sft.epochs": 0.3,
    "dpo.epochs": 0.2,
    "kto.epochs": 0.1,
    "reward.epochs": 0.15,
    "rl.epochs": 0.15,
    "rl.group": 2,
    "rl.max_tokens": 8,
    "evaluate.max_tokens": 12,
    "audit.samples": 10,
    "audit.continuation_tokens": 20,
}
ENVIRONMENT = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}  # pages are fetched "then": WARC files can be compared


def arguments(out: Path, *more: str, **changes: object) -> list[str]:
    """Of `gristmill`: run the recipe."""
    settings = [part for key, value in {**TINY, **changes}.items() for part in ("--set", f"{key}={value}")]
    return ["run", str(ROOT / "recipes" / "miniweb.toml"), "--out", str(out), *settings, *more]


def command(out: Path, *more: str, **changes: object) -> list[str]:
    """The same as a command."""
    return [sys.executable, "-m", "gristmill", *arguments(out, *more, **changes)]


def outputs(out: Path) -> dict[str, dict[str, str]]:
    """The checksums of every stage's files."""
    found = {}
    for path in sorted(out.iterdir()):
        if path.is_dir():
            made = Manifest.read(path)
            assert made, path
            found[path.name] = made.outputs
    return found


def without(whole: Path, out: Path, stage: str) -> Path:
    """A copy of a finished run, as it was before a stage."""
    shutil.copytree(whole, out)
    for name in NAMES[NAMES.index(stage) :]:
        shutil.rmtree(out / name)
    return out
