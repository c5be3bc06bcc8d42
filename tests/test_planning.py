"""`gristmill plan`: what it says before is what is spent after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonl
import pytest
from command_line import Command

from gristmill.manifest import Manifest
from gristmill.planning import estimates_table, plan_recipe, project_recipe
from gristmill.recipe import Pretrain, Recipe
from gristmill.run import run_recipe
from gristmill.settings.stages import BY_NAME, pick_inputs
from gristmill.training.budget.devices import devices_of

SHAPE: dict[str, Any] = dict(layers=2, width=64, heads=2, kv_heads=2, head_dim=32, ffn_width=160, context=64, batch=8)


@pytest.fixture
def run(tmp_path: Path, corpus: Path) -> Path:
    """A run that is finished up to its tokens, and has conversations and preferences."""
    run_recipe(recipe_of(tmp_path, corpus), tmp_path)
    ask = {"role": "user", "content": "Who walks to the river?"}
    tell = {"role": "assistant", "content": "The miller."}
    (tmp_path / "talk.jsonl").write_text((json.dumps({"messages": [ask, tell]}) + "\n") * 60 + "{}\n")
    pair = {"prompt": [ask], "chosen": "The miller.", "rejected": "A boat."}
    jsonl.write(tmp_path / "pairs.jsonl", (pair | {"n": n} for n in range(40)))
    (tmp_path / "prompts.jsonl").write_text((json.dumps({"prompt": [ask]}) + "\n") * 40)
    return tmp_path


def recipe_of(run: Path, corpus: Path, **tables: object) -> Recipe:
    """A recipe that makes tokens of the corpus, and what else is given."""
    tokens = {"tokenizer": {"vocab_size": 400}, "tokenize": {"heldout": 0.1}}
    return Recipe.model_validate({"extract": {"paths": [str(corpus / "documents.parquet")]}, **tokens, **tables})


def test_every_training_stage_is_estimated_before_any_has_run(run: Path, corpus: Path) -> None:
    recipe = recipe_of(
        run,
        corpus,
        **{
            "pretrain": {**SHAPE, "epochs": 2.0, "sample_prompts": []},
            "sft": {"conversations": str(run / "talk.jsonl"), "batch": 8, "epochs": 1.5},
            "reward": {"preferences": str(run / "pairs.jsonl"), "batch": 8, "epochs": 2.2},
            "rl": {"prompts": str(run / "prompts.jsonl"), "batch": 4, "group": 2, "max_tokens": 4},
        },
    )
    pretrain, sft, reward, rl = found = plan_recipe(recipe, run, 1000)
    assert not any(one.missing for one in found), [one.missing for one in found]
    assert (
        sft.steps == reward.steps == 11
        and sft.parameters == pretrain.parameters
        and reward.parameters == sft.parameters + 64 + 1
    )
    assert "random weights" in sft.assumed[0] and len(rl.assumed) == 3
    assert all(one.seconds > 0 and one.memory > 50 << 20 for one in found)
    shown = estimates_table(found, price=2.0)
    assert shown.row_count == 5 and str(shown.columns[-1].header) == "cost"
    spent = {}
    for estimate in (pretrain, sft, reward):  # sampled answers have no length before they are sampled
        stage, params = BY_NAME[estimate.stage], getattr(recipe, estimate.stage)
        (run / stage.name).mkdir()
        made = stage.function()(
            pick_inputs(stage, {one.parent.name: one.parent for one in run.glob("*/manifest.json")}),
            params,
            run / stage.name,
        )
        made.write(run / stage.name)
        assert made.counts["steps"] == estimate.steps
        spent[stage.name] = json.loads((run / stage.name / "log.jsonl").read_text().splitlines()[-1])["tokens"]
    assert spent == {one.stage: one.tokens for one in (pretrain, sft, reward)}  # exactly, however quick the machine
    trained = Manifest.read(run / "pretrain")
    assert trained and pretrain.flops == trained.metrics["flops"]


def test_without_tokens_it_says_what_it_assumes(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"tokenizer": {"vocab_size": 500}, "pretrain": {**SHAPE, "epochs": 2.0}, "sft": {}})
    pretrain, sft = plan_recipe(recipe, tmp_path, 51_200)
    assert pretrain.steps == 200 and pretrain.assumed == ["51,200 training tokens and a vocabulary of 500"]
    assert "needs tokens" in sft.missing
    recipe = Recipe(pretrain=Pretrain(budget="1e11"))
    assert 0.8e11 < plan_recipe(recipe, tmp_path, 10**6)[0].flops <= 1e11


def test_gpus_that_are_not_here(tmp_path: Path, command: Command) -> None:
    recipe = Path(__file__).parents[1] / "recipes" / "h100.toml"
    done = command("plan", recipe, "-o", tmp_path, "--tokens", "1G", "--device", "8xh100", "--price", "24")
    flops = 6 * 124e6 + 12 * 12 * 768 * 1024  # of a token
    hours = 1907 * 524_288 * flops / (8 * 989.4e12 * 0.45) / 3600
    assert done.code == 0 and "1,907" in done.stdout and "1,000,000,000 training tokens" in done.stdout
    assert f"{24 * hours:.2f}"[:3] in done.stdout
    assert "projected, not measured: 8 × H100" in done.stdout and "it suffices" in done.stdout
    done = command("plan", recipe, "-o", tmp_path, "--tokens", "1G", "--device", "l40s")
    assert "too little; pretrain.accumulate = 8 would do" in done.stdout
    done = command("plan", recipe, "-o", tmp_path, "--tokens", "1G", "--device", "3xh100")
    assert done.code == 2 and "do not divide among 3 × H100" in done.stderr
    assert "give a multiple of 12, as --set pretrain.batch=516" in done.stderr
    by_time = Recipe(pretrain=Pretrain(budget="1h"))
    few, many = (project_recipe(by_time, tmp_path, 10**9, devices_of(name)) for name in ("a100", "4xa100"))
    assert 3300 < few.seconds <= 3600 and 3300 < many.seconds <= 3600 and many.flops > 3.6 * few.flops
