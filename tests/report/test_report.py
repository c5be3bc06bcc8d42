"""The report: well-formed, self-contained, safe, and made of whatever stages there are."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gristmill.document import Document, write_documents
from gristmill.errors import UserError
from gristmill.manifest import Manifest, write_jsonl
from gristmill.recipe import Report
from gristmill.report import stage
from gristmill.report.plot import MAX_POINTS, bar_chart, line_chart, ticks

HOSTILE = "<script>alert(1)</script>\"'&</table>"
VOID = {"meta", "br"}


class Balance(HTMLParser):
    """Fails where a tag is closed that was not opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def run(tmp_path: Path, tokenizer_folder: Path, tokens_folder: Path) -> dict[str, Path]:
    """A run's folders, with hostile text wherever text comes from pages or models."""
    folders = {}
    for name in ("crawl", "extract", "filter", "decontaminate", "pretrain", "sft", "rl", "evaluate", "audit"):
        folders[name] = tmp_path / "my-run" / name
        folders[name].mkdir(parents=True)
    Manifest({"urls": 9, "pages": 7}, stage="crawl").write(folders["crawl"])
    for name, count in (("extract", 6), ("filter", 4)):
        documents = [Document(f"{i}", "x", host=HOSTILE) for i in range(count)]
        write_documents(folders[name] / "documents.parquet", documents)
        made = Manifest({"documents_in": count + 2, "documents_out": count}, {HOSTILE: 2}, stage=name)
        made.write(folders[name])
    made = Manifest({"documents_in": 4, "documents_out": 4, "filter.lines_removed.c4_policy": 3}, stage="filter")
    made.write(folders["filter"])
    Manifest({"documents_in": 4, "documents_out": 4}, stage="decontaminate").write(folders["decontaminate"])
    met = {"set": HOSTILE, "items": 8, "too_short": 1, "met": 2, "items_met": []}
    (folders["decontaminate"] / "contamination.json").write_text(json.dumps({"ngram": 13, "sets": [met]}))
    write_documents(folders["decontaminate"] / "documents.parquet", [Document("1", "x")])
    figures = {"parameters": 10, "heldout_bpb": 1.25, "train_bpb": 1.0}
    Manifest({"tokens": 50}, metrics=figures, stage="pretrain").write(folders["pretrain"])
    log = [{"step": i, "tokens": i * 9, "loss": 5 - i / 10, "heldout_bpb": 2.0, "train_bpb": 1.9} for i in range(20)]
    write_jsonl(folders["pretrain"] / "log.jsonl", log)
    write_jsonl(folders["pretrain"] / "samples.jsonl", [{"step": 0, "prompt": "The", "text": HOSTILE}])
    write_jsonl(folders["sft"] / "log.jsonl", log)
    write_jsonl(folders["rl"] / "log.jsonl", [{"step": 0, "reward": 0.5, "kl": 0.0}, {"step": 1, "reward": 1, "kl": 1}])
    row = {"from": 50, "to": 99, "questions": 3, "right": 2, "wrong": 0, "declined": 1}
    scores = {"answerable_accuracy": 0.5, "unanswerable_declined": 0.75, "wrong_answer_rate": 0.25, "by_stated": [row]}
    Manifest(metrics={"answerable_accuracy": 0.5}, stage="evaluate").write(folders["evaluate"])
    (folders["evaluate"] / "results.json").write_text(json.dumps({"sft": {"test": scores}, "rl": {"test": scores}}))
    answer = {"model": "rl", "split": "test", "question": HOSTILE, "answer": HOSTILE, "stated": 60}
    write_jsonl(folders["evaluate"] / "answers.jsonl", [{**answer, "outcome": "right", "answerable": True}])
    turns = [{"role": role, "content": HOSTILE} for role in ("user", "assistant")]
    write_jsonl(folders["evaluate"] / "conversations.jsonl", [{"messages": turns}])
    found = {"from": 1, "to": 1, "passages": 4, "fraction": 0.5, "matched_tokens": 3.5}
    example = {"url": "javascript:alert(1)", "prompt": HOSTILE, "truth": "x", "model": HOSTILE, "exact": True}
    exposure = [{"copies": 4, "canaries": 3, "mean": 2.5, "possible": 8.0}]
    result = {"train": [found], "heldout": found, "examples": [example], "exposure": exposure}
    (folders["audit"] / "audit.json").write_text(json.dumps({"prompt_tokens": 5, "continuation_tokens": 5, **result}))
    for name, source in (("tokenizer", tokenizer_folder), ("tokenize", tokens_folder)):
        folders[name] = tmp_path / "my-run" / name
        shutil.copytree(source, folders[name])
        Manifest(metrics={"bytes_per_token": 3.3}, stage=name).write(folders[name])
    return folders


def page(folders: dict[str, Path], out: Path) -> str:
    """The report on these folders."""
    out.mkdir()
    stage.run(folders, Report(), out)
    return (out / "index.html").read_text()


def test_the_page_is_well_formed_and_tells_every_part(run: dict[str, Path], tmp_path: Path) -> None:
    text = page(run, tmp_path / "out")
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert {"svg", "table", "figure"} <= parser.seen
    for told in (
        "my-run",
        "75.0%",
        "1.250",
        "stated 50–99 times",
        "planted 4 times",
        "bytes per token",
        "c4_policy",
        "too short",
    ):
        assert told in text, told


def test_text_from_outside_is_escaped_and_nothing_is_loaded(run: dict[str, Path], tmp_path: Path) -> None:
    text = page(run, tmp_path / "out")
    assert "<script" not in text and "alert(1)" in text
    assert not re.search(r"""(src|href)=["'](?!#)|https?://|url\(|@import""", text)


def test_the_same_folders_give_the_same_bytes(run: dict[str, Path], tmp_path: Path) -> None:
    assert page(run, tmp_path / "one") == page(run, tmp_path / "two")


@pytest.mark.parametrize("kept", ["extract", "tokenizer", "pretrain", "sft", "evaluate", "audit"])
def test_any_part_alone_is_enough(run: dict[str, Path], tmp_path: Path, kept: str) -> None:
    assert "<h2>" in page({kept: run[kept]}, tmp_path / "out")


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished stage"):
        stage.run({}, Report(), tmp_path)


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
