"""A wrong value of any setting is one message that names the setting, before the first stage begins."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
from command_line import Refusal

from gristmill import cli
from gristmill.corpus.extract.language import model
from gristmill.corpus.filter import stage as filter
from gristmill.corpus.redact.stage import FINDERS
from gristmill.errors import UserError
from gristmill.recipe import CommonCrawl, Filter, Params, Recipe, stage_params
from gristmill.run import run_recipe
from gristmill.settings.descriptions import settings_of
from gristmill.settings.languages import LANGUAGES
from gristmill.settings.recipe_file import load_recipe, validate
from gristmill.settings.types import FilterRule, RedactRule, SplitPattern
from gristmill.tokenizer.patterns import PATTERNS

Run = Callable[..., str]
STAGES = [name for name in Recipe.model_fields if stage_params(name) is not Params]
FREE = {"pretrain.sample_prompts"}  # any text will do
# what only this setting refuses: TOML after `--set KEY=`
OWN: dict[str, list[str]] = {
    "name": ['"a/b"', '".."'],
    "crawl.seeds": ['["example.org"]', '["ftp://a.test/"]', '["http://ann:secret@a.test/"]', "[]"],
    "crawl.hosts": ['["https://a.test/"]'],
    "crawl.allow_networks": ['["localhost"]', '["127.0.0.0/99"]'],
    "crawl.user_agent": ['"é"'],
    "crawl.connect_to": ['{ "a.test" = "nowhere" }', '{ "a.test" = 80 }'],
    "common_crawl.snapshot": ['"a/b"'],
    "common_crawl.hosts": ['["a b"]'],
    "common_crawl.languages": ['["en"]', '["english"]'],
    "common_crawl.mimes": ['["html"]'],
    "filter.languages": ['["english"]', '["eng"]', '["en", "EN"]', '"en"'],
    "filter.licences": ['[""]'],
    "filter.rules": ['["c5"]', '["gopher"]'],
    "filter.scores": ['{ "q" = "none.safetensors" }'],
    "filter.least": ['{ "q" = 0.5 }', '{ "q" = "much" }'],
    "filter.most": ['{ "q" = 0.5 }'],
    "redact.rules": ['["emails"]'],
    "tokenizer.pattern": ['"gpt2"', '"[a-z]+"'],
    "tokenize.heldout": ["1"],
    "pretrain.size": ['"1m"', '"0"', '"99999G"'],
    "pretrain.budget": ['"soon"', '"0s"', '"1e99"', '"9e9d"'],
    "pretrain.heads": ["7"],
    "pretrain.kv_heads": ["3"],
    "pretrain.head_dim": ["33"],
    "pretrain.width": [str(10**9)],
    "pretrain.accumulate": ["3"],
    "pretrain.goldfish": ["1"],
    "pretrain.mix": ['{ "a.test" = -1 }', '{ "a.test" = 1e-9 }', '{ "a.test" = 1e9 }'],
    "sft.batch": ["1e11"],
    "rl.max_tokens": ["256"],
    "evaluate.declines": ['[""]'],
    "rl.declines": ['[""]'],
    "evaluate.prompts": ['[" "]'],
}


def wrong_values(kind: str) -> Iterator[str]:
    """Values that no setting of a kind can take, as TOML; `kind` as the help names it."""
    yield "{ a = 5 }" if not kind.startswith("table") else "5"
    if kind.startswith(("integer", "number")):
        yield from ("-1", str(10**15), '"many"', "[1]", "true" if kind.startswith("number, at least 9") else "nan")
    elif kind.startswith("true"):
        yield '"often"'
    elif kind.startswith('"'):
        yield '"nonesuch"'
    elif kind.startswith("path"):
        yield '"/no/such/file"'
    elif kind.startswith("list of paths"):
        yield from ('["/no/such/file"]', "[5]")
    elif kind.startswith("list"):
        yield from ("5", '["many"]' if kind.startswith("list of integers") else "[5]")


SETTINGS = {f"{stage}.{one.name}": one.kind for stage in STAGES for one in settings_of(stage_params(stage))}


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, then the working one, with a recipe of all stages but one, and a recipe with that one."""
    whole = (Path(cli.__file__).parents[2] / "recipes" / "miniweb.toml").read_text(encoding="utf-8")
    (tmp_path / "whole.toml").write_text(whole)
    (tmp_path / "common_crawl.toml").write_text('[common_crawl]\nsnapshot = "CC-MAIN-2024-22"\n[extract]\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(recipes: Path, refusal: Refusal) -> Run:
    """Runs the recipe of all stages by the command, with `--set`, which must be refused; returns the message."""

    def run(*settings: str) -> str:
        message = refusal("run", "whole.toml", "-o", "out", *(p for one in settings for p in ("--set", one)))
        assert not Path("out").exists(), settings
        return message

    return run


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_wrong_value_is_found_before_the_first_stage(setting: str, recipes: Path) -> None:
    recipe = Path("common_crawl.toml" if setting.startswith("common_crawl") else "whole.toml")
    for value in [*wrong_values(SETTINGS[setting]), *OWN.get(setting, [])]:
        with pytest.raises(UserError) as error:
            run_recipe(load_recipe(recipe, [f"{setting}={value}"]), "out")
        assert not Path("out").exists(), f"a stage has begun with {value}"
        assert setting in error.value.problem and error.value.remedy
        assert "Input should" not in error.value.problem and "valid " not in error.value.problem, "pydantic's words"


def test_every_text_is_tried() -> None:
    plain = {name for name, kind in SETTINGS.items() if kind.startswith(("text", "list of texts"))}
    assert plain <= OWN.keys() | FREE, "which texts does this setting refuse?"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ('filter.languages=["english"]', "did you mean `en`?"),
        ('filter.languages=["xx"]', "codes are those of ISO 639-1"),
        (
            'tokenizer.pattern="gpt2"',
            'takes "qwen2" or "llama-bpe" or "gpt-4o" or "gpt-2" or "smollm", did you mean `gpt-2`?',
        ),
        ('redact.rules=["emails"]', "did you mean `email`?"),
        ('filter.rules=["gopher"]', "`filter.rules[0]` takes"),
        ("pretrain.width=1000000000", "takes an integer, at least 1, at most 65,536"),
        ("pretrain.kv_heads=3", "pretrain.heads = 5 and pretrain.kv_heads = 3"),
        ('pretrain.layers="many"', "`pretrain.layers` takes an integer, at least 1, at most 1,000 (given: 'many')"),
        ('crawl.honour=["noindx"]', "did you mean `noindex`?"),
        ('sft.conversations="{miniwep}/c.jsonl"', "did you mean `miniweb`?"),
        ("seed=-1", "`seed` takes an integer, at least 0, below 4,294,967,296 (given: -1) remedy"),
    ],
)
def test_what_is_allowed_is_told(setting: str, told: str, refused: Run) -> None:
    assert told in refused(setting)


