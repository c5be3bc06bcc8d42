"""What is shown of a model against independent computations: by hand in float64, by transformers, by hand again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonl
import numpy as np
import pytest
import torch
from command_line import Command
from torch import Tensor

from gristmill.errors import UserError
from gristmill.export import stage as export
from gristmill.inspection.attention import attention
from gristmill.inspection.predictions import label, moments, predict, predictions, prompt_ids, steps
from gristmill.manifest import Manifest
from gristmill.model.loss import cross_entropy
from gristmill.model.transformer import Transformer, load_model
from gristmill.recipe import Export, Pretrain
from gristmill.report.learning import inspect
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import open_split
from gristmill.training import pretrain
from gristmill.training.data.loader import Loader

TEXT = "Old Anna walks to"
SHAPE: dict[str, Any] = dict(layers=2, width=32, heads=4, kv_heads=2, head_dim=8, ffn_width=64, context=64)


@pytest.fixture(scope="module")
def run(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a finished pretraining of 40 steps."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    (folder / "pretrain").mkdir(parents=True)
    (folder / "tokenizer").symlink_to(inputs["tokenizer"])
    params = Pretrain(**SHAPE, batch=8, max_steps=40, evaluate_every=40, snapshots=4, sample_prompts=["The"])
    made = pretrain.run(inputs, params, folder / "pretrain")
    made.params = params.model_dump()
    made.write(folder / "pretrain")
    return folder


def by_hand(model: Transformer, ids: list[int]) -> np.ndarray:
    """The first layer's attention in float64, from the weights alone, one number at a time."""
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    c = model.config

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        normed: np.ndarray = x / np.sqrt((x * x).mean(-1, keepdims=True) + c.norm_eps) * weight
        return normed

    x = norm(w["embed.weight"][ids], w["layers.0.attention_norm.weight"])
    half = c.head_dim // 2

    def turned(x: np.ndarray, position: int) -> np.ndarray:
        angle = position * c.rope_theta ** -(np.arange(0, c.head_dim, 2) / c.head_dim)
        a, b = x[:half], x[half:]
        return np.concatenate((a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)))

    found = np.zeros((c.heads, len(ids), len(ids)))
    for head in range(c.heads):
        group = head // (c.heads // c.kv_heads)
        q_rows = slice(head * c.head_dim, (head + 1) * c.head_dim)
        k_rows = slice(group * c.head_dim, (group + 1) * c.head_dim)
        q = norm(x @ w["layers.0.attention.q.weight"][q_rows].T, w["layers.0.attention.q_norm.weight"])
        k = norm(x @ w["layers.0.attention.k.weight"][k_rows].T, w["layers.0.attention.k_norm.weight"])
        for i in range(len(ids)):
            scores = [turned(q[i], i) @ turned(k[j], j) / math.sqrt(c.head_dim) for j in range(i + 1)]
            found[head, i, : i + 1] = np.exp(scores) / np.exp(scores).sum()
    return found


