"""What a GPU does otherwise, on a CPU: the same numbers, to the precision that is claimed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from models import all_matter

from gristmill.model import ops
from gristmill.model.loss import IGNORE, cross_entropy
from gristmill.model.transformer import ModelConfig, Transformer, parameter_count
from gristmill.settings.recipe_file import load_recipe
from gristmill.training import gpu
from gristmill.training.budget.sizing import SHAPE


def small(tied: bool = False) -> Transformer:
    """A small model, always the same, none of whose weights is zero."""
    torch.manual_seed(3)
    return all_matter(Transformer(ModelConfig(50, 3, 32, 4, 2, 8, 48, 16, tie_embeddings=tied)))


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows with some padding."""
    ids = torch.randint(0, 50, (4, 17), generator=torch.Generator().manual_seed(1))
    targets = ids[:, 1:].clone()
    targets[1, 10:] = IGNORE
    return ids[:, :-1], targets


def slopes(model: Transformer) -> torch.Tensor:
    """All gradients, which are cleared."""
    found = torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])
    model.zero_grad()
    return found


@pytest.mark.parametrize("tied", [False, True])
def test_bfloat16_is_near_and_its_gradients_are_float32(tied: bool) -> None:
    model, (inputs, targets) = small(tied), batch()
    cross_entropy(model, inputs, targets).backward()
    exact = slopes(model)
    loss = cross_entropy(model, inputs, targets, bfloat16=True)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(w.grad is not None and w.grad.dtype == w.dtype == torch.float32 for w in model.parameters())
    with torch.no_grad():
        plain = cross_entropy(model, inputs, targets)
        assert cross_entropy(model, inputs, targets, bfloat16=True) == loss
    assert float(loss.detach()) == pytest.approx(float(plain), rel=0.02)
    assert F.cosine_similarity(slopes(model), exact, dim=0) > 0.99


def test_both_forms_of_where_documents_begin_mean_the_same() -> None:
    starts = torch.zeros(4, 16, dtype=torch.int64)
    starts[0, 3:], starts[2, 1:], starts[2, 9:], starts[3, 15:] = 3, 1, 9, 15
    marks = ops.boundaries(starts)
    assert marks.tolist() == [0, 3, 16, 32, 33, 41, 48, 63, 64] and marks.dtype == torch.int32
    assert torch.equal(ops.allowed(marks, 4, 16), ops.allowed(starts, 4, 16))
    assert ops.allowed(starts, 4, 16)[2, 0, 10].tolist() == 9 * [False] + 2 * [True] + 5 * [False]


def test_documents_are_apart_in_bfloat16_too() -> None:
    model, (inputs, targets) = small(), batch()
    starts = torch.zeros(4, 16, dtype=torch.int64)
    starts[0, 3:] = 3
    targets[:], targets[0, 3:] = IGNORE, 7
    losses = []
    for first in (1, 2):  # a token of the document before
        inputs[0, 1] = first
        losses.append([cross_entropy(model, inputs, targets, True, how).item() for how in (starts, None)])
    assert losses[0][0] == losses[1][0] and losses[0][1] != losses[1][1]


@pytest.mark.slow
def test_any_number_of_documents_is_compiled_once() -> None:
    model, (inputs, targets) = small(), batch()
    gpu.prepare(model, True, False)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for count in range(4):
        starts = torch.zeros(4, 16, dtype=torch.int64)
        starts[:count, 5:] = 5
        cross_entropy(model, inputs, targets, bfloat16=True, starts_BT=starts).backward()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before + 1


def test_recomputed_layers_give_the_same_bits_and_keep_less() -> None:
    model, (inputs, targets) = small(), batch()
    found, kept = [], []
    for recompute in (False, True):
        gpu.prepare(model, None, recompute)
        sizes: list[int] = []

        def pack(value: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(value.numel())
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            loss = cross_entropy(model, inputs, targets)
        loss.backward()
        found.append((loss.item(), slopes(model)))
        kept.append(sum(sizes))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.slow
def test_compiled_layers_give_the_same_loss_and_are_compiled_once() -> None:
    model, (inputs, targets) = small(), batch()
    plain = cross_entropy(model, inputs, targets)
    plain.backward()
    exact = slopes(model)
    gpu.prepare(model, True, False)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    loss = cross_entropy(model, inputs, targets)
    loss.backward()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before + 1
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert torch.allclose(slopes(model), exact, atol=1e-5)
    with torch.no_grad():
        assert cross_entropy(model, inputs, targets) == plain.detach()


def test_the_gpu_recipe_is_of_gpt_2_smalls_size() -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "h100.toml")
    assert recipe.pretrain and recipe.tokenizer
    shape = {name: getattr(recipe.pretrain, name) for name in SHAPE}
    with torch.device("meta"):
        model = Transformer(ModelConfig(vocab_size=recipe.tokenizer.vocab_size, **shape))
    in_products = parameter_count(model) - model.embed.weight.numel()  # what is read is looked up, not multiplied
    assert in_products == pytest.approx(124e6, rel=0.01)


@pytest.mark.slow
def test_the_gpu_benchmark_runs_without_a_gpu() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "gpu_pretrain.py"
    done = subprocess.run(
        [sys.executable, str(script), "--quick", "--seconds", "1"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["benchmark"] == "gpu_pretrain"
    assert {result["unit"] for result in told["results"]} == {"tokens/s", "share of peak", "nats/token", "s"}
    losses = [float(line.split()[-1]) for line in done.stdout.splitlines() if "held out" in line]
    assert losses[-2] < losses[0] and losses[-1] < losses[1]
