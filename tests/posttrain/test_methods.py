"""DPO, KTO, and RL by each method: they move a tiny model where they should, and learn what was sampled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonl
import pytest
import torch
from talking import WORDS, render_prompt, share

from gristmill.errors import UserError
from gristmill.generation.engine import Completion, Engine
from gristmill.manifest import Manifest
from gristmill.model.loss import token_logprobs
from gristmill.model.transformer import load_model
from gristmill.posttrain import dpo, kto, rl
from gristmill.posttrain.drift import warnings
from gristmill.posttrain.rewards import Prompt, exact, judge_by, read_function, ternary
from gristmill.posttrain.rollouts import Rollout, sampled
from gristmill.recipe import DPO, KTO, RL
from gristmill.settings.recipe_file import load_recipe
from gristmill.tokenizer.encode import Tokenizer

USER = [[{"role": "user", "content": f"Say {word}"}] for word in WORDS]


def align(tuned: dict[str, Path], out: Path, records: list[dict[str, Any]], **settings: Any) -> Manifest:
    """RL on prompts, at rates that suit so small a model."""
    out.mkdir()
    path = jsonl.write(out.with_suffix(".jsonl"), records)
    common = {"max_tokens": 8, "epochs": 25, "batch": 6, "group": 8, "lr": 0.2, "kl": 0.02}
    return rl.run(tuned, RL(prompts=path, **(common | settings)), out)


METHODS: dict[str, dict[str, Any]] = {
    "grpo": {"scale": "group"},
    "dapo": {"updates": 2, "average": "token", "clip_high": 0.28, "drop_equal": True, "scale": "group"},
    "dr_grpo": {"average": "limit", "scale": "none"},
    "gspo": {"updates": 2, "importance": "answer"},
    "rloo": {"method": "rloo"},
    "ppo": {"method": "ppo", "updates": 2},
}


@pytest.mark.parametrize("name", METHODS)
def test_rl_learns_the_truth_by_any_method(name: str, tuned: dict[str, Path], tmp_path: Path) -> None:
    records = [{"prompt": prompt, "truth": "boat"} for prompt in USER]
    assert share(tuned, "boat") < 0.8
    made = align(tuned, tmp_path / "rl", records, **METHODS[name])
    assert share({**tuned, "model": tmp_path / "rl"}, "boat") > 0.85
    assert made.metrics["reward_after"] > 0.7 > made.metrics["reward_before"]
    log = jsonl.read(tmp_path / "rl/log.jsonl")
    assert all(record["entropy"] > 0 for record in log if "entropy" in record)
    assert {"model.json", "model.safetensors"} <= {path.name for path in (tmp_path / "rl").iterdir()}


def test_rl_helps_on_prompts_that_it_never_saw(tuned: dict[str, Path], tmp_path: Path) -> None:
    rarer = min(("cat", "boat"), key=lambda answer: share(tuned, answer))
    asked = [[{"role": "user", "content": f"Say {word} {number}"}] for word in WORDS for number in range(20)]
    records = [{"prompt": prompt, "truth": rarer} for prompt in asked]
    made = align(tuned, tmp_path / "rl", records, batch=16, epochs=3, updates=2)
    assert made.counts["heldout_prompts"] > 5 and made.metrics["right_before"] < 0.7
    assert made.metrics["right_after"] > 0.9


def test_what_is_learned_is_what_was_sampled(tuned: dict[str, Path]) -> None:
    """Answers that end with `<|endoftext|>`, with `<|im_end|>`, and not at all."""
    tokenizer = Tokenizer.load(tuned["tokenizer"])
    engine = Engine(load_model(tuned["model"]), tokenizer)
    with torch.no_grad():  # an end that is as likely as the other
        weight = engine.model.unembedding
        weight[tokenizer.end_of_text] = weight[tokenizer.im_end]
    prompts = [Prompt(render_prompt(f"Say {word}", tokenizer), []) for word in WORDS]
    params = RL(prompts="x", max_tokens=3, group=16, temperature=2.0)
    batch = Rollout(engine, engine.model, judge_by(lambda *_: 0.0, tokenizer), params)(prompts, seed=1)
    found = engine.generate([one.ids for one in prompts], max_tokens=3, temperature=2.0, seed=1, samples=16)
    said = [sampled(answer) for answer in found]
    ends = [answer.end for answer in found]
    assert {tokenizer.end_of_text, tokenizer.im_end, None} == set(ends)
    rows = zip(batch.answers.tokens_BA.tolist(), batch.answers.mask_BA.sum(1).int().tolist(), strict=True)
    assert [tokens[:length] for tokens, length in rows] == said
    assert sampled(Completion([5, 6])) == [5, 6] and sampled(Completion([5], end=2)) == [5, 2]


def test_the_rewards_own_function_is_called_and_its_faults_are_named(
    tuned: dict[str, Path], tmp_path: Path, tokenizer: Tokenizer
) -> None:
    code = tmp_path / "rewards.py"
    code.write_text(
        "def short(prompt, answer, truth):\n    assert prompt[-1]['role'] == 'user'\n    return -len(answer)\n"
        "def broken(prompt, answer, truth):\n    return answer / 2\n"
        "def silent(prompt, answer, truth):\n    pass\ndef two(prompt, answer):\n    return 1\n"
    )
    recipe = jsonl.write(tmp_path / "p.jsonl", [{"prompt": prompt} for prompt in USER])
    (tmp_path / "r.toml").write_text(f'[rl]\nprompts = "{recipe}"\nreward = "rewards.py:short"\n')
    params = load_recipe(tmp_path / "r.toml").rl
    assert params and params.reward == f"{code}:short"
    made = align(tuned, tmp_path / "rl", [{"prompt": prompt} for prompt in USER], reward=params.reward, epochs=10)
    assert made.metrics["reward_after"] > made.metrics["reward_before"]
    judge = judge_by(read_function(f"{code}:broken"), tokenizer, "rewards.py:broken")
    with pytest.raises(UserError, match=r"rewards\.py:broken fails on the prompt 'Say mill' and the answer"):
        judge([Prompt([1], USER[0])], [tokenizer.encode("boat")])
    for function, wrong in (("broken", r"TypeError: .* \(line 5\)"), ("silent", "gives None, which is no number")):
        judge = judge_by(read_function(f"{code}:{function}"), tokenizer, f"{code}:{function}")
        with pytest.raises(UserError, match=wrong):
            judge([Prompt([1], USER[0])], [tokenizer.encode("boat")])
    wrongly = {"none": "has no function none", "two": "cannot take a prompt, an answer and its truth"}
    for named, wrong in (
        *((f"{code}:{name}", told) for name, told in wrongly.items()),
        ("ternary", "names no function"),
    ):
        with pytest.raises(UserError, match=wrong):
            read_function(named)


FAULTS = """from __future__ import annotations
import dataclasses, sys
@dataclasses.dataclass
class Weight:
    length: float
