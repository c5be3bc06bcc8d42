"""Settings that contradict each other are refused, naming both; `--set key=` takes one out of the recipe."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Command

from gristmill.errors import UserError
from gristmill.recipe import SFT, Pretrain
from gristmill.settings.recipe_file import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
SITE = RECIPES / "site.toml"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"lora_alpha": 8.0}, "sft.lora_alpha is set without sft.lora_rank"),
        ({"lora_targets": ["q"]}, "sft.lora_targets is set without sft.lora_rank"),
        ({"lora_rank": 4, "lora_targets": []}, "sft.lora_targets is empty"),
        ({"lora_rank": 4, "lora_from": "a"}, "sft.lora_from and sft.lora_rank contradict each other"),
        ({"lora_alpha": 8.0, "lora_from": "a"}, "sft.lora_from and sft.lora_alpha contradict each other"),
        ({"heldout": 1.0}, None),
        ({"lora_rank": 0, "lora_alpha": 8.0}, ""),
        ({"lora_rank": 0, "lora_from": "a"}, ""),
    ],
)
def test_settings_of_adapters_that_would_do_nothing_are_refused(given: dict[str, object], told: str | None) -> None:
    if told == "":
        SFT.model_validate(given)
        return
    with pytest.raises((UserError, ValueError), match=told):
        SFT.model_validate(given)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"budget": "60s", "epochs": 3.0, "layers": 4, "width": 192}, ("budget = 60s", "epochs = 3.0", "width = 192")),
        ({"budget": "60s", "epochs": 3.0, "size": "1M"}, ("budget = 60s", "epochs = 3.0", "size = 1M")),
        ({"budget": "1e12", "max_steps": 9, "size": "1M"}, ("budget = 1e12", "max_steps = 9")),
        ({"size": "1M", "layers": 4, "width": 128}, ("size = 1M", "layers = 4", "width = 128")),
        ({"init_from": "m", "size": "1M"}, ("init_from = m", "size = 1M")),
        ({"init_from": "m", "budget": "1h"}, ("init_from = m", "budget = 1h")),
    ],
)
def test_a_contradiction_names_what_contradicts_and_how_to_remove_one(
    given: dict[str, object], named: tuple[str, ...]
) -> None:
    with pytest.raises(UserError) as refused:
        Pretrain(**given)  # type: ignore[arg-type]
    assert all(f"pretrain.{name}" in refused.value.problem for name in named)
    assert len(re.findall(r"--set pretrain\.\w+=(?!\w)", refused.value.remedy)) >= 2


@pytest.mark.parametrize(
    "given",
    [
        {"budget": "60s", "size": "1M"},  # how long a model of that size trains
        {"budget": "60s", "layers": 4, "width": 128, "ffn_width": 384},  # how long this one does
        {"budget": "60s", "epochs": 2.0},  # the largest model that reads so much
        {"budget": "60s", "width": 128, "max_steps": 100},  # with how many layers
        {"budget": "60s", "size": "1M", "max_steps": 0},
        {"size": "1M", "epochs": 2.0, "layers": 3},
    ],
)
def test_what_the_dial_can_choose_around_is_no_contradiction(given: dict[str, object]) -> None:
    Pretrain(**given)  # type: ignore[arg-type]


def test_the_remedies_work_on_the_recipes_as_they_are() -> None:
    for recipe in sorted(RECIPES.glob("*.toml")):
        for dial in ("budget=60s", "size=1M"):
            with pytest.raises(UserError) as refused:
                load_recipe(recipe, [f"pretrain.{dial}"])
            assert str(recipe) in refused.value.problem
            for remedy in refused.value.remedy.split(";"):
                removed = re.findall(r"--set (pretrain\.\w+=)", remedy)
                made = load_recipe(recipe, [f"pretrain.{dial}", *removed]).pretrain
                assert made and not {name[9:-1] for name in removed} & made.model_fields_set - {"seed"}


def test_an_empty_value_removes_a_setting_or_a_stage() -> None:
    made = load_recipe(SITE, ["pretrain.epochs=", "pretrain.layers = ", "sft=", "audit.samples=", "report="])
    assert made.pretrain and not {"epochs", "layers"} & made.pretrain.model_fields_set
    assert made.sft is None and made.report is None and made.audit and made.audit.samples == 400
    made = load_recipe(SITE, ["rl=", "rl.epochs=", "pretrain.mix.notes=", 'evaluate.declines=""', "evaluate.declines="])
    assert made.rl is None and made.pretrain and made.evaluate  # what is not there is not there afterwards either
    for wrong in ("pretrian=", "pretrain.epoch=", "name.x="):
        with pytest.raises(UserError, match="unknown key"):
            load_recipe(SITE, [wrong])


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        ("sft -o out --set lora_alpha=3", "is set without"),
        ("sft -o out --set sft.lora_from=x --set sft.lora_alpha=3", "contradict each other"),
        ("sft -o out --set lr", "no `="),
        ("sft -o out", "has no model to begin with"),
        ("decontaminate documents -o out", "has no evaluation set"),
        ("pretrain vocabulary tokens -o out --set size=1M --set layers=2 --set width=64", "contradict each other"),
    ],
)
def test_remedies_of_a_stage_alone_can_be_typed(
    given: str, gone: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("documents", "vocabulary", "tokens"):
        Path(name).mkdir()
    refused = command(*shlex.split(given))
    assert refused.code == 2 and gone in refused.stderr
    ways = re.split(r" or |;|,", refused.stderr.partition("remedy: ")[2])
    way = next(way[way.index("--set") :] for way in ways if "--set" in way)
    assert not re.search(r"--set '?(sft|pretrain|stage)\.", way)
    kept = given.removesuffix(" --set lr")  # what is to be written otherwise
    done = command(*shlex.split(kept), *shlex.split(way))
    assert gone not in done.stderr, done.stderr


def test_one_text_is_no_list_of_settings() -> None:
    with pytest.raises(UserError, match=r"settings are a list.*\n.*give \['seed=1'\]"):
        load_recipe(SITE, "seed=1")
    for wrong, named in (
        ([5], "5"),
        (["seed=1", None], "None"),
        ({"seed": 1}, "{'seed': 1}"),
        (5, "5"),
        (b"s=1", "115"),
    ):
        with pytest.raises(UserError, match=rf"a setting is a text, not {named}\n.*give a list"):
            load_recipe(SITE, wrong)  # type: ignore[arg-type]
    assert load_recipe(SITE, ("seed=1",)).seed == 1


def test_the_command_refuses_before_it_begins(tmp_path: Path) -> None:
    arguments = ["run", str(SITE), "--out", str(tmp_path / "run"), "--set", "pretrain.budget=60s"]
    done = subprocess.run([sys.executable, "-m", "gristmill", *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    assert "pretrain.budget = 60s, pretrain.epochs = 3.0" in done.stderr and "--set pretrain.epochs=" in done.stderr
