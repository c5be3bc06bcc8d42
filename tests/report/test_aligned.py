"""What the report tells of alignment: a pair that was learned from, and what each step changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gristmill.files import write_jsonl
from gristmill.inputs.folders import digest
from gristmill.manifest import Manifest
from gristmill.recipe import Report
from gristmill.report import stage

PAIR = {"prompt": "Hi?", "chosen": "a better answer", "rejected": "a worse answer"}


@pytest.mark.parametrize("name", ["reward", "dpo"])
def test_a_pair_of_a_folder_is_shown_as_long_as_that_is_what_was_read(name: str, tmp_path: Path) -> None:
    pairs, folder = tmp_path / "pairs", tmp_path / "run" / name
    folder.mkdir(parents=True)
    (pairs / "deeper").mkdir(parents=True)
    (pairs / "deeper" / "p.jsonl").write_text(json.dumps(PAIR))
    write_jsonl(folder / "log.jsonl", [{"step": 0, "loss": 1.0}, {"step": 1, "loss": 0.5}])
    read = {"preferences.0": digest(pairs)}
    Manifest(stage=name, params={"preferences": str(pairs)}, inputs=read).write(folder)
    for shown in (True, False):
        (tmp_path / str(shown)).mkdir()
        stage.run({name: folder}, Report(), tmp_path / str(shown))
        assert ("a better answer" in (tmp_path / str(shown) / "index.html").read_text()) == shown
        (pairs / "more.jsonl").write_text(json.dumps(PAIR))


def test_what_each_step_changed_is_told_by_its_name(tmp_path: Path) -> None:
    folder, out = tmp_path / "run" / "evaluate", tmp_path / "out"
    folder.mkdir(parents=True)
    out.mkdir()

    def step(before: str, after: str, gained: int) -> dict[str, object]:
        change = {"questions": 8, "before": 1, "after": 1 + gained, "gained": gained, "lost": 0, "subjects": 8}
        sure = {"difference": gained / 8, "low": gained / 16, "high": gained / 4}
        return {"before": before, "after": after, "figures": {"all_answerable_accuracy": {**change, **sure}}}

    scores = {"asked": {"answerable": 8}, "all_answerable_accuracy": 0.5, "by_stated": []}
    results = {name: {"test": scores} for name in ("sft", "dpo", "rl")}
    (folder / "results.json").write_text(json.dumps(results))
    steps = [step("sft", "dpo", 2), step("dpo", "rl", 1)]
    (folder / "comparison.json").write_text(json.dumps({"split": "test", **step("sft", "rl", 3), "steps": steps}))
    Manifest(stage="evaluate").write(folder)
    stage.run({"evaluate": folder}, Report(), out)
    text = (out / "index.html").read_text()
    for told in (
        "What DPO changed: both models, SFT and DPO, were asked the same questions",
        "2 more right answers: +25.0 percentage points",
        "What RL changed: both models, DPO and RL, were",
        "1 more right answers: +12.5 percentage points",
    ):
        assert told in text, told
    assert "SFT and RL" not in text and text.count("bootstrap") == 1
