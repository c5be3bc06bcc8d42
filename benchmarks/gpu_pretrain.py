"""Pretraining on one GPU: the model of recipes/h100.toml against nanoGPT's of GPT-2 small's size, on the same batches.

    gristmill run recipes/h100.toml --until tokenize --set extract.paths='[…]' --out RUN
    git clone https://github.com/karpathy/nanoGPT DIR
    python benchmarks/gpu_pretrain.py --run RUN --nanogpt DIR --seconds 600

Both train for the same time on the device, in turns, the clock starting after some steps that compile; told are tokens
a second, model FLOPs utilisation (MFU), the held-out loss, and when ours had reached the loss that the peer ended with.
nanoGPT has its published settings (AdamW 6e-4, weight decay 0.1, betas 0.9 and 0.95, clipping at 1, bfloat16,
compiled), its warm-up and cosine stretched over the time that there is; `--peer-lr` and `--rows` sweep them. Without
`--nanogpt` the peer is transformers' GPT-2, which is the same network.

FLOPs of a token, forward and backward: 6 · (parameters in matrix products) + 12 · layers · width · context (PaLM,
arXiv:2204.02311, appendix B; the half of attention that is masked counts in full, as in nanoGPT's own figure). The peak
is the maker's for dense bfloat16, by the device's name; on a CPU it is that of a matrix product measured here.

Without a GPU, or with `--quick`, a tiny size runs on the CPU for some seconds: that the script works is all it shows.
Needs: nothing but the test extra.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gristmill.document import Document, write_documents
from gristmill.model.loss import IGNORE, cross_entropy, upload
from gristmill.model.transformer import ModelConfig, Transformer, parameter_count
from gristmill.recipe import Pretrain, Tokenize, TokenizerParams
from gristmill.settings.recipe_file import load_recipe
from gristmill.tokenizer import tokenize, train
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import Split, open_split
from gristmill.training import gpu
from gristmill.training.data.loader import Loader
from gristmill.training.optimizer import Optimizer, Rates, share_of_peak
from peers import texts

RECIPE = Path(__file__).parents[1] / "recipes" / "h100.toml"
PEAKS = {"H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989.4e12, "H200": 989.4e12, "A100": 312e12}  # FLOP/s
TINY = dict(layers=2, width=64, heads=2, kv_heads=2, head_dim=32, ffn_width=192, context=64, batch=8)
WARM_UP = 3  # steps before the clock starts: compilation is among them
SLICES = 20  # turns of each, and points of its curve
HELDOUT_BATCHES = 8
GOALS = {"speed": 1.0, "mfu": 0.45, "loss": 1.0, "time": 1.5}


@dataclass
class Contestant:
    """A model in training, with its clock."""

    name: str
    model: nn.Module
    step: Callable[[Tensor, Tensor, float], None]  # inputs, targets, share of the time that has passed
    loss: Callable[[Tensor, Tensor], float]
    flops: float  # a token
    seconds: float = 0.0
    steps: int = 0
    curve: list[tuple[float, float]] = field(default_factory=list)  # (seconds, held-out nats per token)


def ours(params: Pretrain, vocabulary: int, device: str) -> Contestant:
    """Ours, as the recipe has it."""
    torch.manual_seed(params.seed)
    shape = {name: getattr(params, name) for name in ModelConfig.__dataclass_fields__ if hasattr(params, name)}
    model = Transformer(ModelConfig(vocab_size=vocabulary, **shape)).to(device)
    gpu.prepare(model, params.compile, params.recompute)
    optimizer = Optimizer(model, Rates.of(params))

    def step(inputs: Tensor, targets: Tensor, passed: float) -> None:
        cross_entropy(model, inputs, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), params.clip)
        optimizer.step(share_of_peak(round(passed * 10_000), 10_000, params.warmup, params.decay))

    def loss(inputs: Tensor, targets: Tensor) -> float:
        return float(cross_entropy(model, inputs, targets))

    table = 0 if params.tie_embeddings else model.embed.weight.numel()
    return Contestant("gristmill", model, step, loss, flops(model, table, params))


def peer(params: Pretrain, vocabulary: int, device: str, rate: float, folder: Path | None) -> Contestant:
    """nanoGPT's network, from its checkout or from transformers, trained by its recipe."""
    torch.manual_seed(params.seed)
    sizes: dict[str, Any] = dict(n_layer=params.layers, n_head=params.heads, n_embd=params.width, vocab_size=vocabulary)
    if folder:
        published = load_module(folder / "model.py")
        model = published.GPT(published.GPTConfig(block_size=params.context, bias=False, dropout=0.0, **sizes))
        name, positions = "nanoGPT " + revision(folder), model.transformer.wpe.weight.numel()
    else:
        import transformers

        off: dict[str, Any] = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_positions=params.context, **off, **sizes))
        name, positions = f"transformers {transformers.__version__} GPT-2", model.transformer.wpe.weight.numel()
    model.to(device)
    on_gpu = device == "cuda"
    groups = [
        {"params": [w for w in model.parameters() if w.ndim >= 2], "weight_decay": 0.1},
        {"params": [w for w in model.parameters() if w.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)
    network = torch.compile(model) if on_gpu else model

    def nats(called: Callable[..., Any], inputs: Tensor, targets: Tensor) -> Tensor:
        inputs, targets = (upload(value, torch.device(device)) for value in (inputs, targets))
        with torch.autocast("cuda", torch.bfloat16) if on_gpu else contextlib.nullcontext():
            if folder:  # it ignores -1
                loss: Tensor = called(inputs, torch.where(targets == IGNORE, -1, targets))[1]
                return loss
            logits = called(inputs, use_cache=False).logits
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)

    def step(inputs: Tensor, targets: Tensor, passed: float) -> None:
        rising = min(1.0, passed / 0.02)
        for group in optimizer.param_groups:
            group["lr"] = rate * rising * (0.1 + 0.45 * (1 + math.cos(math.pi * passed)))
        nats(network, inputs, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def loss(inputs: Tensor, targets: Tensor) -> float:
        return float(nats(model, inputs, targets))

    return Contestant(name, model, step, loss, flops(model, positions, params))


def flops(model: nn.Module, looked_up: int, params: Pretrain) -> float:
    """Of a token, forward and backward; `looked_up` parameters are in no matrix product."""
    return 6 * (parameter_count(model) - looked_up) + 12 * params.layers * params.width * params.context


def load_module(path: Path) -> Any:
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    if spec is None or spec.loader is None or not path.exists():
        raise SystemExit(f"no {path}: give --nanogpt the folder of a nanoGPT checkout")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def revision(folder: Path) -> str:
    """A checkout's commit, as far as it can be read without git."""
    head = folder / ".git" / "HEAD"
    text = head.read_text().strip() if head.exists() else ""
    path = folder / ".git" / text.removeprefix("ref: ")
    return (path.read_text() if text.startswith("ref: ") and path.exists() else text)[:8]


def race(contestants: list[Contestant], batches: Loader, heldout: Loader, seconds: float, device: str) -> None:
    """Train each for `seconds` on its own clock, in turns."""
    for one in contestants:
        while one.steps < WARM_UP:
            one.step(*pair(batches(one.steps)), 0.0)
            one.steps += 1
    for turn in range(1, SLICES + 1):
        for one in contestants:
            wait(device)
            started, before = time.perf_counter(), one.seconds
            while one.seconds < seconds * turn / SLICES:
                one.step(*pair(batches(one.steps)), min(1.0, one.seconds / seconds))
                one.steps += 1
                wait(device)
                one.seconds = before + time.perf_counter() - started
            one.curve.append((one.seconds, measure(one, heldout)))
            print(
                f"{one.name:>24}  {one.seconds:7.1f} s  {one.steps:6} steps  held out {one.curve[-1][1]:.4f}",
                flush=True,
            )


def wait(device: str) -> None:
    """Until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


@torch.no_grad()
def measure(one: Contestant, heldout: Loader) -> float:
    """Held-out loss in nats per token, the same tokens each time."""
    total = count = 0.0
    for number in range(HELDOUT_BATCHES):
        inputs, targets = pair(heldout(number))
        borne = int((targets != IGNORE).sum())
        total += one.loss(inputs, targets) * borne
        count += borne
    return total / count


def pair(batch: Any) -> tuple[Tensor, Tensor]:
    """Inputs and targets."""
    return batch.inputs, batch.targets


def peak(device: str, given: float) -> float:
    """FLOP/s that the device can do at most. Raises SystemExit for a GPU that is not known."""
    if given:
        return given * 1e12
    if device == "cuda":
        name = torch.cuda.get_device_name()
        found = [value for key, value in PEAKS.items() if key in name]
        if not found:
            raise SystemExit(f"the peak of {name} is not known here: give it with --peak, in TFLOP/s of dense bfloat16")
        return found[0]
    a = torch.randn(1024, 1024)
    best = math.inf
    for _ in range(5):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    return 2 * 1024**3 / best


@contextlib.contextmanager
def corpus(run: Path | None) -> Iterator[tuple[Tokenizer, Split, Split]]:
    """Tokenizer, training and held-out tokens of a run; without one, of some text on this machine."""
    with contextlib.ExitStack() as stack:
        if run is None:
            run = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            made = enumerate(texts.documents([texts.DEFAULT], 2_000_000))
            (run / "corpus").mkdir()
            write_documents(run / "corpus" / "documents.parquet", (Document(str(n), text) for n, text in made))
            inputs = {"corpus": run / "corpus", "tokenizer": run / "tokenizer"}
            for stage, params in ((train, TokenizerParams(vocab_size=512)), (tokenize, Tokenize(heldout=0.1))):
                out = run / stage.__name__.rpartition(".")[2].replace("train", "tokenizer")
                out.mkdir()
                stage.run(inputs, params, out)
        tokenizer = Tokenizer.load(run / "tokenizer")
        training, heldout = (open_split(run / "tokenize", name, tokenizer.hash) for name in ("train", "heldout"))
        yield tokenizer, training, heldout


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="run folder with tokenizer and tokenize")
    parser.add_argument("--nanogpt", type=Path, help="folder of a nanoGPT checkout")
    parser.add_argument("--seconds", type=float, default=600.0, help="training time of each")
    parser.add_argument("--rows", type=int, default=64, help="rows of 1,024 tokens a step, the same for both")
    parser.add_argument("--peer-lr", type=float, default=6e-4)
    parser.add_argument("--peak", type=float, default=0.0, help="of the device, TFLOP/s")
    parser.add_argument("--quick", action="store_true", help="a tiny size on the CPU, some seconds")
    given = parser.parse_args()
    tiny = given.quick or not torch.cuda.is_available()
    device = "cpu" if tiny else "cuda"
    if not tiny and given.run is None:
        raise SystemExit("name a run that has tokens with --run: gristmill run recipes/h100.toml --until tokenize …")
    params = load_recipe(RECIPE).pretrain or Pretrain()
    params = params.model_copy(update=TINY if tiny else {"batch": given.rows})
    seconds = min(given.seconds, 8.0) if tiny else given.seconds
    with corpus(given.run) as (tokenizer, training, heldout):
        vocabulary = tokenizer.vocab_size
        contestants = [
            ours(params, vocabulary, device),
            peer(params, vocabulary, device, given.peer_lr, given.nanogpt),
        ]
        reading, measuring = (Loader(split, params.context, params.batch, params.seed) for split in (training, heldout))
        race(contestants, reading, measuring, seconds, device)
    report(contestants, params.batch * params.context, peak(device, given.peak), device)


def report(contestants: list[Contestant], tokens: int, most: float, device: str) -> None:
    """Print the figures."""
    mine, theirs = contestants
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU, a tiny size"
    rate = [tokens * (one.steps - WARM_UP) / one.seconds for one in contestants]
    used = [speed * one.flops / most for speed, one in zip(rate, contestants, strict=True)]
    last = [one.curve[-1][1] for one in contestants]
    reached = next((at for at, nats in mine.curve if nats <= last[1]), None)
    for one, speed, share in zip(contestants, rate, used, strict=True):
        count = parameter_count(one.model)
        work = f"{one.flops / 1e6:,.1f} MFLOP a token, MFU {share:.1%}"
        print(f"{one.name}: {count:,} parameters, {speed:,.0f} tokens/s, {work}")
    print(f"on {where}, peak {most / 1e12:,.2f} TFLOP/s")

    def result(
        claim: str, unit: str, our: float | None, their: float, ratio: float, goal: str, better: str
    ) -> dict[str, Any]:
        shown = {"ours": our, "peer": theirs.name, "theirs": round(their, 4), "ratio": round(ratio, 3)}
        return {"claim": f"{claim} ({where})", "unit": unit, **shown, "goal": GOALS[goal], "better": better}

    results = [
        result("training speed", "tokens/s", round(rate[0], 1), rate[1], rate[0] / rate[1], "speed", "higher"),
        result(
            "model FLOPs utilisation", "share of peak", round(used[0], 4), used[1], used[0] / used[1], "mfu", "higher"
        ),
        result(
            "held-out loss after equal time",
            "nats/token",
            round(last[0], 4),
            last[1],
            last[1] / last[0],
            "loss",
            "lower",
        ),
        result(
            "time to the peer's final loss",
            "s",
            None if reached is None else round(reached, 2),
            theirs.seconds,
            theirs.seconds / reached if reached else 0.0,
            "time",
            "lower",
        ),
    ]
    print(json.dumps({"benchmark": "gpu_pretrain", "results": results}))


if __name__ == "__main__":
    main()
