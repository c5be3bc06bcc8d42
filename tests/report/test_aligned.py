"""What the report tells of alignment: the pair that was shown."""

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