def test_attention_is_that_of_the_formula_and_of_transformers(
    model_folder: Path, tokenizer_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    model = load_model(model_folder).eval()
    ids = prompt_ids(tokenizer, TEXT, model)
    found = attention(model, ids)
    assert found.shape == (2, 4, len(ids), len(ids))
    assert torch.allclose(found.sum(-1), torch.ones(found.shape[:-1]), atol=1e-6)
    assert np.abs(found[0].numpy() - by_hand(model, ids)).max() < 1e-5
    export.run({"model": model_folder, "tokenizer": tokenizer_folder}, Export(), tmp_path)
    peer = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    with torch.no_grad():
        told = peer(torch.tensor([ids]), output_attentions=True)
    assert torch.allclose(found, torch.cat(told.attentions), atol=1e-5)
    shares = told.logits[0, -1].double().softmax(-1)
    ours = predict(model, ids, 7)
    assert ours.step == 7 and [token for token, _ in ours.top] == shares.topk(5).indices.tolist()
    assert [share for _, share in ours.top] == pytest.approx(shares.topk(5).values.tolist(), abs=1e-6)
    assert ours.bits == pytest.approx(float(-(shares * shares.log2()).sum()), abs=1e-4)


def test_what_is_expected_starts_even_and_sharpens(run: Path, tokenizer: Tokenizer) -> None:
    found = moments(run / "pretrain")
    assert [moment.step for moment in found] == [0, 3, 6, 16, 40]
    assert found[-1].folder == run / "pretrain"
    (row,) = predictions(found, tokenizer, [TEXT])
    assert row[0].bits == pytest.approx(math.log2(tokenizer.vocab_size), abs=0.01)
    assert row[-1].bits < row[0].bits - 2
    assert label(tokenizer, row[-1].top[0][0]).startswith("␣")


def test_a_step_is_told_as_it_was(run: Path) -> None:
    """Gradient norms and updates against the weights that are kept, by another way: all of a layer in one vector."""
    told = list(steps(moments(run / "pretrain")))
    assert [step["step"] for step in told] == [0, 3, 6, 16]
    names = [layer["name"] for layer in told[0]["layers"]]
    assert names == ["embed", "layer 1", "layer 2", "norm", "head"]
    log = jsonl.read(run / "pretrain" / "log.jsonl")
    assert told[0]["loss"] == next(record["loss"] for record in log if record["step"] == 0 and "loss" in record)
    for step in told:
        assert all(layer["update"] > 0 and layer["gradient"] > 0 for layer in step["layers"])

    def vector(model: Transformer) -> Tensor:
        return torch.cat([w.detach().flatten() for name, w in model.named_parameters() if name.startswith("layers.1.")])

    weights = vector(load_model(run / "pretrain" / "snapshots" / "step-0000003"))
    assert told[1]["layers"][2]["weight"] == pytest.approx(float(weights.norm()), rel=1e-4)


def test_snapshots_change_nothing_and_tell_the_gradient_of_the_batch(
    inputs: dict[str, Path], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    params = Pretrain(**SHAPE, batch=4, max_steps=4, sample_prompts=[])
    for name, count in (("none", 0), ("some", 2)):
        (tmp_path / name).mkdir()
        pretrain.run(inputs, params.model_copy(update={"snapshots": count}), tmp_path / name)
    assert not (tmp_path / "none" / "snapshots").exists()
    for file in ("model.safetensors", "log.jsonl"):
        assert (tmp_path / "none" / file).read_bytes() == (tmp_path / "some" / file).read_bytes()
    # two steps in a row: what the first is said to have moved is what lies between the two models
    (tmp_path / "both").mkdir()
    pretrain.run(inputs, params.model_copy(update={"snapshots": 9, "max_steps": 3}), tmp_path / "both")
    kept = tmp_path / "both" / "snapshots"
    before, after = (load_model(kept / f"step-000000{step}").state_dict() for step in (1, 2))
    moved = torch.cat([(after[name] - before[name]).flatten() for name in before if name.startswith("layers.0.")])
    told = json.loads((kept / "step-0000001" / "step.json").read_text())["layers"][1]
    assert told["update"] == pytest.approx(float(moved.norm()), rel=1e-4)
    model = load_model(kept / "step-0000001")
    batch = Loader(open_split(inputs["tokens"], "train", tokenizer.hash), 64, 4, params.seed)(1)
    cross_entropy(model, batch.inputs, batch.targets, starts_BT=batch.starts()).backward()
    slope = torch.cat([w.grad.flatten() for w in model.layers[0].parameters() if w.grad is not None])
    assert told["gradient"] == pytest.approx(float(slope.norm()), rel=1e-4)


def test_the_page_and_the_command(run: Path, tmp_path: Path, command: Command) -> None:
    shown = command("inspect", run, TEXT, "--out", tmp_path / "page.html")
    assert shown.code == 0, shown.stderr
    assert "likeliest next tokens" in shown.stdout and "page.html" in shown.stdout
    text = (tmp_path / "page.html").read_text()
    assert (
        "backpropagation" in text and "Layer 2 of 2, each of its heads" in text and text.count("head 4<") == 2 * 2
    )  # two layers, two widths
    assert "<script" not in inspect("run", "<script>alert(1)</script>", run / "pretrain", run / "tokenizer")[1]


@pytest.mark.usefixtures("bits_bind")
def test_a_run_that_cannot_be_written_is_looked_into(run: Path, tmp_path: Path, command: Command) -> None:
    run.chmod(0o555)
    try:
        shown = command("inspect", run, TEXT)
        assert shown.code == 0 and "likeliest next tokens" in shown.stdout
        assert f"{run / 'inspect.html'} cannot be written" in " ".join(shown.stderr.split()) and "--out" in shown.stderr
        refused = command("inspect", run, TEXT, "--out", run / "mine.html")  # which is asked for
        assert refused.code == 2 and f"cannot write {run / 'mine.html'}: Permission denied" in refused.stderr
    finally:
        run.chmod(0o755)


def test_what_cannot_be_shown_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="64"):
        inspect("run", "river " * 100, run / "pretrain", run / "tokenizer")
    (tmp_path / "pretrain").mkdir()
    assert Manifest.read(tmp_path / "pretrain") is None
    with pytest.raises(UserError, match="no finished pretraining"):
        inspect("run", "The", tmp_path / "pretrain", run / "tokenizer")