def test_one_error_for_a_seed_that_all_stages_share(refused: Run) -> None:
    for value in ("-1", "1e99", '"x"', str(1 << 32)):
        assert refused(f"seed={value}").count("given") == 1


def test_stages_and_files_that_are_missing_are_found_before_the_first_stage(refused: Run, tmp_path: Path) -> None:
    assert "sft has no model to begin with" in refused("pretrain=")
    assert "extract has nothing to read" in refused("crawl=")
    assert "decontaminate has no evaluation set" in refused("evaluate=")
    assert "`{miniweb}/questions.jsonl`: miniweb does not run before" in refused("miniweb=", "crawl.connect_to=")
    (tmp_path / "empty").mkdir()
    assert "sft.conversations: " in (told := refused('sft.conversations="empty"')) and "folder without files" in told
    assert "evaluate.questions: " in (told := refused(f'evaluate.questions="{tmp_path}"')) and "is a folder" in told
    assert "has no config.json" in refused(f'pretrain.init_from="{tmp_path}"')
    (tmp_path / "model.json").touch()
    exported = f"gristmill export {tmp_path} {tmp_path.parent / 'tokenizer'} -o exported"
    assert exported in refused(f'pretrain.init_from="{tmp_path}"')
    assert "is a file" in refused('tokenizer.init_from="whole.toml"')
    assert "has no tokenizer.json" in refused(f'tokenizer.init_from="{tmp_path}"')
    assert "has no index" in refused(f'dedup.against=["{tmp_path}"]')


def test_a_file_that_an_earlier_stage_does_not_write_is_found_when_that_has_run(
    tmp_path: Path, refusal: Refusal
) -> None:
    (tmp_path / "a.txt").write_text("The miller went to the river. " * 20)
    (tmp_path / "r.toml").write_text(
        "[extract]\npaths = ['a.txt']\n[dedup]\n[decontaminate]\nsets = ['{extract}/none.jsonl']\n"
    )
    message = refusal("run", tmp_path / "r.toml", "-o", tmp_path / "out")
    assert "decontaminate.sets" in message and "none.jsonl" in message
    assert not (tmp_path / "out/dedup").exists()


def test_names_that_settings_take_are_those_that_the_stages_have() -> None:
    assert set(get_args(SplitPattern)) == PATTERNS.keys()
    assert set(get_args(RedactRule)) == FINDERS.keys()
    assert len(filter.chain(Filter(rules=list(get_args(FilterRule)), languages=[]))) == len(get_args(FilterRule))
    assert {code for code, _, _ in LANGUAGES} == set(model().labels)
    assert all(validate(CommonCrawl, {"snapshot": "x", "languages": [three]}, "x") for _, three, _ in LANGUAGES)


def test_usual_values_are_taken(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("[pretrain]\n[filter]\n[crawl]\nseeds = ['HTTPS://a.test']\n")
    given = ["pretrain.batch=524288", "pretrain.budget=1e18", "filter.languages=['de', 'kab']", "pretrain.size=7G"]
    assert load_recipe(tmp_path / "r.toml", given)


def test_what_is_told_says_what_to_write(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[crawl]\nseeds = ["http://a.test/"]\nprevious = "nope"\n[evaluate]\n')
    for setting, told, remedy in (
        ('evaluate.tasks=["a"]', "takes a table of paths, as { NAME = … } or evaluate.tasks.NAME = …", "--help lists"),
        ('tasks=["a"]', "unknown key `tasks`: it is a setting of", "write it with its table, as evaluate.tasks"),
    ):
        with pytest.raises(UserError, match=re.escape(told)) as error:
            load_recipe(path, [setting])
        assert remedy in error.value.remedy
    with pytest.raises(UserError, match=r"crawl\.previous: no such file or folder") as error:
        run_recipe(load_recipe(path), tmp_path / "run")
    assert "crawl.previous: folder of an earlier crawl" in error.value.remedy
