"""The report: well-formed, self-contained, safe, and made of whatever stages there are."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from audited import audited

from gristmill.chat.template import render
from gristmill.corpus.extract import stage as extract
from gristmill.crawl.warc import record, warc_name
from gristmill.document import Document, write_documents
from gristmill.errors import UserError
from gristmill.files import write_jsonl
from gristmill.generation.engine import Engine
from gristmill.manifest import Manifest
from gristmill.model.loss import cross_entropy
from gristmill.recipe import Extract, Report
from gristmill.report import stage
from gristmill.tokenizer.shards import open_split

HOSTILE = "<script>alert(1)</script>\"'&</table>"
VOID = {"meta", "br"}
STAGES = "miniweb crawl extract filter decontaminate pretrain sft reward rl evaluate audit".split()
PAGE = "<html><head><title>T</title></head><body><nav>Start</nav><p>Write to anna@example.org, she said.</p>{}</body>"
PROSE = "<p>The mill by the river has stood there for as long as anybody can remember, and it still turns.</p>" * 5


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


SURE = {"low": 0.125, "high": 0.625, "by": "subject"}
ROW: dict[str, Any] = {"from": 50, "to": 99, "questions": 3, "right": 2, "wrong": 0, "declined": 1}
ROW |= {"intervals": dict.fromkeys(("right", "wrong", "declined"), SURE)}
GROUP = {"documents": 9, "bytes": 900, "bits_per_byte": 1.75, "low": 1.4, "high": 1.6}
SOURCES = [{"name": HOSTILE, **GROUP}, {"name": "b.test", "documents": 1, "bytes": 10, "bits_per_byte": 2.125}]
MET = {
    **{"questions": 80, "contaminated": 70, "too_short": 60},
    "by_split": {"test": {"questions": 8, "contaminated": 2, "too_short": 1}},
    "without": {"rl": {"test": {"all_answerable_accuracy": 0.4375}}},
}
ACC = {"value": 0.8125, "low": 0.5, "high": 0.9375}
TASKS = {HOSTILE: {"items": 16, "acc": ACC, "13_gram": {"too_short": 0, "contaminated": 3, "without": {"acc": ACC}}}}
SHARED = {
    "8_gram_half": {"documents": 9, "contaminated": 8, "too_short": 0, "without": {**GROUP, "bits_per_byte": 1.875}}
}
HELDOUT = {"all": GROUP, "by_source": SOURCES, "by_language": [{"name": "en", **GROUP}], "contamination": SHARED}


@pytest.fixture
def run(tmp_path: Path, tokenizer_folder: Path, tokens_folder: Path) -> dict[str, Path]:
    """A run's folders, with hostile text wherever text comes from pages or models."""
    folders = {}
    for name in STAGES:
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
    write_jsonl(folders["reward"] / "log.jsonl", log)
    turns = [{"role": role, "content": f"{role} said {HOSTILE}"} for role in ("user", "assistant")]
    write_jsonl(folders["miniweb"] / "conversations.jsonl", [{"messages": turns}])
    pair = {"prompt": turns[:1], "chosen": "a better answer", "rejected": "a worse answer"}
    write_jsonl(folders["miniweb"] / "preferences.jsonl", [pair])
    for name, key in (("sft", "conversations"), ("reward", "preferences")):
        # the run was elsewhere when it was made
        Manifest(stage=name, params={key: f"/elsewhere/miniweb/{key}.jsonl"}).write(folders[name])
    write_jsonl(folders["rl"] / "log.jsonl", [{"step": 0, "reward": 0.5, "kl": 0.0}, {"step": 1, "reward": 1, "kl": 1}])
    figures = {"answerable_accuracy": 0.5, "all_answerable_accuracy": 0.375, "unanswerable_declined": 0.75}
    asked = {"often": 3, "answerable": 8, "unanswerable": 4}
    scores = {"asked": asked, **figures, "wrong_answer_rate": 0.25, "by_stated": [ROW], "often": 20}
    scores["by_kind"] = [{"kind": "crossed", "questions": 8, "right": 0, "wrong": 3, "declined": 5}]
    scores["intervals"] = {"all_answerable_accuracy": SURE}
    Manifest(metrics={**figures, "heldout_bpb": 1.5}, stage="evaluate").write(folders["evaluate"])
    change = {"questions": 8, "before": 5, "after": 3, "gained": 1, "lost": 3, "difference": -0.25}
    changed = {"all_answerable_accuracy": {**change, "subjects": 4, "low": -0.5, "high": 0.125}}
    changes = {"before": "sft", "after": "rl", "split": "test", "figures": changed}
    (folders["evaluate"] / "comparison.json").write_text(json.dumps(changes))
    (folders["evaluate"] / "results.json").write_text(json.dumps({"sft": {"test": scores}, "rl": {"test": scores}}))
    answer = {"model": "rl", "split": "test", "question": HOSTILE, "answer": HOSTILE, "stated": 60}
    write_jsonl(folders["evaluate"] / "answers.jsonl", [{**answer, "outcome": "right", "answerable": True}])
    write_jsonl(folders["evaluate"] / "conversations.jsonl", [{"messages": turns}])
    (folders["evaluate"] / "heldout.json").write_text(json.dumps(HELDOUT))
    (folders["evaluate"] / "tasks.json").write_text(json.dumps(TASKS))
    (folders["evaluate"] / "contamination.json").write_text(json.dumps({"13_gram": MET}))
    audited(folders["audit"], HOSTILE)
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
        "stated 50–99 times",
        "<td>2.125</td>",
        "13 words in a row",
        "43.8%",
        "81.2% (50.0 to 93.8)",
        "66.7%; 95 % interval 12.5 to 62.5",
        "<td>crossed</td><td>8</td><td>0.0%</td><td>37.5%</td>",
        "planted 4 times",
        "bytes per token",
        "c4_policy",
        "too short",
    ):
        assert told in text, told


