"""What `gristmill why` says of one page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from command_line import Command

from gristmill.manifest import Manifest
from gristmill.recipe import Pretrain
from gristmill.tokenizer.shards import open_split
from gristmill.training import pretrain
from gristmill.training.data.loader import Loader


def test_a_page_that_was_never_asked_for_has_no_status(tmp_path: Path, command: Command) -> None:
    (tmp_path / "crawl").mkdir()
    Manifest(stage="crawl", version="0.1.0").write(tmp_path / "crawl")
    outcomes = (("robots", 0, "Disallow: /a"), ("timeout", 0, ""), ("status_404", 404, ""))
    lines = [
        json.dumps({"url": f"http://a.test/{outcome}", "outcome": outcome, "status": status, "detail": detail})
        for outcome, status, detail in outcomes
    ]
    (tmp_path / "crawl" / "urls.jsonl").write_text("\n".join(lines) + "\n")
    told = {outcome: command("why", tmp_path, f"http://a.test/{outcome}").stdout for outcome, _, _ in outcomes}
    assert "no page: robots, which was never asked for, as robots.txt forbids it" in told["robots"]
    assert "Disallow: /a" in told["robots"] and "status 0" not in "".join(told.values())
    assert "never asked" not in told["timeout"] and "status 404" in told["status_404"]


def test_a_page_that_no_one_knows_is_no_page_and_one_may_be_named_as_it_is_shown(
    tmp_path: Path, command: Command
) -> None:
    (tmp_path / "crawl").mkdir()
    Manifest(stage="crawl", version="0.1.0").write(tmp_path / "crawl")
    page = {"url": "http://a.test/m%C3%BChle%20a", "outcome": "status_404", "status": 404}
    (tmp_path / "crawl" / "urls.jsonl").write_text(f"{json.dumps(page)}\n")
    asked = {"origin": "http://a.test", "date": "2026-01-31T12:00:00Z", "status": 200}
    (tmp_path / "crawl" / "robots.jsonl").write_text(f"{json.dumps(asked)}\n")
    unknown = command("why", tmp_path, "http://a.test/never-met")
    assert unknown.code == 2 and "knows no page http://a.test/never-met" in unknown.stderr
    shown = command("why", tmp_path, "http://a.test/mühle a")
    assert shown.code == 0 and "status 404" in shown.stdout and "robots.txt was asked for" in shown.stdout


def test_the_steps_that_read_a_page_are_those_of_the_batch_that_a_dial_chose(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path, tokens_folder: Path, command: Command
) -> None:
    run, steps = tmp_path / "run", 40
    dialled = Pretrain(size="80k", context=32, max_steps=steps, evaluate_every=steps, sample_prompts=[])
    for name, folder in (("tokenizer", tokenizer_folder), ("tokenize", tokens_folder)):
        shutil.copytree(folder, run / name)
        Manifest(stage=name).write(run / name)
    (run / "pretrain").mkdir()
    made = pretrain.run({"tokenizer": tokenizer_folder, "tokens": tokens_folder}, dialled, run / "pretrain")
    made.stage, made.params = "pretrain", {**dialled.model_dump(), "set by": "another version"}
    made.write(run / "pretrain")
    batch = int(made.metrics["batch"])
    assert batch != dialled.batch
    split = open_split(tokens_folder, "train")
    low, high = split.starts[:2].tolist()
    loader, read = Loader(split, 32, batch, 0), set[int]()
    for place in range(steps * batch):
        epoch, row = loader.place(place)
        rows = loader.epoch(epoch).rows(row, 1)
        if ((rows.start < high) & (rows.start + rows.length > low)).any():
            read.add(place // batch)
    told = command("why", run, split.urls[0])
    assert told.code == 0, told.stderr
    shown = ", ".join(map(str, sorted(read)[:8]))
    assert f"{len(read)} step" in told.stdout and f"of pretraining: {shown}" in " ".join(told.stdout.split())
