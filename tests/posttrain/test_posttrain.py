"""Fine-tuning and alignment on a tiny model: masks, Bradley–Terry, advantages, and that each stage learns."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonl
import numpy as np
import pytest
import torch
from foreign_models import saved
from talking import WORDS, chat, render_prompt

from gristmill.chat.conversations import LeftOut, report
from gristmill.document import Document, read_documents, write_documents
from gristmill.errors import UserError
from gristmill.generation.engine import Engine
from gristmill.manifest import FINGERPRINT, Manifest
from gristmill.model.transformer import ModelConfig, Transformer, load_model, save_model
from gristmill.posttrain import reward, rl, sft
from gristmill.posttrain.examples import (
    PAIRS,
    Order,
    conversations_from_documents,
    dose,
    examples_of,
    excerpts,
)
from gristmill.posttrain.rates import factor
from gristmill.posttrain.reward import RewardModel
from gristmill.posttrain.rewards import Prompt, judge_with
from gristmill.posttrain.rollouts import sampled
from gristmill.recipe import RL, SFT, Reward, Tokenize
from gristmill.report.sections.chat_training import chat_training
from gristmill.tokenizer import tokenize
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import CONTROL
from gristmill.tokenizer.shards import open_split
from gristmill.training.data import answers
from gristmill.training.data.answers import fork


def test_only_the_assistants_words_and_their_end_bear_loss(tokenizer: Tokenizer) -> None:
    messages = [{"role": "system", "content": "Be kind."}, *chat("The hill?", "A red boat."), *chat("Why?", "The cat.")]
    (example,) = examples_of(messages, tokenizer, 500)
    borne = [int(token) for token, loss in zip(example.ids, example.mask, strict=True) if loss]
    said = [*tokenizer.encode("A red boat."), tokenizer.im_end, *tokenizer.encode("The cat."), tokenizer.im_end]
    assert borne == said
    with pytest.raises(UserError, match="tokens, and 6 fit"):
        examples_of(messages, tokenizer, 5)


def test_order_shows_every_example_once_an_epoch_and_forgets_nothing() -> None:
    first, second = Order(10, 4, seed=1), Order(10, 4, seed=1)
    seen = [index for step in range(5) for index in first(step)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10)) and seen[:10] != seen[10:]
    assert [second(step) for step in (4, 0)] == [first(4), first(0)]


@pytest.mark.parametrize(
    ("count", "read"), [(1, (8, 40)), (30, (8, 40)), (100, (8, 20)), (300, (9, 8)), (1000, (31, 8)), (9_000, (32, 2))]
)
def test_few_conversations_are_read_in_small_batches_and_often(count: int, read: tuple[int, float]) -> None:
    assert dose(count) == read and dose(count, 16, 3.0) == (16, 3.0)


@pytest.mark.parametrize(("count", "read"), [(1, (8, 20)), (60, (8, 14)), (280, (8, 3)), (5_000, (32, 1))])
def test_few_pairs_are_read_in_small_batches_and_less_often(count: int, read: tuple[int, float]) -> None:
    assert dose(count, enough=PAIRS) == read and dose(count, 16, 3.0, PAIRS) == (16, 3.0)


@pytest.mark.parametrize(("settings", "rate"), [({}, 0.3), ({"init_from": "x"}, 0.01), ({"lora_rank": 4}, 0.1)])
def test_models_by_others_and_adapters_are_tuned_at_lower_rates(settings: dict[str, Any], rate: float) -> None:
    assert factor(SFT(**settings), None) == rate and factor(SFT(**settings, lr=0.7), None) == 0.7


def test_fine_tuning_teaches_the_answers(tuned: dict[str, Path]) -> None:
    engine = Engine.load(tuned["model"], tuned["tokenizer"])
    prompt = render_prompt("Say river", engine.tokenizer)
    drawn = [engine.tokenizer.decode(a.tokens) for a in engine.generate([prompt] * 40, max_tokens=8, temperature=1.0)]
    assert sum(text in ("cat", "boat") for text in drawn) > 35
    assert {"cat", "boat"} <= set(drawn)


def test_reward_and_rl_move_the_model_to_the_preferred_answer(tuned: dict[str, Path], tmp_path: Path) -> None:
    pairs = [
        {"prompt": [{"role": "user", "content": f"Say {word}"}], "chosen": "boat", "rejected": "cat"} for word in WORDS
    ] * 8
    prompts = [{"prompt": [{"role": "user", "content": f"Say {word}"}]} for word in WORDS]
    for name in ("reward", "rl"):
        (tmp_path / name).mkdir()
    params = Reward(preferences=jsonl.write(tmp_path / "p.jsonl", pairs), epochs=6, batch=8, lr=0.3)
    judged = reward.run(tuned, params, tmp_path / "reward")
    assert judged.metrics["train_accuracy"] == 1.0
    assert (
        judged.metrics["loss"] < 0.5 * json.loads((tmp_path / "reward/log.jsonl").read_text().splitlines()[0])["loss"]
    )

    aligned = RL(
        max_tokens=8, prompts=jsonl.write(tmp_path / "q.jsonl", prompts), epochs=30, batch=6, group=8, lr=0.2, kl=0.02
    )
    made = rl.run({**tuned, "reward": tmp_path / "reward"}, aligned, tmp_path / "rl")
    assert made.metrics["reward_after"] > made.metrics["reward_before"]
    shares = []
    for model in (tuned["model"], tmp_path / "rl"):
        engine = Engine.load(model, tuned["tokenizer"])
        prompt = render_prompt("Say hill", engine.tokenizer)
        drawn = engine.generate([prompt] * 60, max_tokens=8, temperature=1.0, seed=1)
        shares.append(sum(engine.tokenizer.decode(a.tokens) == "boat" for a in drawn) / 60)
    assert shares[0] < 0.8 < shares[1]


@pytest.mark.parametrize("width", [16, 256], ids=["a row each", "in one row"])
def test_reward_is_its_definition_whatever_stands_beside(
    width: int, tuned: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "WIDTH", width)
    tokenizer = Tokenizer.load(tuned["tokenizer"])
    model = RewardModel(load_model(tuned["model"]))
    torch.nn.init.normal_(model.score.weight)
    prompts = [render_prompt(question, tokenizer) for question in ("Say hill", "Say, what is the river called?")]
    said = [
        [[*tokenizer.encode(text), tokenizer.im_end] for text in texts]
        for texts in (("boat", "a longer answer"), ("no",))
    ]
    with torch.no_grad():
        batch = fork(prompts, said, torch.device("cpu"))
        assert len(batch.ids_PT) == (2 if width == 16 else 1)
        found = model(batch)
        alone = [(prompts[0], said[0][0]), (prompts[0], said[0][1]), (prompts[1], said[1][0])]
        for (prompt, answer), value in zip(alone, found, strict=True):
            hidden = model.body.hidden(torch.tensor([prompt + answer]))[0]
            logprobs = model.body.logits(hidden).log_softmax(-1)
            likelihood = np.mean([float(logprobs[len(prompt) + i - 1, token]) for i, token in enumerate(answer)])
            expected = float(hidden[-1] @ model.score.weight[0]) + float(model.likelihood) * likelihood
            assert float(value) == pytest.approx(expected, abs=1e-4)
        save_model(model, tmp_path)
        assert torch.equal(RewardModel.load(tmp_path)(batch), found)


def test_a_reward_model_judges_what_is_said_and_not_what_is_thought(tokenizer: Tokenizer, tmp_path: Path) -> None:
    marks = ("<think>", "</think>")
    words = Tokenizer(tokenizer.pieces, tokenizer.pattern, controls=(*CONTROL, *marks), shown=marks)
    torch.manual_seed(0)
    model = RewardModel(Transformer(ModelConfig(words.vocab_size, 2, 48, 2, 2, 24, 96, context=64)))
    torch.nn.init.normal_(model.score.weight)
    answers = [words.encode(text) for text in ("<think>It is a cat.</think> boat", "<think></think> boat", "boat")]
    judge = judge_with(model, words)
    first, second, _ = judge([Prompt(words.encode("Say it"), [])], answers).tolist()
    assert first == second != judge([Prompt(words.encode("Say"), [])], answers[:1]).item()
    endless = [words.encode("<think>It is a cat, a cat"), [], *answers]
    assert judge([Prompt(words.encode("Say it"), [])], endless).argmin() == 0


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_log_probabilities_are_those_of_what_was_sampled(tuned: dict[str, Path], temperature: float) -> None:
    """Against the engine's at temperature 1, and against a softmax of the model's logits at any."""
    engine = Engine.load(tuned["model"], tuned["tokenizer"])
    prompts = [render_prompt(f"Say {word}", engine.tokenizer) for word in WORDS[:2]]
    answers = engine.generate(prompts, max_tokens=6, temperature=temperature, seed=3, samples=2)
    said = [sampled(answer) for answer in answers]
    batch = fork(prompts, [said[:2], said[2:]], engine.device)
    with torch.no_grad():
        found = batch.logprobs(engine.model, batch.hidden(engine.model), temperature, engine.tokenizer.im_start)
    expected = [answer.logprobs for answer in answers]
    if temperature != 1:
        expected = []
        for prompt, tokens in zip([prompts[0]] * 2 + [prompts[1]] * 2, said, strict=True):
            with torch.no_grad():
                logits = engine.model(torch.tensor([prompt + tokens]))[0].double() / temperature
            logits[:, engine.tokenizer.im_start] = -torch.inf
            logs = logits.log_softmax(-1)
            expected.append([float(logs[len(prompt) + i - 1, token]) for i, token in enumerate(tokens)])
    assert found[batch.mask_BA.bool()].tolist() == pytest.approx([p for row in expected for p in row], abs=1e-4)
    assert batch.means(found).tolist() == pytest.approx([np.mean(row) for row in expected], abs=1e-4)


def test_conversations_from_documents(corpus: Path) -> None:
    found = list(conversations_from_documents(corpus))
    assert len(found) > 100
    for messages in found:
        assert [message["role"] for message in messages] == ["user", "assistant"]
        assert messages[1]["content"].endswith(".")
    text = " ".join(f"Sentence number {i} is here." for i in range(200))
    parts = list(excerpts(text))
    assert all(240 < len(part) <= 700 and part.endswith(".") for part in parts)
    assert text.startswith(" ".join(parts)) and len(text) - len(" ".join(parts)) < 245


def test_made_conversations_that_do_not_fit_name_a_setting_that_can_be_changed(
    corpus: Path, model_folder: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    short = 24  # tokens
    copied = tmp_path / "model"
    shutil.copytree(model_folder, copied)
    config = json.loads((copied / "model.json").read_text())
    (copied / "model.json").write_text(json.dumps(config | {"context": short}))
    inputs = {"model": copied, "tokenizer": tokenizer_folder, "corpus": corpus}
    with pytest.raises(UserError, match=rf"no conversation that is made of .* tokens, and {short + 1} fit") as told:
        sft.run(inputs, SFT(), tmp_path / "out")
    assert "pretrain.context" in told.value.remedy and "sft.conversations" in told.value.remedy


def test_conversations_have_nothing_of_what_is_held_out(corpus: Path, tokens_folder: Path) -> None:
    held = set(open_split(tokens_folder, "heldout").ids)
    texts = {one.id: one.text for one in read_documents(corpus)}
    expected = sum(len(list(excerpts(text))) for name, text in texts.items() if name not in held)
    assert held and expected < len(list(conversations_from_documents(corpus)))
    assert len(list(conversations_from_documents(corpus, tokens_folder))) == expected


def test_conversations_have_nothing_of_the_held_out_end_of_the_only_document(
    tokenizer_folder: Path, tmp_path: Path
) -> None:
    text = " ".join(f"Sentence number {i} is here." for i in range(600))
    write_documents(tmp_path / "d.parquet", [Document("1", text)])
    (tmp_path / "out").mkdir()
    tokenize.run({"corpus": tmp_path, "tokenizer": tokenizer_folder}, Tokenize(heldout=0.1), tmp_path / "out")
    train, held = (open_split(tmp_path / "out", name) for name in ("train", "heldout"))
    assert train.total_bytes + held.total_bytes == len(text) and 0.08 < held.total_bytes / len(text) < 0.12
    said = " ".join(one[1]["content"] for one in conversations_from_documents(tmp_path, tmp_path / "out"))
    assert "number 530 is" in said and "number 545 is" not in said


USER, SAID = {"role": "user", "content": "Say hill"}, {"role": "assistant", "content": "boat"}
BAD: dict[str, list[object]] = {
    "sft": [
        {"messages": "hello"},
        {"messages": [SAID]},
        {"messages": [USER]},
        {"messages": [USER, {**SAID, "content": ""}]},
    ],
    "reward": [
        {"prompt": [USER], "chosen": "y"},
        {"prompt": [], "chosen": "y", "rejected": "x"},
        {"prompt": [{**USER, "content": " "}], "chosen": "y", "rejected": "x"},
        {"prompt": [USER], "chosen": "y", "rejected": "y"},
        {"prompt": [USER], "chosen": "", "rejected": "y"},
        {"prompt": [USER, SAID], "chosen": "y", "rejected": "x"},
    ],
    "rl": [{"prompt": " "}, {"prompt": []}, {"prompt": [USER, SAID]}, {}],
}
GOOD: dict[str, dict[str, object]] = {
    "sft": {"messages": [USER, SAID]},
    "reward": {"prompt": [USER], "chosen": "boat", "rejected": "cat"},
    "rl": {"prompt": [USER]},
}


def trained(stage: str, path: str, inputs: dict[str, Path], out: Path) -> Manifest:
    """The manifest of a few steps of a stage."""
    out.mkdir()
    (out / FINGERPRINT).write_text("")  # as the runner has it
    if stage == "sft":
        return sft.run(inputs, SFT(conversations=path, batch=4), out)
    if stage == "reward":
        return reward.run(inputs, Reward(preferences=path, batch=4), out)
    return rl.run(inputs, RL(prompts=path, batch=2, group=2, max_tokens=4), out)


@pytest.mark.parametrize("stage", BAD)
def test_wrong_records_are_left_out_and_named(
    stage: str, tuned: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = tuned
    if stage == "rl":
        save_model(RewardModel(load_model(tuned["model"])), tmp_path)
        inputs = {**tuned, "reward": tmp_path}
    for number, line in enumerate(BAD[stage]):
        path = jsonl.write(tmp_path / "bad.jsonl", [line])
        with pytest.raises(UserError, match=r"bad\.jsonl: record 1: "):
            trained(stage, path, inputs, tmp_path / f"none{number}")
    path = jsonl.write(tmp_path / "mixed.jsonl", [*BAD[stage], *[GOOD[stage]] * 4])
    made = trained(stage, path, inputs, tmp_path / "mixed")
    assert made.counts["left_out"] == len(BAD[stage]) and not made.counts.get("skipped_steps")
    assert {"sft": "conversations", "reward": "pairs", "rl": "prompts"}[stage] in made.counts
    named = (tmp_path / "mixed" / "left_out.jsonl").read_text().splitlines()
    assert [json.loads(line)["record"] for line in named] == [number + 1 for number in range(len(BAD[stage]))]
    told, place = capsys.readouterr().err, tmp_path / "mixed" / "left_out.jsonl"
    assert f"{len(BAD[stage])} records left out, all named in {place}; the first: " in told
    assert "mixed.jsonl: record 1: " in told
    (tmp_path / "planned").mkdir()  # a folder that is gone after it, and is not named
    assert report(stage, [LeftOut("mixed.jsonl", 1, "it is no good", "")], tmp_path / "planned")["left_out"] == 1
    assert capsys.readouterr().err == f"{stage}: 1 record left out; the first: mixed.jsonl: record 1: it is no good\n"


@pytest.mark.parametrize(
    "sentence",
    ["老安娜在长桥上画画。", "彼は「橋の上だ。」と言った！", "पुल पर अन्ना चित्र बनाती है। ", "Անան նկարում է կամուրջը։ "],
)
def test_sentences_of_other_scripts_make_excerpts(sentence: str) -> None:
    text = sentence * 200
    parts = list(excerpts(text))
    assert len(parts) > 2 and all(240 < len(part) <= 700 and part in text for part in parts)
    assert all(part.startswith(sentence[:4]) and part.endswith(sentence.strip()[-2:]) for part in parts)


def test_a_reward_model_that_cannot_be_read_is_named(tuned: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no model in {tmp_path}"):
        RewardModel.load(tmp_path)
    save_model(load_model(tuned["model"]), tmp_path)
    with pytest.raises(UserError, match="are not those of the model") as caught:
        RewardModel.load(tmp_path)
    assert caught.value.remedy == "name the folder of reward"
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match="holds no readable model"):
        RewardModel.load(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(UserError, match="holds no readable model"):
        RewardModel.load(tmp_path)


def test_tasks_are_scored_before_on_the_way_and_at_the_end(base: dict[str, Path], tmp_path: Path) -> None:
    """What fine-tuning says over and over wins, whichever place it has among the choices."""
    said, other = "It is a red boat", "It is a grey cat"
    lines = [{"messages": chat(f"Say {word} {number}", said)} for word in WORDS for number in range(8)]
    items = [{"choices": [said, other], "answer": 0}, {"choices": [other, said], "answer": 1}] * 5
    tasks = {"tasks": {"boats": jsonl.write(tmp_path / "t.jsonl", items)}, "tasks_every": 0.5}
    settings = {"conversations": jsonl.write(tmp_path / "c.jsonl", lines), "batch": 16, "epochs": 10.0, "lr": 1.0}
    params = SFT.model_validate(settings | tasks | {"replay": 0.0})
    made = sft.run(base, params, tmp_path)
    made.stage = "sft"
    made.write(tmp_path)
    scores = jsonl.read(tmp_path / "scores.jsonl")
    steps = made.counts["steps"]
    assert [one["step"] for one in scores] == [0, steps // 2, steps] and {one["items"] for one in scores} == {10}
    assert (scores[0]["acc"], scores[-1]["acc"]) == (0.0, 1.0)
    log = jsonl.read(tmp_path / "log.jsonl")
    assert [line["tasks.boats.acc"] for line in log if "tasks.boats.acc" in line] == [one["acc"] for one in scores]
    section = chat_training({"sft": tmp_path})
    assert section
    drawn = [block for block in section.blocks if "boats 50.0% of 10 items" in getattr(block, "caption", "")]
    assert len(drawn) == 1 and "<polyline" in str(drawn[0])


def test_what_does_not_fit_the_model_is_counted(tuned: dict[str, Path], tmp_path: Path) -> None:
    long = {"role": "user", "content": "hill " * 200}
    pairs = [GOOD["reward"]] * 3 + [{**GOOD["reward"], "prompt": [long]}] * 2
    made = trained("reward", jsonl.write(tmp_path / "p.jsonl", pairs), tuned, tmp_path / "reward")
    assert made.counts["too_long"] == 2 and made.counts["pairs"] + made.counts["heldout_pairs"] == 3
    tokenizer = Tokenizer.load(tuned["tokenizer"])
    path = Path(jsonl.write(tmp_path / "q.jsonl", [{"prompt": [USER]}, {"prompt": [long]}]))
    left_out: list[LeftOut] = []
    assert list(map(len, rl.read_prompts(path, tokenizer, 50, left_out))) == [1, 0]
    assert [(one.record, one.too_long) for one in left_out] == [(2, True)]
    with pytest.raises(UserError, match=r"rl\.max_tokens = 64 leaves no room"):
        rl.run({**tuned, "reward": tmp_path / "reward"}, RL(prompts=str(path), max_tokens=64), tmp_path)


def test_thoughts_are_learned_where_each_answer_has_its_own_and_told_without_tokens(
    tuned: dict[str, Path], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is thought before an earlier answer is not read again, so that a conversation is several examples."""

    def thinking(turns: int) -> list[dict[str, str]]:
        return [USER, {**SAID, "reasoning_content": "a"}] * turns

    lines = [{"messages": [{"role": "system", "content": f"{n}"}, *thinking(2)]} for n in range(60)]
    path = jsonl.write(tmp_path / "one.jsonl", [{"messages": thinking(1)}] * 5)
    plain = trained("sft", path, tuned, tmp_path / "plain")
    assert plain.counts["thoughts_as_text"] == 5 and "examples" not in plain.counts
    told = " ".join(capsys.readouterr().err.split())
    assert "the thoughts of 5 records are learned as text" in told and "tokenizer.thoughts = true" in told
    path, source = (
        jsonl.write(tmp_path / "c.jsonl", [*lines, {"messages": thinking(1)}]),
        saved(corpus, tmp_path, "Qwen3Tools"),
    )
    (tmp_path / "out").mkdir()
    params = SFT(conversations=path, init_from=str(source), batch=16, epochs=0.1, heldout=0.3, replay=0)
    made = sft.run({}, params, tmp_path / "out").counts
    assert "thoughts_as_text" not in made and made["conversations"] + made["heldout_conversations"] == 61
    assert made["examples"] + made["heldout_examples"] == 121
    assert abs(made["examples"] - 2 * made["conversations"]) <= 1  # all of a conversation is held out, or nothing
    assert "61 conversations are 121 examples" in " ".join(capsys.readouterr().err.split())