def test_the_sections_follow_the_journey(run: dict[str, Path], tmp_path: Path) -> None:
    titles = re.findall("<h2>(.*?)</h2>", page(run, tmp_path / "out"))
    assert titles == [
        *("What came in", "What was dropped", "Tokens", "Learning to predict the next token"),
        *("From predictor to assistant", "Aligned with preferences", "What it knows, and what it admits not knowing"),
        *(
            "Benchmarks",
            "Where it expects the next token best",
            "What was memorised",
            "Learned or memorised",
            "How it was made",
        ),
    ]


def test_every_share_has_its_condition_next_to_it(run: dict[str, Path], tmp_path: Path) -> None:
    tiles = re.findall(r"<dt>(.*?)</dt><dd class=\"value\">(.*?)</dd>(?:<dd>(.*?)</dd>)?", page(run, tmp_path / "out"))
    at_top = {label: (value, condition) for label, value, condition in tiles}
    assert at_top["right answers, facts stated 20 times or more"] == ("50.0%", "3 held-out questions on such facts")
    value, condition = at_top["right answers, all"]
    assert at_top["held-out bits per byte"][1].endswith("less is better; 95 % interval 1.400 to 1.600")
    assert value == "37.5%" and "8 held-out questions" in condition
    assert condition.endswith("; 95 % interval 12.5 to 62.5")
    tried = "5 tokens after 5; 4 tried; 95 % interval 0.0 to 49.0"
    assert at_top["passages completed word for word"] == ("0.0%", tried)
    assert at_top["planted secrets guessed"] == ("2 of 3", "short, planted 4 times; first among 256")


def test_one_figure_on_held_out_text_and_one_sentence_on_what_was_memorised(
    run: dict[str, Path], tmp_path: Path
) -> None:
    text = page(run, tmp_path / "out")
    assert text.count("1.500") == 1 and "1.250" not in text  # the finished model's alone
    assert "None of 4 passages of the training text came out word for word, and yet 2 of the 3 short secrets" in text
    del run["evaluate"]
    assert page(run, tmp_path / "without").count("1.250") == 2  # at the top, and where the curves are