def pops(prompt, answer, truth):
    truth.append(prompt.pop()["content"])
    return Weight(len(truth)).length
def exits(prompt, answer, truth):
    sys.exit("no\\nmore")
async def later(prompt, answer, truth):
    return 1
def several(prompt, answer, truth):
    yield 1
def huge(prompt, answer, truth):
    return 1e300
"""


def test_a_rewards_function_may_change_what_it_is_given_and_no_fault_of_it_passes_in_silence(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(FAULTS)
    monkeypatch.chdir(tmp_path)  # a line is told of a file that is named by a relative path, too
    prompts, answers = [Prompt([1], USER[0], ["boat"])], [tokenizer.encode("boat")] * 2
    judged = judge_by(read_function("own.py:pops"), tokenizer, "own.py:pops")
    assert judged(prompts, answers).tolist() == [2.0, 2.0] and judged(prompts, answers).tolist() == [2.0, 2.0]
    for name, wrong in (("exits", r"SystemExit: no more \(line 10\)"), ("huge", r"gives 1e\+300 for 'boat'")):
        with pytest.raises(UserError, match=wrong):
            judge_by(read_function(f"own.py:{name}"), tokenizer, f"own.py:{name}")(prompts, answers)
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "helped.py").write_text("from .own import pops\n")
    for named, wrong in (
        *((f"own.py:{name}", "gives a coroutine or generator") for name in ("later", "several")),
        ("exits.py:pops", r"cannot be run: SystemExit: 3 \(line 2\)"),
        ("helped.py:pops", r"cannot be run: ImportError: .* \(line 1\)"),
    ):
        with pytest.raises(UserError, match=wrong):
            read_function(named)


def test_prompts_whose_truth_says_nothing_are_left_out_and_those_without_one_are_told(
    tuned: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truths: list[dict[str, Any]] = [
        {"Truth": "boat"},
        {"truth": " "},
        {"truth": {"a": 1}},
        {"truth": [["boat"]]},
        {"truth": []},
        {},
    ]
    records = [{"prompt": prompt, **truth} for prompt, truth in zip(USER, truths, strict=True)]
    made = align(tuned, tmp_path / "rl", records, epochs=1)
    assert made.counts["left_out"] == 3 and made.counts["prompts"] + made.counts["heldout_prompts"] == 3
    told = capsys.readouterr().err
    assert "record 2: its truth is ' '" in told and "1 prompt of 3 without a truth" in told


def test_the_exact_reward() -> None:
    reward = exact(["I do not know"])
    assert reward([], "It is Marl.", "marl") == 1 and reward([], "It is 12.", 12) == 1
    assert reward([], "It is Marlow.", "Marl") == -1 and reward([], "It is Marl.", ["Esk", "Marl"]) == 1
    assert reward([], "Marl? I do not know.", "Marl") == 0 and reward([], "I do not know.", None) == 0
    assert reward([], "It is Marl.", None) == -1 == ternary("Esk", ["Marl"], [])
    letters, numbers = (exact(["I do not know"], match) for match in ("exact", "number"))
    assert letters([], "Marl", "Marl") == 1 and letters([], "It is Marl.", "Marl") == -1
    assert numbers([], "It is 3, or 4.", "#### 4") == 1 and numbers([], "It is 4, or 3.", "4") == -1


def test_prompts_without_a_number_are_left_out_where_one_is_compared(tuned: dict[str, Path], tmp_path: Path) -> None:
    records = [{"prompt": USER[number], "truth": truth} for number, truth in enumerate(("4", "four", ["a 5", "five"]))]
    align(tuned, tmp_path / "rl", records[:1] + records, match="number", epochs=1)
    named = jsonl.read(tmp_path / "rl/left_out.jsonl")
    assert [(one["record"], "truth holds none" in one["why"]) for one in named] == [(3, True), (4, True)]


def test_without_a_reward_or_a_truth_nothing_is_trained(tuned: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing rewards the answers"):
        align(tuned, tmp_path / "rl", [{"prompt": prompt} for prompt in USER])


def test_the_truth_of_held_out_prompts_is_watched(tuned: dict[str, Path], tmp_path: Path) -> None:
    """A reward that is paid for the wrong answer is named."""
    code = tmp_path / "rewards.py"
    code.write_text("def cat(prompt, answer, truth):\n    return float(answer == 'cat')\n")
    records = [
        {"prompt": [{"role": "user", "content": f"Say {word} {n}"}], "truth": "boat"}
        for word in WORDS
        for n in range(6)
    ]
    made = align(tuned, tmp_path / "rl", records, reward=f"{code}:cat", epochs=4)
    assert made.counts["heldout_prompts"] > 0
    assert made.metrics["truth_after"] >= made.metrics["truth_before"]  # the function itself is the truth here
    falling = [{"step": step, "reward": step / 10, "entropy": 1.0, "kl": 0.0, "length": 5.0} for step in range(40)]
    log = [*falling[:20], {"step": 20, "truth": 0.5}, *falling[20:], {"step": 40, "truth": 0.3}]
    assert warnings(log) == {"reward_hacked": 40}
    assert warnings([{**record, "kl": 0.9} for record in falling[:3]]) == {"kl_blew_up": 0}
    assert not warnings([*falling[:20], {"step": 20, "truth": 0.3}, *falling[20:], {"step": 40, "truth": 0.5}])
    for name, figure in (("entropy_collapsed", "entropy"), ("kl_blew_up", "kl"), ("length_drifted", "length")):
        other = [{**record, figure: 0.01 if figure == "entropy" else 30.0} for record in falling[20:]]
        assert list(warnings(falling[:20] + other)) == [name]


def test_a_reward_that_tells_no_answers_apart_is_named(
    tuned: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = tmp_path / "rewards.py"
    code.write_text("def alike(prompt, answer, truth):\n    return 1\n")
    records = [{"prompt": prompt} for prompt in USER]
    made = align(tuned, tmp_path / "rl", records, reward=f"{code}:alike", epochs=6)
    assert made.metrics["nothing_compared_at_step"] == 4 and "rewarded alike" in capsys.readouterr().err
    align(tuned, tmp_path / "short", records, reward=f"{code}:alike", epochs=1)  # too short for a warning on the way
    assert "rewarded alike: there was nothing to learn from" in capsys.readouterr().err


def pairs_of(chosen: str, rejected: str) -> list[dict[str, Any]]:
    """Which of two words is preferred, whatever is asked."""
    return [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt in USER] * 6


@pytest.mark.parametrize("settings", [{}, {"smoothing": 0.1, "adamw_lr": 0.02}, {"per_token": True, "beta": 2.0}])
def test_dpo_prefers_the_chosen_answer(settings: dict[str, Any], tuned: dict[str, Path], tmp_path: Path) -> None:
    path = jsonl.write(tmp_path / "p.jsonl", pairs_of("boat", "cat"))
    made = dpo.run(tuned, DPO(preferences=path, epochs=15, batch=12, lr=0.1, **settings), tmp_path)
    log = jsonl.read(tmp_path / "log.jsonl")
    assert log[0]["loss"] == pytest.approx(0.6931, abs=1e-4) and made.metrics["loss"] < 0.66
    assert share({**tuned, "model": tmp_path}, "boat") > 0.85


def test_kto_learns_from_answers_that_are_good_or_bad(tuned: dict[str, Path], tmp_path: Path) -> None:
    single = [
        {"prompt": prompt, "completion": text, "label": text == "boat"} for prompt in USER for text in ("boat", "cat")
    ] * 5
    path = jsonl.write(
        tmp_path / "p.jsonl", [*single, *pairs_of("boat", "cat")[:6], {"prompt": USER[0], "completion": "x"}]
    )
    made = kto.run(tuned, KTO(preferences=path, epochs=8, batch=12, lr=0.1), tmp_path)
    assert made.counts == made.counts | {"good": 36, "bad": 36, "left_out": 1}
    log = jsonl.read(tmp_path / "log.jsonl")
    assert log[0]["loss"] == pytest.approx(0.5, abs=1e-5) and log[-1]["loss"] < 0.46
    assert share({**tuned, "model": tmp_path}, "boat") > 0.9


def test_token_log_probabilities_and_their_gradients_are_those_of_a_softmax(tuned: dict[str, Path]) -> None:
    torch.manual_seed(0)
    weight = load_model(tuned["model"]).unembedding.detach()
    hidden, targets = torch.randn(70, weight.size(1)), torch.randint(3, len(weight), (70,))
    outer = torch.randn(70)
    for never in (None, 1):
        found = []
        for dtype in (torch.float32, torch.float64):
            h, w = (x.to(dtype).clone().requires_grad_() for x in (hidden, weight))
            if dtype == torch.float32:
                logs = token_logprobs(h, w, targets, never)
            else:
                logits = h @ w.T
                if never is not None:
                    logits = logits.index_fill(1, torch.tensor([never]), -torch.inf)
                logs = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
            (logs * outer).sum().backward()
            found.append((logs.detach(), h.grad, w.grad))
        for ours, exact_one in zip(*found, strict=True):
            assert torch.allclose(ours.double(), exact_one, atol=1e-4)
        with torch.no_grad():
            assert torch.allclose(token_logprobs(hidden, weight, targets, never), found[0][0], atol=1e-5)


def test_kto_says_where_one_kind_of_answer_is_missing(
    tuned: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [{"prompt": USER[0], "completion": "boat", "label": label} for label in (True, "1", "good", None)]
    made = kto.run(tuned, KTO(preferences=jsonl.write(tmp_path / "k.jsonl", records), epochs=1), tmp_path)
    told = capsys.readouterr().err
    assert made.counts["good"] == 2 and "every answer is good: there is none to tell them from" in told
    why = [json.loads(line)["why"] for line in (tmp_path / "left_out.jsonl").read_text().splitlines()]
    assert why == ["its \"label\" is 'good'", 'it has no "label"']
