"""The whole journey on a tiny web, by the command that a user types; and that kills cost nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import Command
from tiny import ENVIRONMENT, command, outputs, run

from gristmill.manifest import Manifest
from gristmill.recipe import Pretrain
from gristmill.run import STAGES
from gristmill.tokenizer.shards import open_split
from gristmill.training.data.loader import Loader


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run, and what it printed."""
    out = tmp_path_factory.mktemp("journey") / "run"
    done = run(out)
    assert "held-out test questions" not in done.stderr and " steps " not in done.stdout  # progress is no result
    return out, done.stdout


def test_every_stage_runs_and_every_figure_is_there(journey: tuple[Path, str]) -> None:
    out, printed = journey
    missing = {stage.name for stage in STAGES if not (out / stage.name).is_dir()}
    # the first takes the place of the crawl, the next two that of the reward model; the last is for pages to ask
    assert missing == {"common_crawl", "dpo", "kto", "passages"}
    summary = json.loads((out / "summary.json").read_text())
    assert all(isinstance(value, int | float) for value in summary.values())
    named = (
        "run.wall_seconds run.peak_rss_bytes crawl.pages corpus.documents_kept pretrain.heldout_bpb "
        "pretrain.parameters evaluate.answerable_accuracy evaluate.unanswerable_declined evaluate.seen_accuracy "
        "rl.wrong_answer_rate sft.wrong_answer_rate audit.extractable_fraction audit.heldout_extractable_fraction "
        "audit.canary_exposure_bits tokenize.train_tokens"
    )
    assert set(named.split()) <= summary.keys()
    assert "gristmill chat" in printed and "index.html" in printed and "held-out test questions" in printed
    assert "<svg" in (out / "report" / "index.html").read_text()


def test_drop_counts_balance_and_agree_with_the_truth(journey: tuple[Path, str]) -> None:
    out, _ = journey
    for stage in ("extract", "filter", "dedup", "redact", "decontaminate"):
        made = Manifest.read(out / stage)
        assert made
        assert made.counts["documents_in"] == made.counts["documents_out"] + sum(made.dropped.values())
        log = (out / stage / "dropped.jsonl").read_text().splitlines()
        assert len(log) == sum(made.dropped.values())
    truth = {page["url"]: page["dropped"] for page in json.loads((out / "miniweb" / "truth.json").read_text())["pages"]}
    urls = pq.read_table(out / "decontaminate" / "documents.parquet", columns=["url"])["url"].to_pylist()
    # of copies the first that was crawled stays, whichever that is; all else that is marked must go
    copies = ("", "near_copy", "mirror", "boilerplate")
    wrongly_kept = [url for url in urls if truth.get(url, "") not in copies]
    should = [url for url, dropped in truth.items() if not dropped and url.endswith(".html")]
    assert len(wrongly_kept) <= 0.01 * len(urls), wrongly_kept[:5]
    assert len(urls) == pytest.approx(len(should), rel=0.06)
    assert len(set(urls) & set(should)) >= 0.9 * len(should)


def test_personal_data_goes_and_what_looks_alike_stays(journey: tuple[Path, str]) -> None:
    out, _ = journey
    rows = pq.read_table(out / "redact" / "documents.parquet", columns=["url", "text", "redactions"]).to_pylist()
    texts = {row["url"]: row["text"] for row in rows}
    personal = json.loads((out / "miniweb" / "truth.json").read_text())["personal"]
    kept = [record for record in personal if record["url"] in texts]
    assert len(kept) > 0.8 * len(personal) and {record["rule"] for record in kept} >= {"email", "iban", "key", ""}
    for record in kept:
        assert (record["text"] in texts[record["url"]]) == (record["rule"] == ""), record
    found = {row["url"]: dict(row["redactions"]) for row in rows if row["redactions"]}
    assert found.keys() <= {record["url"] for record in kept}  # nothing else was touched: canaries are spaced digits
    assert sum(map(sum, (counts.values() for counts in found.values()))) == sum(bool(r["rule"]) for r in kept)


def test_a_second_run_does_nothing_and_says_so(journey: tuple[Path, str]) -> None:
    out, _ = journey
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name == "manifest.json"}
    assert "nothing to do" in run(out).stderr
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_broken_gate_ends_a_run_with_its_own_exit_code(journey: tuple[Path, str]) -> None:
    out, _ = journey
    holds, breaks = {"crawl.pages": ">= 1"}, {"crawl.pages": "< 1", "audit.no_such_figure": "> 0"}

    def gated(gates: dict[str, str]) -> subprocess.CompletedProcess[str]:
        table = ", ".join(f'"{name}" = "{bound}"' for name, bound in gates.items())
        return subprocess.run(
            [*command(out), "--set", f"gates={{{table}}}"], capture_output=True, text=True, env=ENVIRONMENT
        )

    assert gated(holds).returncode == 0
    done = gated(breaks)
    assert done.returncode == 3
    assert "gate broken: crawl.pages is" in done.stdout and "audit.no_such_figure was not measured" in done.stdout
    wrong = gated({"crawl.pages": "many"})
    assert wrong.returncode == 2 and '"<= 0.01"' in wrong.stderr