def test_where_nothing_was_tried_there_is_no_figure(run: dict[str, Path], tmp_path: Path) -> None:
    text = page(run, tmp_path / "out")
    assert re.search(r"<td>held out</td><td>0</td><td>none tried</td><td></td><td></td>", re.sub(r"\s*\n\s*", "", text))
    assert "too few documents" not in text
    audit = json.loads((run["audit"] / "audit.json").read_text())
    (run["audit"] / "audit.json").write_text(json.dumps({**audit, "membership": {}}))
    assert "none tried: too few documents" in page(run, tmp_path / "few")


def test_secrets_that_were_planted_and_that_were_taken_out_are_told(run: dict[str, Path], tmp_path: Path) -> None:
    text = page(run, tmp_path / "out")
    assert "2 of 3" in text and "Of 77 values that were taken out of the text before training, none came out" in text
    assert "of as many values of the same form that stood elsewhere, looked for there, 0.0% (0.0% to 6.2%)" in text


def test_what_was_memorised_has_intervals_and_so_have_its_controls(run: dict[str, Path], tmp_path: Path) -> None:
    text = re.sub(r"<[^>]*>", "|", page(run, tmp_path / "out"))
    cells = [cell.strip() for cell in text.split("|")]
    for cell in ("2.5 (1 to 4)", "1.5 (0.5 to 2)", "2 of 3 (20.0% to 90.0%)", "0.0% (0.0% to 56.2%)"):
        assert cell in cells
    for name, told in (("bits memorised", ("5,000", "2,500 to 7,500", "0")), ("the same a parameter", ("0.25",))):
        after = [cell for cell in cells[cells.index(name) :] if cell]
        assert after[1 : 1 + len(told)] == [*told]
    assert "5 tokens after 5; 4 tried; 95 % interval 0.0 to 49.0" in cells
    met = [cell for cell in cells[cells.index("half of it in runs of 8 words") :] if cell]
    assert met[1:4] == ["8 of 9", "1.875", "1.400 to 1.600"]


def test_knowing_and_memorising_are_over_the_same_statements(run: dict[str, Path], tmp_path: Path) -> None:
    text = page(run, tmp_path / "out")
    assert "RL answered the questions and was audited." in text and "Known, and known by heart" in text
    curves = json.loads((tmp_path / "out" / "by_statements.json").read_text())
    known, ranked = curves["facts: questions answered right"], curves["secrets: exposure, of what is possible"]
    assert [(one["statements"], one["share"]) for one in known] == [(50, pytest.approx(2 / 3, abs=1e-4))]
    assert [(one["statements"], one["share"], one["control"]) for one in ranked] == [(4, 0.3125, 0.1875)]
    assert known[0]["interval"] == [SURE["low"], SURE["high"]]  # the evaluation's, which draws subjects
    del run["evaluate"]
    assert "Learned or memorised" not in page(run, tmp_path / "without")


def test_what_rl_changed_has_an_interval(run: dict[str, Path], tmp_path: Path) -> None:
    text = page(run, tmp_path / "out")
    assert (
        "2 fewer right answers: −25.0 percentage points (95 % interval −50.0 to +12.5; as that holds 0, it may be"
        in text
    )


def test_what_dpo_changed_before_is_not_put_down_to_rl(
    run: dict[str, Path], tmp_path: Path, model_folder: Path
) -> None:
    for name in ("pretrain", "dpo"):
        shutil.copytree(model_folder, run.setdefault(name, tmp_path / name), dirs_exist_ok=True)
    (run["dpo"] / "log.jsonl").write_text('{"step": 0, "loss": 1}\n{"step": 1, "loss": 0}\n')
    made = Manifest(metrics={"heldout_accuracy": 0.75}, counts={"heldout_pairs": 4}, stage="dpo")
    made.write(run["dpo"])
    text = unescape(page(run, tmp_path / "out"))
    assert "What DPO and RL changed: both models, SFT and RL" in text
    assert "On 4 pairs that it never saw, it has moved to the preferred one 75.0% of the time." in text
    assert "<td>after DPO</td>" in text and "the fine-tuned model, nats" not in text


