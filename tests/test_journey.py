"""The whole journey on a tiny web, by the command that a user types (killed on its way: `faults/test_kills.py`)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonl
import pyarrow.parquet as pq
import pytest
from command_line import Command, Done
from forks import Commands
from tiny import arguments, outputs

from gristmill.evaluation.win_rate import by_reward
from gristmill.files import unsealed
from gristmill.manifest import Manifest
from gristmill.recipe import Pretrain, Recipe
from gristmill.runs.figure_names import READ_FROM, known_figures
from gristmill.settings.recipe_file import validate
from gristmill.settings.stages import STAGES
from gristmill.tokenizer.shards import open_split
from gristmill.training.data.loader import Loader


def test_every_stage_runs_and_every_figure_is_there(whole: Path) -> None:
    printed, progress = (whole.with_name(f"{name}.txt").read_text() for name in ("printed", "progress"))
    assert "held-out test questions" not in progress and " steps " not in printed  # progress is no result
    missing = {stage.name for stage in STAGES if not (whole / stage.name).is_dir()}
    assert missing == {"common_crawl"}  # which takes the place of the crawl
    summary = json.loads((whole / "summary.json").read_text())
    assert all(isinstance(value, int | float) for value in summary.values())
    named = (
        "run.wall_seconds run.peak_rss_bytes crawl.pages corpus.documents_kept pretrain.heldout_bpb "
        "pretrain.parameters evaluate.answerable_accuracy evaluate.unanswerable_declined evaluate.seen_accuracy "
        "rl.wrong_answer_rate sft.wrong_answer_rate audit.extractable_fraction audit.heldout_extractable_fraction "
        "audit.canary_exposure_bits tokenize.train_tokens"
    )
    assert set(named.split()) <= summary.keys()
    made = {name for name in summary if not READ_FROM.fullmatch(name)}
    assert made <= known_figures(validate(Recipe, unsealed(whole / "recipe.json", "run it"), "recipe.json"))
    assert "gristmill chat" in printed and "index.html" in printed and "held-out test questions" in printed
    assert "<svg" in (whole / "report" / "index.html").read_text()


def test_drop_counts_balance_and_agree_with_the_truth(whole: Path) -> None:
    for stage in ("extract", "filter", "dedup", "redact", "decontaminate"):
        made = Manifest.read(whole / stage)
        assert made
        assert made.counts["documents_in"] == made.counts["documents_out"] + sum(made.dropped.values())
        log = (whole / stage / "dropped.jsonl").read_text().splitlines()
        assert len(log) == sum(made.dropped.values())
    truth = {
        page["url"]: page["dropped"] for page in json.loads((whole / "miniweb" / "truth.json").read_text())["pages"]
    }
    urls = pq.read_table(whole / "decontaminate" / "documents.parquet", columns=["url"])["url"].to_pylist()
    # of copies the first that was crawled stays, whichever that is; all else that is marked must go
    copies = ("", "near_copy", "mirror", "boilerplate")
    wrongly_kept = [url for url in urls if truth.get(url, "") not in copies]
    should = [url for url, dropped in truth.items() if not dropped and url.endswith(".html")]
    assert len(wrongly_kept) <= 0.01 * len(urls), wrongly_kept[:5]
    assert len(urls) == pytest.approx(len(should), rel=0.07)
    assert len(set(urls) & set(should)) >= 0.9 * len(should)


def test_personal_data_goes_and_what_looks_alike_stays(whole: Path) -> None:
    rows = pq.read_table(whole / "redact" / "documents.parquet", columns=["url", "text", "redactions"]).to_pylist()
    texts = {row["url"]: row["text"] for row in rows}
    personal = json.loads((whole / "miniweb" / "truth.json").read_text())["personal"]
    kept = [record for record in personal if record["url"] in texts]
    assert len(kept) > 0.8 * len(personal) and {record["rule"] for record in kept} >= {"email", "iban", "key", ""}
    for record in kept:
        assert (record["text"] in texts[record["url"]]) == (record["rule"] == ""), record
    found = {row["url"]: dict(row["redactions"]) for row in rows if row["redactions"]}
    assert found.keys() <= {record["url"] for record in kept}  # nothing else was touched: canaries are spaced digits
    assert sum(map(sum, (counts.values() for counts in found.values()))) == sum(bool(r["rule"]) for r in kept)


def test_a_second_run_does_nothing_and_says_so(whole: Path, commands: Commands) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.name == "manifest.json"}
    assert "nothing to do" in commands.run(arguments(whole)).stderr
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_broken_gate_ends_a_run_with_its_own_exit_code(whole: Path, commands: Commands, tmp_path: Path) -> None:
    out = shutil.copytree(whole, tmp_path / "run")
    holds, breaks = {"crawl.pages": ">= 1"}, {"crawl.pages": "< 1", "audit.no_such_figure": "> 0"}

    def gated(gates: dict[str, str]) -> Done:
        table = ", ".join(f'"{name}" = "{bound}"' for name, bound in gates.items())
        return commands.run(arguments(out, "--set", f"gates={{{table}}}"))

    assert gated(holds).code == 0
    done = gated(breaks)
    assert done.code == 3
    assert "gate broken: crawl.pages is" in done.stdout and "audit.no_such_figure was not measured" in done.stdout
    wrong = gated({"crawl.pages": "many"})
    assert wrong.code == 2 and '"<= 0.01"' in wrong.stderr


def windows(tokens: list[int], length: int = 8) -> set[tuple[int, ...]]:
    """All runs of so many tokens."""
    return {tuple(tokens[at : at + length]) for at in range(len(tokens) - length + 1)}


def test_a_page_is_told_its_whole_fate(whole: Path, command: Command) -> None:
    split = open_split(whole / "tokenize", "train")
    params = Pretrain(**Manifest.read(whole / "pretrain").params)  # type: ignore[union-attr]
    loader = Loader(split, params.context, params.batch, params.seed)
    steps = Manifest.read(whole / "pretrain").counts["steps"]  # type: ignore[union-attr]
    runs = [windows(split.document(number)[:-1].tolist()) for number in range(len(split))]
    number = 3
    own = runs[number].difference(*(found for other, found in enumerate(runs) if other != number))
    reading = [step for step in range(steps) if any(own & windows(row) for row in loader(step).inputs.tolist())]
    assert reading
    told = command("why", whole, split.urls[number]).stdout
    assert "crawl: " in told and "decontaminate: kept, " in told and "robots.txt was asked for" in told
    shown = ", ".join(f"{step:,}" for step in reading[:8])
    assert f"read in {len(reading):,} steps of pretraining: {shown}" in told
    dropped = json.loads((whole / "filter" / "dropped.jsonl").read_text().splitlines()[0])
    told = command("why", whole, dropped["url"]).stdout
    assert f"filter: dropped by {dropped['rule']}" in told and "steps of pretraining" not in told
    asked = jsonl.read(whole / "crawl" / "urls.jsonl")
    refused = next(record for record in asked if record["outcome"] not in ("page", "sitemap"))
    assert refused["outcome"] in command("why", whole, refused["url"]).stdout
    assert command("why", whole, "http://nowhere.test/").code == 2
    assert "{" not in told and told.index("crawl: ") < told.index("robots: ") < told.index("extract: ")


def test_runs_are_compared(whole: Path, tmp_path: Path, command: Command) -> None:
    other = tmp_path / "other"
    (other / "evaluate").mkdir(parents=True)
    summary = json.loads((whole / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps({**summary, "sft.steps": 7}))
    answers = jsonl.read(whole / "evaluate" / "answers.jsonl")
    changed = [{**one, "outcome": "right" if one["answerable"] else one["outcome"]} for one in answers]
    jsonl.write(other / "evaluate" / "answers.jsonl", changed)
    told = command("compare", whole, other).stdout
    assert "sft.steps" in told and "sft.conversations" not in told
    final = [one for one in answers if one["model"] == answers[-1]["model"] and one["split"] == "test"]
    gained = len({one["question"] for one in final if one["answerable"] and one["outcome"] != "right"})
    assert f"{gained:,} gained, 0 lost" in told
    assert "sft.conversations" in command("compare", whole, other, "--all").stdout


def test_one_change_redoes_what_follows(whole: Path, commands: Commands, tmp_path: Path) -> None:
    again, first = tmp_path / "run", outputs(whole)
    shutil.copytree(whole, again)
    printed = commands.run(arguments(again, **{"rl.lr": 0.33})).stderr
    ran = [stage.name for stage in STAGES if f"\n{stage.name}\n" in f"\n{printed}"]
    assert ran == ["rl", "evaluate", "audit", "export", "report"]
    assert outputs(again)["reward"] == first["reward"] and outputs(again)["rl"] != first["rl"]


def test_a_stage_takes_its_folders_in_any_order(whole: Path, command: Command, tmp_path: Path) -> None:
    orders = ("decontaminate", "tokenizer"), ("tokenizer", "decontaminate")
    for number, names in enumerate(orders):
        done = command("tokenize", *(whole / name for name in names), "-o", tmp_path / str(number) / "tokens")
        assert done.code == 0, done.stderr
    assert outputs(tmp_path / "0") == outputs(tmp_path / "1")
    done = command("tokenize", whole / "tokenizer", whole / "pretrain", "-o", tmp_path / "2" / "tokens")
    assert done.code == 2 and "was written by pretrain, and is not read" in done.stderr and "Documents" in done.stderr
    for folders, told in (
        (("tokenizer", "pretrain", "sft"), "one model is read"),
        (("tokenizer", "pretrian"), "did you mean"),
        (("",), "is a whole run"),
        (("pretrain/model.safetensors", "tokenizer"), "is a file"),
    ):
        done = command("sft", *(whole / name for name in folders), "-o", tmp_path / "sft")
        assert done.code == 2 and told in done.stderr and "remedy" in done.stderr, done.stderr


def test_a_reward_model_judges(whole: Path) -> None:
    """The one of the tiny run gives the same answer half a win, and the order of the answers changes sides alone."""
    questions, said, other = ["Who walks?", "Which river?"], ["Anna walks.", "The Marl."], ["I do not know.", "A goat."]
    judge = whole / "reward", whole / "tokenizer"
    assert by_reward(*judge, questions, said, said).tolist() == [0.5, 0.5]
    there, back = by_reward(*judge, questions, said, other), by_reward(*judge, questions, other, said)
    assert (there + back).tolist() == [1.0, 1.0] and set(there.tolist()) <= {0.0, 1.0}


def test_a_reward_model_that_was_trained_alone_judges_too(whole: Path, tmp_path: Path, command: Command) -> None:
    pairs = f"preferences={whole / 'miniweb' / 'preferences.jsonl'}"
    assert command("reward", whole / "sft", "-o", tmp_path / "judge", "--set", pairs, "--set=epochs=0.01").code == 0
    told = command("compare", whole, whole, "--win-rate", tmp_path / "judge")
    assert told.code == 0 and f"by the reward of {tmp_path / 'judge'}: 50.0%" in " ".join(told.stdout.split())
    refused = command("compare", whole, whole, "--win-rate", whole / "sft")
    assert refused.code == 2 and "sft is no reward model" in refused.stderr