def test_adapters_alone_are_trained_and_go_on(base: dict[str, Path], tmp_path: Path) -> None:
    """LoRA writes a whole model, merged, and its adapters, with which training goes on."""
    lines = [{"messages": chat(f"Say {word}", "boat")} for word in WORDS] * 8
    path = jsonl.write(tmp_path / "c.jsonl", lines)
    settings = {"conversations": path, "batch": 16, "replay": 0.0, "epochs": 4.0, "lr": 2.0, "heldout": 0.2}
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, own in ((first, {"lora_rank": 8}), (second, {"lora_from": str(first / "adapter")})):
        folder.mkdir()
        made = sft.run(base, SFT.model_validate(settings | own), folder)
        assert made.metrics["heldout_loss_after"] < made.metrics["heldout_loss_before"]
        assert 0 < made.counts["trained_parameters"] < 0.5 * sum(w.numel() for w in load_model(folder).parameters())
        with pytest.raises(UserError, match=f"no adapters of PEFT in {first}: No such file.*\n.* name {first}/adapter"):
            sft.run(base, SFT.model_validate(settings | {"lora_from": str(first)}), tmp_path)
        with pytest.raises(UserError, match=r"adapter are merged into .* already"):
            again = SFT.model_validate(settings | {"lora_from": str(first / "adapter")})
            sft.run({**base, "model": first}, again, tmp_path)
        before, after = load_model(base["model"]).state_dict(), load_model(folder).state_dict()
        assert before.keys() == after.keys() and torch.equal(before["embed.weight"], after["embed.weight"])