def test_where_rl_changed_no_answer_that_is_said(run: dict[str, Path], tmp_path: Path) -> None:
    path = run["evaluate"] / "comparison.json"
    found = json.loads(path.read_text())
    same = {"before": 5, "after": 5, "gained": 0, "lost": 0, "difference": 0.0, "low": 0.0, "high": 0.0}
    found["figures"]["all_answerable_accuracy"] |= same
    path.write_text(json.dumps(found))
    text = page(run, tmp_path / "out")
    assert "As many right answers, and on the same questions." in text and "chance" not in text


def test_a_conversation_and_a_pair_are_shown_though_the_run_was_moved(run: dict[str, Path], tmp_path: Path) -> None:
    text = page(run, tmp_path / "out")
    assert "user said &lt;script" in text and "a better answer" in text and "a worse answer" in text


def test_a_conversation_that_the_model_had_no_room_for_is_not_shown(
    run: dict[str, Path], tmp_path: Path, model_folder: Path
) -> None:
    for stage_name in ("sft", "reward"):
        shutil.copytree(model_folder, run[stage_name], dirs_exist_ok=True)
    turns = [[{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}] for text in ("o" * 999, "so")]
    write_jsonl(run["miniweb"] / "conversations.jsonl", [{"messages": messages} for messages in turns])
    pairs = [{"prompt": messages[:1], "chosen": "a better one", "rejected": "a worse one"} for messages in turns]
    write_jsonl(run["miniweb"] / "preferences.jsonl", pairs)
    text = page(run, tmp_path / "out")
    assert text.count('<p class="user">so</p>') == 3 and "o" * 99 not in text


def test_nothing_asked_gives_no_figure(run: dict[str, Path], tmp_path: Path) -> None:
    Manifest(metrics={"heldout_bpb": 1.5}, stage="evaluate").write(run["evaluate"])
    (run["evaluate"] / "results.json").write_text("{}")
    for name in ("comparison.json", "answers.jsonl"):
        (run["evaluate"] / name).unlink()
    audit = json.loads((run["audit"] / "audit.json").read_text()) | {"exposure": [], "canaries": []}
    (run["audit"] / "audit.json").write_text(json.dumps(audit))
    text = page(run, tmp_path / "out")
    for label in ("right answers", "declined", "planted", "secret"):
        assert label not in text, label
    assert "What it says" in text and HOSTILE[:7] not in text


