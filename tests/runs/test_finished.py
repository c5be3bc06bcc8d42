"""Nothing looks at what another recipe, other settings, redone inputs or other code left in a run folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonl
import pytest
from command_line import Command

from gristmill import cli
from gristmill.errors import UserError
from gristmill.export.stage import run as export
from gristmill.files import sealed
from gristmill.manifest import Manifest
from gristmill.planning import project_recipe
from gristmill.recipe import Export, Recipe
from gristmill.run import run_recipe
from gristmill.runs.finished import examine, read_recipe, stages_of
from gristmill.runs.model_choice import find_model
from gristmill.serving.assistant import Assistant
from gristmill.settings.recipe_file import validate
from gristmill.training.budget.devices import devices_of

SHAPE = {"layers": 1, "width": 16, "heads": 1, "kv_heads": 1, "head_dim": 16, "ffn_width": 16, "context": 64}
ASK = {"role": "user", "content": "Who walks?"}


def recipe(folder: Path, **changes: dict[str, Any]) -> Recipe:
    """A whole journey over a few texts, as small as can be."""
    tables: dict[str, dict[str, Any]] = {
        "extract": {"paths": [str(folder / "texts.jsonl")]},
        "tokenizer": {"vocab_size": 300},
        "tokenize": {"heldout": 0.1},
        "pretrain": {**SHAPE, "batch": 2, "max_steps": 4, "snapshots": 2, "sample_prompts": []},
        "sft": {"conversations": str(folder / "talk.jsonl"), "batch": 4, "epochs": 1.0, "replay": 0.0},
        "reward": {"preferences": str(folder / "pairs.jsonl"), "batch": 4},
        "rl": {"prompts": str(folder / "prompts.jsonl"), "batch": 4, "group": 2, "max_tokens": 2},
        "evaluate": {"prompts": ["Who walks?"]},
        "report": {},
    }
    for name, change in changes.items():
        tables[name] = {**tables[name], **change}
    return validate(Recipe, {"name": "tiny", **tables}, "test")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs of the recipe and its finished run, `run`."""
    folder = tmp_path_factory.mktemp("finished")
    jsonl.write(
        folder / "texts.jsonl", [{"text": f"The miller of house {n} walks to river {n}. " * 4} for n in range(40)]
    )
    answer = {"role": "assistant", "content": "The miller."}
    jsonl.write(folder / "talk.jsonl", [{"messages": [ASK, answer]}] * 8)
    jsonl.write(
        folder / "pairs.jsonl", [{"prompt": [ASK], "chosen": f"He {n}.", "rejected": "A boat."} for n in range(8)]
    )
    jsonl.write(folder / "prompts.jsonl", [{"prompt": [ASK]}] * 8)
    run_recipe(recipe(folder), folder / "run")
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run to change. Its recipe names the inputs where they are."""
    return Path(shutil.copytree(finished / "run", tmp_path / "run"))


def faults(folder: Path) -> dict[str, str]:
    """Of a run folder, what may not be used, and why."""
    return {name: one.fault for name, one in examine(read_recipe(folder), folder).items() if one.fault}


def test_a_finished_run_may_be_used_wherever_it_lies(finished: Path, run: Path) -> None:
    assert faults(finished / "run") == {} and faults(run) == {}
    model = find_model(run)
    assert (model.folder.name, model.about, model.name) == ("rl", "rl", "run")
    assert (
        stages_of(run).keys()
        == recipe(finished).model_dump(exclude={"name", "seed", "gates"}, exclude_none=True).keys()
    )


def test_a_run_of_another_version_is_named_as_such(run: Path, command: Command) -> None:
    kept = json.loads((run / "recipe.json").read_text())
    del kept["checksum"]
    kept["pretrain"]["former_setting"] = 1
    (run / "recipe.json").write_text(sealed(json.dumps(kept)))
    refused = command("chat", run, text="Who walks?\n")
    assert refused.code == 2 and "was made by another version" in refused.stderr
    assert f"gristmill chat {run / 'rl'}" in " ".join(refused.stderr.split())
    assert command("chat", run / "rl", text="Who walks?\n").code == 0


def test_an_example_has_folders_that_are_there(run: Path, command: Command) -> None:
    refused = command("export", run, "-o", run.parent / "exported")
    assert f"gristmill export {run}/rl {run}/tokenizer -o" in refused.stderr
    shutil.rmtree(run / "rl")
    refused = command("export", run, "-o", run.parent / "exported")
    assert f"gristmill export {run}/sft {run}/tokenizer -o" in refused.stderr


def test_a_file_without_a_record_that_can_be_used_ends_a_run_before_it_begins(finished: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    jsonl.write(bad, [{"frage": "Wer?", "antwort": "Ich."}] * 3)
    for stage, setting in (("sft", "conversations"), ("reward", "preferences"), ("rl", "prompts")):
        with pytest.raises(UserError, match=r"bad\.jsonl: record 1: (.|\n)*3 records cannot be used"):
            run_recipe(recipe(finished, **{stage: {setting: str(bad)}}), tmp_path / "new")
        assert not (tmp_path / "new" / "extract").exists()
    run_recipe(recipe(finished, rl={"prompts": str(bad)}), tmp_path / "new", until="extract")  # it needs none


def test_what_holds_no_model_to_talk_with_is_named(run: Path, command: Command) -> None:
    refused = command("chat", run / "reward")
    assert refused.code == 2 and "is a reward model" in refused.stderr
    refused = command("chat", run.parent)
    assert refused.code == 2 and f"name one: {run}" in refused.stderr
    refused = command("report", run / "reward", "-o", run.parent / "report")
    assert refused.code == 2 and "remedy: name a run folder" in refused.stderr


def test_a_model_that_is_wanted_is_pretrained(finished: Path) -> None:
    alone = validate(Recipe, {"extract": {"paths": [str(finished / "texts.jsonl")]}, "evaluate": {}}, "test")
    with pytest.raises(UserError, match=r"add a \[pretrain\] table"):
        run_recipe(alone, finished / "alone")


def test_the_summary_keeps_stages_after_until_that_still_hold(finished: Path, run: Path) -> None:
    before = json.loads((run / "summary.json").read_text())
    assert run_recipe(recipe(finished), run, until="extract").keys() < before.keys()
    assert json.loads((run / "summary.json").read_text()) == before


def test_after_another_sft_the_old_rl_is_not_used(finished: Path, run: Path, command: Command) -> None:
    summary = run_recipe(recipe(finished, sft={"lr": 0.2}), run, until="sft")
    assert not [name for name in summary if name.split(".")[0] in ("rl", "reward", "evaluate", "report")]
    assert json.loads((run / "summary.json").read_text()) == summary
    told = faults(run)
    assert told["rl"] == "was made for another sft" and "sft" not in told and told["report"]
    assert find_model(run).about == "sft (rl was made for another sft)"
    with pytest.raises(UserError, match=r"rl was made for another sft(.|\n)*made with --set, give the same again"):
        find_model(run, "rl")
    assert find_model(run, "pretrain").folder == run / "pretrain"
    answered = command("chat", str(run), text="Who walks?\n")
    assert answered.code == 0 and "model: sft (rl was made for another sft)" in answered.stderr
    assert answered.stdout.startswith(Assistant.load(run / "sft", run / "tokenizer", "run").reply([ASK]).text() + "\n")
    again = command("report", str(run), "--out", str(run.parent / "page"))
    assert again.code == 0, again.stderr
    assert "left out: reward was made for another sft; rl, evaluate, report likewise" in again.stderr
    made = Manifest.read(run.parent / "page")
    assert made and "rl" not in made.inputs and "evaluate" not in made.inputs and "sft" in made.inputs


@pytest.mark.parametrize(
    "words",
    [
        *("chat RUN", "serve RUN", "find RUN x", "trace RUN x", "count RUN x", "attribute RUN a b", "why RUN x"),
        *("update RUN", "provenance RUN", "compare RUN RUN", "inspect RUN a", "inspect RUN --tokens a"),
        *("tokenizer report RUN", "corpus ledger RUN", "report RUN -o x"),
    ],
)
def test_a_wrong_name_of_a_run_is_told_alike(run: Path, command: Command, words: str) -> None:
    done = command(*words.replace("RUN", str(run.with_name("rum"))).split())
    told = f"error: no run folder {run.with_name('rum')}, did you mean `{run}`?\n  remedy: check the path, or make one:"
    assert done.code == 2 and done.stderr.startswith(told)
    other = command(*words.replace("RUN", str(run.with_name("mill"))).split()).stderr
    assert other.startswith(f"error: no run folder {run.with_name('mill')}\n")  # whatever lies in the same folder


def test_a_base_model_is_told_to_be_one(run: Path, command: Command) -> None:
    note = "(not fine-tuned: it goes on with a text, and answers nothing)\n"
    for folder, *more in ((run, "--model", "pretrain"), (run / "pretrain",)):
        assert command("chat", folder, *more, text="Who?\n").stderr.endswith(note)
    assert note not in command("chat", run, "--model", "sft", text="Who?\n").stderr


def test_a_file_is_no_run(finished: Path, command: Command) -> None:
    done = command("chat", finished / "talk.jsonl")
    assert done.code == 2 and done.stderr.startswith(f"error: {finished / 'talk.jsonl'} is a file, no run folder\n")


def test_a_reward_model_that_rewards_nothing_is_told(finished: Path, run: Path, capsys: Any) -> None:
    (finished / "rewards.py").write_text("def short(prompt, answer, truth):\n    return -len(answer)\n")
    told = f"[reward] is trained and rewards nothing here: rl.reward = '{finished}/rewards.py:short' does"
    run_recipe(recipe(finished, rl={"reward": f"{finished}/rewards.py:short"}), run, until="rl")
    assert told in capsys.readouterr().err
    run_recipe(recipe(finished), run, until="sft")
    assert "rewards nothing" not in capsys.readouterr().err


def test_the_table_shows_this_run_only(
    finished: Path, run: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.parent / "tiny.toml"
    tables = recipe(finished).model_dump(exclude_none=True, exclude={"name", "seed"})
    lines = [
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items() if value != {})
        for name, table in tables.items()
    ]
    path.write_text("".join(lines))
    done = command("run", str(path), "-o", str(run), "--until", "sft")
    told = done.stdout
    assert not done.code and "nothing to do" in done.stderr, done.stderr
    assert "parameters" in told and "the finished model" not in told and "> Who walks?" not in told
    assert "report:" not in told
    cli.closing(run, {"run.wall_seconds": 100.0, "run.peak_rss_bytes": 2**20}, 2.0)
    title = " ".join(capsys.readouterr().out.split())
    assert "in 2s; its stages took 1m40s when they were made" in title and "gristmill chat" not in title
    cli.closing(run, {"run.wall_seconds": 1.0, "run.peak_rss_bytes": 2**20, "sft.seconds": 1.0}, 2.0)
    assert "chat:    gristmill chat" in capsys.readouterr().out  # also where sft began with a model by others


def test_an_interrupted_run_is_told_in_one_line(finished: Path, run: Path, command: Command) -> None:
    (run / "rl").rename(run / "rl.partial")
    answered = command("chat", str(run), text="Who walks?\n")
    assert answered.code == 0 and answered.stderr == "model: sft (rl was interrupted, or is still running)\n"
    (run / "rl.partial").rename(run / "rl")
    (run / "pretrain").rename(run / "pretrain.partial")  # sft and rl are from before
    answered = command("chat", str(run))
    assert answered.code == 2
    assert answered.stderr.startswith(f"error: {run} has no model yet: pretrain was interrupted, or is still running\n")
    assert answered.stderr.count("\n") == 2


def test_another_recipe_in_the_folder(finished: Path, run: Path) -> None:
    other = recipe(finished).model_copy(update={"rl": None, "reward": None, "evaluate": None})
    run_recipe(other, run, until="tokenizer")
    assert find_model(run).about == "sft"
    assert "rl" not in stages_of(run)
    run_recipe(recipe(finished, tokenizer={"vocab_size": 280}), run, until="tokenizer")
    told = faults(run)
    assert told["tokenize"] == "was made for another tokenizer"
    assert "another tokenizer" in told["pretrain"]
    with pytest.raises(UserError, match=r"no model that its recipe would make now: rl .*another tokenizer"):
        find_model(run)
    shutil.rmtree(run / "tokenizer")
    assert faults(run)["tokenize"] == "was made from tokenizer, which is not made yet"


def test_other_files_and_settings(finished: Path, run: Path) -> None:
    content = json.loads((run / "recipe.json").read_text())
    content["pretrain"]["max_steps"] = 5
    content["sft"]["conversations"] = str(finished / "prompts.jsonl")
    del content["checksum"]
    (run / "recipe.json").write_text(sealed(json.dumps(content)))
    told = faults(run)
    assert told["pretrain"] == "was made with other settings (max_steps)"
    assert told["sft"] == "was made from other files (conversations.0)"
    assert told["rl"] == told["reward"] == "was made from sft, which was made from other files (conversations.0)"
    (run / "recipe.json").write_text("{")
    with pytest.raises(UserError, match=r"recipe\.json"):
        stages_of(run)


def test_other_code_is_told_and_can_be_kept(finished: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Manifest.read(run / "sft")
    assert made and "posttrain/sft.py" in made.code and "model/kernels.c" in made.code
    made.code["posttrain/sft.py"], made.fingerprint = "0" * 16, "of other code"
    del made.params["warmup"]  # a setting that the other code did not have
    made.write(run / "sft")
    assert faults(run)["sft"] == "was made by other code (posttrain/sft.py, setting warmup)"
    assert "was made from sft, which was made by other code" in faults(run)["rl"]
    assert find_model(run).folder == run / "pretrain"
    run_recipe(recipe(finished), run, keep_old=True)
    assert "sft: kept, though made by other code" in capsys.readouterr().err
    noted = json.loads((run / "run.json").read_text())["stages"]
    assert noted["sft"]["did"] == "kept-old" and noted["sft"]["changed"] == {
        "code": ["posttrain/sft.py", "setting warmup"]
    }
    assert noted["rl"]["did"] == "skipped"
    assert faults(run) == {} and find_model(run).folder == run / "rl"
    summary = run_recipe(recipe(finished), run, until="sft")
    told = " ".join(capsys.readouterr().err.split())
    assert "sft made again, for what has changed: code: posttrain/sft.py, setting warmup" in told
    noted = json.loads((run / "run.json").read_text())["stages"]
    assert noted["sft"]["did"] == "ran" and noted["sft"]["why"] == "code: posttrain/sft.py, setting warmup"
    assert noted["pretrain"] == {"did": "skipped", "why": "unchanged"} and not noted["rl"]["did"]
    assert summary["sft.seconds"] > 0


def test_a_plan_says_what_it_leaves_out(finished: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = recipe(finished, tokenizer={"vocab_size": 280})
    assert "1,000 training tokens" in project_recipe(changed, run, 1000, devices_of("a100")).assumed[0]
    told = " ".join(capsys.readouterr().err.split())
    assert "left out: tokenizer was made with other settings (vocab_size)" in told and "left out: tokenize was" in told


def test_what_other_code_began_is_not_lost_where_old_is_to_be_kept(finished: Path, run: Path) -> None:
    partial = run / "sft.partial"
    (run / "sft").rename(partial)
    made = Manifest.read(partial)
    assert made
    basis = {"params": made.params, "inputs": made.inputs, "code": made.code | {"posttrain/sft.py": "0" * 16}}
    (partial / "manifest.json").unlink()
    (partial / "fingerprint").write_text(f"of other code\n{json.dumps(basis)}")
    with pytest.raises(UserError, match=r"an interrupted sft left was begun by other code \(code: posttrain/sft.py\)"):
        run_recipe(recipe(finished), run, keep_old=True)
    assert (partial / "model.safetensors").exists()
    run_recipe(recipe(finished), run, until="sft")
    assert not partial.exists() and Manifest.read(run / "sft")


def test_a_model_alone(finished: Path, run: Path, tmp_path: Path, command: Command) -> None:
    alone = run.parent / "alone"
    inputs = [str(run / name) for name in ("pretrain", "extract", "tokenizer", "tokenize")]
    settings = ["--set", f"conversations={finished / 'talk.jsonl'}", "--set", "epochs=0.5"]
    done = command("sft", *inputs, "-o", str(alone), *settings)
    assert done.code == 0, done.stderr
    found = find_model(alone)
    assert (found.folder, found.tokenizer, found.name) == (alone, run / "tokenizer", "alone")
    assert find_model(run, str(alone)).folder == alone and find_model(None, str(alone)).folder == alone
    shown = command("inspect", str(alone), "The miller", "--out", str(tmp_path / "page.html"))
    assert shown.code == 0 and "likeliest next tokens" in shown.stdout, shown.stderr
    assert find_model(run / "sft").folder == run / "sft"
    run_recipe(recipe(finished, tokenizer={"vocab_size": 280}), run, until="tokenizer")
    with pytest.raises(UserError, match="the tokenizer that the model was trained with is not at"):
        find_model(alone)
    with pytest.raises(UserError, match="no model"):
        find_model(run / "tokenizer")
    with pytest.raises(UserError, match="no model is named"):
        find_model(None)


def test_a_hugging_face_folder(finished: Path, tmp_path: Path, command: Command) -> None:
    run = finished / "run"
    export({"model": run / "rl", "tokenizer": run / "tokenizer"}, Export(), tmp_path)
    found = find_model(tmp_path)
    ours = Assistant.load(run / "rl", run / "tokenizer", "ours").reply([ASK]).text()
    assert Assistant.load(found.folder, found.tokenizer, found.name).reply([ASK]).text() == ours
    answered = command("chat", str(run), "--model", str(tmp_path), text="Who walks?\n")
    assert answered.stdout.startswith(ours + "\n") and "a Hugging Face folder" in answered.stderr
    shown = command("inspect", str(tmp_path), "The miller", "--out", str(tmp_path / "page.html"))
    assert shown.code == 0 and (tmp_path / "page.html").exists(), shown.stderr


def test_a_stage_that_the_recipe_lacks_is_to_be_added(finished: Path, command: Command) -> None:
    done = command("find", str(finished / "run"), "Who walks?")
    assert done.code == 2 and "add [passages] to the recipe" in " ".join(done.stderr.split())
