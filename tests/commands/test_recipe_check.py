"""`gristmill check` finds what would spoil a training, before any of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import jsonl
import pytest
from command_line import Command
from foreign_models import saved

GOOD = {"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho."}]}


def recipe_of(folder: Path, lines: Sequence[object], pairs: Sequence[object], more: str = "") -> Path:
    """A recipe with these conversations and preferences."""
    for name, records in (("c.jsonl", lines), ("p.jsonl", pairs)):
        jsonl.write(folder / name, records)
    (folder / "text.md").write_text("Some text.\n")
    path = folder / "r.toml"
    path.write_text(
        '[extract]\npaths = ["text.md"]\n[tokenizer]\n[tokenize]\n[pretrain]\n[sft]\nconversations = "c.jsonl"\n'
        f'[reward]\npreferences = "p.jsonl"\n{more}'
    )
    return path


def test_a_good_recipe_passes_and_is_priced(tmp_path: Path, command: Command) -> None:
    path = recipe_of(tmp_path, [GOOD] * 5, [{"prompt": "Hi?", "chosen": "a", "rejected": "b"}] * 3)
    done = command("check", path, "--price", "2")
    shown = done.stdout
    assert "sft: 5 records can be used" in shown and "reward: 3 records can be used" in shown
    assert "GiB of memory" in shown and "at 2 an hour" in shown and done.code == 0


def test_what_would_spoil_a_run_is_told(tmp_path: Path, command: Command) -> None:
    empty = {"messages": [GOOD["messages"][0], {"role": "assistant", "content": ""}]}
    same = {"prompt": "Hi?", "chosen": "a", "rejected": "a"}
    path = recipe_of(tmp_path, [empty, empty, GOOD], [same, same])
    done = command("check", path)
    told, code = done.stdout + done.stderr, done.code
    assert "2 records are no good, as record 1: an answer of the assistant is empty" in told
    assert "the chosen and the rejected answer are the same" in told and "would spoil a run" in told and code == 2
    path.write_text('[sft]\nconversations = "c.jsonl"\n')
    assert "no model to begin with" in command("check", path).stdout


def test_what_cannot_be_used_is_no_part_of_the_tokens(tmp_path: Path, command: Command) -> None:
    def told(lines: Sequence[object]) -> float:
        pairs = [{"prompt": "Hi?", "chosen": "a", "rejected": "b"}] * 3
        found = re.search(
            r"([\d.]+)k tokens that are known", command("check", recipe_of(tmp_path, lines, pairs)).stdout
        )
        assert found
        return float(found[1])

    asked = {"role": "user", "content": "Why? " * 400}
    empty = {"messages": [asked, {"role": "assistant", "content": ""}]}
    assert told([empty] * 20 + [GOOD] * 40) == pytest.approx(told([GOOD] * 40), rel=0.03)


def test_no_time_is_told_where_no_text_is_known(tmp_path: Path, command: Command) -> None:
    (tmp_path / "text.md").write_text("Some text.\n")
    path = tmp_path / "r.toml"
    path.write_text('[extract]\npaths = ["text.md"]\n[tokenizer]\n[tokenize]\n[pretrain]\n[sft]\n')
    shown = command("check", path).stdout
    made = "sft: its conversations are made from the documents, and can be checked then, after extract"
    assert made in " ".join(shown.split())
    assert "how long it takes is known after tokenize" in shown and "tokens that are known" not in shown


def test_conversations_that_are_made_from_documents_are_counted_once_these_are_there(
    tmp_path: Path, command: Command
) -> None:
    (tmp_path / "text.md").write_text(" ".join(f"Sentence number {n} tells of the mill." for n in range(60)))
    path = tmp_path / "r.toml"
    path.write_text('[extract]\npaths = ["text.md"]\n[tokenizer]\n[tokenize]\n[pretrain]\n[sft]\n')
    run = ("-o", tmp_path / "run")
    assert command("run", path, *run, "--until", "extract").code == 0
    done = command("check", path, *run)
    assert "sft: 3 records made of the documents of extract can be used" in done.stdout and done.code == 0
    assert "tokens that are known" in done.stdout
    (tmp_path / "text.md").write_text("Too short.")
    assert command("run", path, *run, "--until", "extract").code == 0
    done = command("check", path, *run)
    assert done.code == 2 and "is long enough for a conversation" in " ".join(done.stdout.split())
    assert "take [sft] out of the recipe" in " ".join(done.stdout.split())


def test_a_gate_that_no_run_can_keep_is_told_before_one(tmp_path: Path, command: Command) -> None:
    path = recipe_of(tmp_path, [GOOD], [{"prompt": "Hi?", "chosen": "a", "rejected": "b"}], "[gates]\n")
    path.write_text(path.read_text() + '"pretrain.heldout_bp" = "< 9"\n')
    done = command("check", path)
    assert done.code == 2 and "did you mean `pretrain.heldout_bpb`?" in " ".join(done.stdout.split())
    path.write_text(path.read_text() + '"evaluate.unanswerable_declined" = "> 0.9"\n')
    done = command("run", path, "-o", tmp_path / "run")
    assert done.code == 2 and "gates: evaluate.unanswerable_declined: the recipe has no [evaluate]" in done.stderr
    assert not (tmp_path / "run").exists()


def test_memory_of_a_model_by_others_is_that_of_its_steps(
    tokenizer_folder: Path, tmp_path: Path, command: Command
) -> None:
    shutil.copy(tokenizer_folder / "tokenizer.json", tmp_path)
    shape = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 10, "num_attention_heads": 8}
    more = {"model_type": "llama", "vocab_size": 403, "max_position_embeddings": 512, "rms_norm_eps": 1e-5}
    (tmp_path / "config.json").write_text(json.dumps(shape | more | {"rope_theta": 1e4}))
    (tmp_path / "c.jsonl").write_text("\n".join([json.dumps(GOOD | {"about": "x" * 2000})] * 100))

    def told(settings: str, of: str = "of memory") -> float:
        path = tmp_path / "r.toml"
        path.write_text(f'[sft]\ninit_from = "{tmp_path}"\nconversations = "c.jsonl"\n{settings}')
        done = command("check", path)
        shown = done.stdout + done.stderr
        found = re.search(rf"([\d.]+) GiB {of}", shown)
        assert found, shown
        return float(found[1])

    # 33 M parameters take 0.5 GiB with their gradients and the optimizer's state, and 16,000 tokens ten times as much
    assert told("lora_rank = 8", "on the disk") < told("batch = 8", "on the disk") / 2
    assert told("batch = 32") > 2 * told("batch = 8") > 2.0 and told("batch = 8\nlora_rank = 8") < told("batch = 8")


def test_rewards_and_tasks_are_looked_at_before_a_run(tmp_path: Path, command: Command) -> None:
    (tmp_path / "rewards.py").write_text("def good(prompt, answer, truth):\n    return 1\n")
    (tmp_path / "t.jsonl").write_text('{"good": "a", "bad": "b"}\n{"prompt": "a"}\n')
    (tmp_path / "q.jsonl").write_text('{"prompt": "a"}\n')
    more = '[rl]\nprompts = "q.jsonl"\nreward = "rewards.py:good"\n[evaluate]\ntasks = { mine = "t.jsonl" }\n'
    path = recipe_of(tmp_path, [GOOD], [{"prompt": "Hi?", "chosen": "a", "rejected": "b"}], more)
    told = command("check", path)
    assert told.code == 0 and "evaluate.tasks.mine: 1 record is no good, as record 2" in told.stdout
    for setting, wrong in (
        (f"rl.reward={tmp_path}/rewards.py:bad", "has no function bad"),
        (f"rl.reward={tmp_path}/none.py:bad", "rl.reward: no such file"),
        (f'evaluate.tasks={{mine="{tmp_path}/q.jsonl"}}', "evaluate.tasks.mine: 1 record is no good"),
        (f"sft.conversations={tmp_path}/p.jsonl", "it is a preference, not a conversation (name the file in [dpo]"),
        (f"sft.conversations={tmp_path}/q.jsonl", "it is a prompt without an answer"),
    ):
        told = command("check", path, "--set", setting)
        assert told.code == 2 and wrong in told.stdout, setting
    folder = tmp_path / "talks"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"prompt": "a"}\n' * 3 + json.dumps(GOOD))
    told = command("check", path, "--set", f"sft.conversations={folder}")
    assert "no good, as record 1 of a.jsonl: it is a prompt" in told.stdout
    assert "would spoil a run; the first: sft: 3 records are no good" in told.stderr.replace("\n", " ")
    shown = command("check", path).stdout
    assert "[reward] is trained and rewards nothing here: rl.reward = " in shown and "leave out one of them" in shown
    (tmp_path / "t.yaml").write_text("task: mine\n")
    shown = command("check", path, "--set", "reward=", "--set", f"evaluate.tasks.own={tmp_path}/t.yaml").stdout
    assert "rewards nothing" not in shown and "evaluate.tasks.own: it is lm-evaluation-harness's to read" in shown
    told = command("check", path, "--set", "rl.reward=", "--set", "reward=")
    assert told.code == 2 and "nothing rewards answers" in told.stdout


def test_conversations_that_are_several_examples_are_counted_so(tmp_path: Path, corpus: Path, command: Command) -> None:
    source = saved(corpus, tmp_path, "Qwen3Tools", context=512)  # whose template thinks before the last answer alone
    (tmp_path / "c.jsonl").write_text((json.dumps({"messages": GOOD["messages"] * 3}) + "\n") * 10)
    path = tmp_path / "r.toml"
    path.write_text(f'[sft]\ninit_from = "{source}"\nconversations = "c.jsonl"\nepochs = 1\n')
    shown = " ".join(command("check", path).stdout.split())
    found = re.search(r"sft: these are 30 examples, of ([\d.]+) times the tokens", shown)
    assert found and 1.8 < float(found[1]) < 2.2, shown


def test_thoughts_that_have_no_tokens_are_told(tmp_path: Path, command: Command) -> None:
    thinks = {"role": "assistant", "content": "Ho.", "reasoning_content": "Hm."}
    lines = [GOOD, *[{"messages": [GOOD["messages"][0], thinks]}] * 2]
    path = recipe_of(tmp_path, lines, [{"prompt": "Hi?", "chosen": "a", "rejected": "b"}] * 3)
    shown = " ".join(command("check", path).stdout.split())
    assert "sft: the thoughts of 2 records are learned as text: the vocabulary has no token </think>" in shown
    assert "tokenizer.thoughts = true" in shown and "reward: the thoughts" not in shown
    assert "learned as text" not in command("check", path, "--set", "tokenizer.thoughts=true").stdout