@pytest.mark.parametrize("source", ["crawl", "folder"])
def test_a_page_is_shown_before_and_after_without_personal_data(tmp_path: Path, source: str) -> None:
    folders = {name: tmp_path / "run" / name for name in ("crawl", "extract", "redact")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    body = PAGE.format(PROSE).encode()
    if source == "crawl":
        about = {"WARC-Target-URI": "http://a.test/", "WARC-Date": "2024-01-01T00:00:00Z"}
        kind = {"Content-Type": "application/http;msgtype=response"}
        data = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
        (folders["crawl"] / warc_name(0)).write_bytes(record("response", about | kind, data)[1])
        Manifest({"pages": 1, "urls": 1}, stage="crawl").write(folders["crawl"])
        made = extract.run({"crawl": folders["crawl"]}, Extract(), folders["extract"])
    else:
        del folders["crawl"]
        (tmp_path / "pages").mkdir()
        (tmp_path / "pages" / "a.html").write_bytes(body)
        params = Extract(paths=[str(tmp_path / "pages")])
        made = extract.run({}, params, folders["extract"])
        made.params = params.model_dump()
    made.stage = "extract"
    made.write(folders["extract"])
    shutil.copy(next(folders["extract"].glob("*.parquet")), folders["redact"])
    Manifest({"documents_out": 1}, stage="redact", params={"rules": ["email"]}).write(folders["redact"])
    text = page(folders, tmp_path / "out")
    assert "&lt;nav&gt;Start&lt;/nav&gt;&lt;p&gt;Write to &lt;EMAIL&gt;" in text
    assert "anna@example.org" not in text and "Write to &lt;EMAIL&gt;, she said.\n" in text


def test_one_document_of_each_rule_is_shown(run: dict[str, Path], tmp_path: Path) -> None:
    made = Manifest({"documents_in": 8, "documents_out": 4}, {"gopher_too_short": 3, "odd_rule": 1}, stage="filter")
    made.write(run["filter"])
    samples = [
        {"rule": "gopher_too_short", "id": "1", "url": f"http://a.test/{n}", "text": f"Day {n}."} for n in (1, 2)
    ]
    write_jsonl(run["filter"] / "samples.jsonl", samples)
    log = [{"id": "9", "url": "http://a.test/9", "source": "x:9", "rule": "odd_rule", "bytes": 3}]
    write_jsonl(run["filter"] / "dropped.jsonl", log)
    text = page(run, tmp_path / "out")
    assert "gopher_too_short, 3 dropped: too few words. http://a.test/1</b>" in text and "Day 1." in text
    assert "Day 2." not in text and "odd_rule, 1 dropped. http://a.test/9" in text


def test_text_from_outside_is_escaped_and_nothing_is_loaded(run: dict[str, Path], tmp_path: Path) -> None:
    text = page(run, tmp_path / "out")
    assert "<script" not in text and "alert(1)" in text
    assert not re.search(r"""(src|href)=["'](?!#)|https?://|url\(|@import""", text)


def test_the_same_folders_give_the_same_bytes(run: dict[str, Path], tmp_path: Path) -> None:
    assert page(run, tmp_path / "one") == page(run, tmp_path / "two")


@pytest.mark.parametrize("kept", ["extract", "tokenizer", "pretrain", "sft", "evaluate", "audit"])
def test_any_part_alone_is_enough(run: dict[str, Path], tmp_path: Path, kept: str) -> None:
    assert "<h2>" in page({kept: run[kept]}, tmp_path / "out")


def test_next_token_prediction_is_worked_out_and_one_prompt_is_followed(
    run: dict[str, Path], tmp_path: Path, model_folder: Path
) -> None:
    for name in ("pretrain", "sft"):
        shutil.copytree(model_folder, run[name], dirs_exist_ok=True)
    made = Manifest.read(run["pretrain"])
    assert made
    made.counts["steps"] = 7
    made.params["sample_prompts"] = ["Anna"]
    made.write(run["pretrain"])
    (run["evaluate"] / "conversations.jsonl").unlink()
    (run["evaluate"] / "answers.jsonl").unlink()
    text = unescape(page(run, tmp_path / "out"))
    engine = Engine.load(model_folder, run["tokenizer"])
    heldout = open_split(run["tokenize"], "heldout")
    openings = [heldout.document(number)[:10].tolist() for number in range(len(heldout))]
    ids = next(ids for ids in openings if f'class="caption">“{engine.tokenizer.decode(ids)}”' in text)
    inputs, targets = torch.tensor([[engine.tokenizer.end_of_text, *ids[:-1]]]), torch.tensor([ids])
    with torch.no_grad():
        mean = float(cross_entropy(engine.model, inputs, targets))
    size = len(engine.tokenizer.decode(ids).encode())
    found = re.search(r"= ([\d.]+) nats a token.*? ([\d.]+) / (\d+) = ([\d.]+)\.", text)
    assert found and found[3] == str(size)
    numbers = [float(found[place]) for place in (1, 2, 4)]
    assert numbers == pytest.approx([mean, mean * 10 / log(2), mean * 10 / log(2) / size], abs=2e-3)
    for messages, label in (([], "pretraining, step 7"), ([{"role": "user", "content": "Anna"}], "fine-tuned (SFT)")):
        asked = [engine.tokenizer.end_of_text, *engine.tokenizer.encode("Anna")]
        if messages:
            asked = render(messages, engine.tokenizer, generation_prompt=True)[0]
        said = engine.tokenizer.decode(engine.generate([asked], max_tokens=40)[0].tokens).strip()
        assert f"<td>{label}</td><td>{said}</td>" in text


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished stage"):
        stage.run({}, Report(), tmp_path)