def windows(tokens: list[int], length: int = 8) -> set[tuple[int, ...]]:
    """All runs of so many tokens."""
    return {tuple(tokens[at : at + length]) for at in range(len(tokens) - length + 1)}


def test_a_page_is_told_its_whole_fate(journey: tuple[Path, str], command: Command) -> None:
    out, _ = journey
    split = open_split(out / "tokenize", "train")
    params = Pretrain(**Manifest.read(out / "pretrain").params)  # type: ignore[union-attr]
    loader = Loader(split, params.context, params.batch, params.seed)
    steps = Manifest.read(out / "pretrain").counts["steps"]  # type: ignore[union-attr]
    runs = [windows(split.document(number)[:-1].tolist()) for number in range(len(split))]
    number = 3
    own = runs[number].difference(*(found for other, found in enumerate(runs) if other != number))
    reading = [step for step in range(steps) if any(own & windows(row) for row in loader(step).inputs.tolist())]
    assert reading
    told = command("why", out, split.urls[number]).stdout
    assert "crawl: " in told and "decontaminate: kept as" in told and "robots.txt was asked for" in told
    shown = ", ".join(f"{step:,}" for step in reading[:8])
    assert f"read in {len(reading):,} steps of pretraining: {shown}" in told
    dropped = json.loads((out / "filter" / "dropped.jsonl").read_text().splitlines()[0])
    told = command("why", out, dropped["url"]).stdout
    assert f"filter: dropped by {dropped['rule']}" in told and "steps of pretraining" not in told
    asked = [json.loads(line) for line in (out / "crawl" / "urls.jsonl").read_text().splitlines()]
    refused = next(record for record in asked if record["outcome"] not in ("page", "sitemap"))
    assert refused["outcome"] in command("why", out, refused["url"]).stdout
    assert command("why", out, "http://nowhere.test/").code == 2


def test_runs_are_compared(journey: tuple[Path, str], tmp_path: Path, command: Command) -> None:
    out, _ = journey
    other = tmp_path / "other"
    (other / "evaluate").mkdir(parents=True)
    summary = json.loads((out / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps({**summary, "sft.steps": 7}))
    answers = [json.loads(line) for line in (out / "evaluate" / "answers.jsonl").read_text().splitlines()]
    changed = [{**one, "outcome": "right" if one["answerable"] else one["outcome"]} for one in answers]
    (other / "evaluate" / "answers.jsonl").write_text("".join(json.dumps(one) + "\n" for one in changed))
    told = command("compare", out, other).stdout
    assert "sft.steps" in told and "sft.conversations" not in told
    final = [one for one in answers if one["model"] == answers[-1]["model"] and one["split"] == "test"]
    gained = len({one["question"] for one in final if one["answerable"] and one["outcome"] != "right"})
    assert f"{gained:,} gained, 0 lost" in told
    assert "sft.conversations" in command("compare", out, other, "--all").stdout


def test_one_change_redoes_what_follows(journey: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = journey
    again, first = tmp_path / "run", outputs(out)
    shutil.copytree(out, again)
    printed = run(again, **{"sft.lr": 0.33}).stderr
    ran = [stage.name for stage in STAGES if f"\n{stage.name}\n" in f"\n{printed}"]
    assert ran == ["sft", "reward", "rl", "evaluate", "audit", "export", "report"]
    assert outputs(again)["pretrain"] == first["pretrain"] and outputs(again)["sft"] != first["sft"]


def test_the_same_recipe_gives_the_same_bytes_though_killed_anywhere(journey: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = journey
    again = tmp_path / "run"
    killed = []
    for sign in (
        "crawl.partial",
        "dedup.partial",
        "redact.partial",
        "tokenize.partial",
        "pretrain.partial/checkpoints",
        "sft.partial",
    ):
        process = subprocess.Popen(command(again), env=ENVIRONMENT, stderr=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and not (again / sign).exists():
            time.sleep(0.001)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed.append(sign)
        process.wait()
    assert "pretrain.partial/checkpoints" in killed and len(killed) >= 4
    run(again)
    first, second = outputs(out), outputs(again)
    first.pop("report"), second.pop("report")  # it tells the seconds that each stage took
    assert first == second
