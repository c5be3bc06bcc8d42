"""Pretraining on one GPU: the model of recipes/h100.toml against nanoGPT's and nanochat's, on the same batches.

    gristmill run recipes/h100.toml --until tokenize --set extract.paths='[…]' --out RUN
    git clone https://github.com/karpathy/nanoGPT DIR
    git clone https://github.com/karpathy/nanochat DIR2
    python benchmarks/gpu_pretrain.py --run RUN --nanogpt DIR --nanochat DIR2 --seconds 600 --sweep 60

All train for the same time on the device, in turns, the clock starting after some steps that compile; told are tokens
a second, model FLOPs utilisation (MFU), the held-out loss, and when ours had reached the loss that a peer ended with.
With `--sweep`, each peer first trains for so many seconds at each of its rates (`--nanogpt-rates`,
`--nanochat-scales`), and the best goes into the contest; otherwise the first does. Without `--nanogpt` that peer is
transformers' GPT-2, the same network. `--profile` tells which kernels a step of ours consists of.

FLOPs of a token, forward and backward: 6 · (parameters in matrix products) + 12 · layers · width · context (PaLM,
arXiv:2204.02311, appendix B; the half of attention that is masked counts in full, as in nanoGPT's own figure). The peak
is the maker's for dense bfloat16, by the device's name; on a CPU it is that of a matrix product measured here.

Without a GPU, or with `--quick`, a tiny size runs on the CPU for some seconds: that the script works is all it shows.
Needs: nothing but the test extra.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from gristmill.document import Document, write_documents
from gristmill.model.loss import IGNORE
from gristmill.model.transformer import parameter_count
from gristmill.recipe import Pretrain, Tokenize, TokenizerParams
from gristmill.settings.recipe_file import load_recipe
from gristmill.tokenizer import tokenize, train
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import Split, open_split
from gristmill.training.budget.devices import PEAKS
from gristmill.training.data.loader import Loader
from peers import texts
from peers.gpu_contestants import Contestant, nanochat, nanogpt, ours

RECIPE = Path(__file__).parents[1] / "recipes" / "h100.toml"
TINY = dict(layers=2, width=64, heads=2, kv_heads=2, head_dim=32, ffn_width=192, context=64, batch=8)
WARM_UP = 3  # steps before the clock starts: compilation is among them
SLICES = 10  # turns of each, and points of its curve
HELDOUT_BATCHES = 8  # at most, and at most one pass
GOALS = {"speed": 1.0, "mfu": 0.45, "loss": 1.0, "time": 3.0}
Make = Callable[[float], Contestant]
Data = tuple[Loader, Loader]  # training and held-out tokens


def race(contestants: list[Contestant], data: Data, seconds: float, device: str) -> None:
    """Train each for `seconds` on its own clock, in turns."""
    batches, heldout = data
    for one in contestants:
        began = time.perf_counter()
        while one.steps < WARM_UP:
            one.step(batches(one.steps), 0.0)
            one.steps += 1
        wait(device)
        print(f"{one.name:>28}  {WARM_UP} steps to warm up took {time.perf_counter() - began:.1f} s", flush=True)
    for turn in range(1, SLICES + 1):
        for one in contestants:
            batch = batches(one.steps)
            wait(device)
            started, before = time.perf_counter(), one.seconds
            while one.seconds < seconds * turn / SLICES:
                one.step(batch, min(1.0, one.seconds / seconds))
                one.steps += 1
                batch = batches(one.steps)  # while the device computes
                wait(device)
                one.seconds = before + time.perf_counter() - started
            one.curve.append((one.seconds, measure(one, heldout)))
            told = f"{one.seconds:7.1f} s  {one.steps:6} steps  held out {one.curve[-1][1]:.4f}"
            print(f"{one.name:>28}  {told}", flush=True)


def best(make: Make, rates: list[float], data: Data, seconds: float, device: str) -> Contestant:
    """A peer at the rate that gives the lowest held-out loss after some seconds; at the first one without any."""
    found = {}
    for rate in rates if seconds else []:
        one = make(rate)
        race([one], data, seconds, device)
        found[rate] = one.curve[-1][1]
    return make(min(found, key=lambda rate: found[rate]) if found else rates[0])


def wait(device: str) -> None:
    """Until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


@torch.no_grad()
def measure(one: Contestant, heldout: Loader) -> float:
    """Held-out loss in nats per token, the same tokens each time."""
    total = count = 0.0
    for number in range(max(1, min(HELDOUT_BATCHES, len(heldout.epoch(0)) // heldout.batch))):
        batch = heldout(number)
        borne = int((batch.targets != IGNORE).sum())
        total += one.loss(batch) * borne
        count += borne
    return total / count


def profile(one: Contestant, batches: Loader) -> None:
    """Print what a step's time on the device goes to."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for step in range(3):
            one.step(batches(step), 0.5)
        torch.cuda.synchronize()
    print(found.key_averages().table(sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=90))


def peak(device: str, given: float) -> float:
    """FLOP/s that the device can do at most. Raises SystemExit for a GPU that is not known."""
    if given:
        return given * 1e12
    if device == "cuda":
        name = torch.cuda.get_device_name()
        found = [value for key, (value, _) in PEAKS.items() if key in name]
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
    parser.add_argument("--nanochat", type=Path, help="folder of a nanochat checkout; left out without it")
    parser.add_argument("--seconds", type=float, default=600.0, help="training time of each")
    parser.add_argument("--rows", type=int, default=64, help="rows of 1,024 tokens a step, the same for all")
    parser.add_argument("--sweep", type=float, default=0.0, help="seconds for each rate of a peer, before the contest")
    parser.add_argument("--nanogpt-rates", type=float, nargs="*", default=[6e-4, 1.2e-3, 2.4e-3, 3e-4])
    parser.add_argument("--nanochat-scales", type=float, nargs="+", default=[1.0, 2.0, 4.0, 0.5])
    parser.add_argument("--peak", type=float, default=0.0, help="of the device, TFLOP/s")
    parser.add_argument("--profile", action="store_true", help="tell what a step of ours consists of, and end")
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
        rows = (params.context, params.batch, params.seed)
        data = Loader(training, *rows), Loader(heldout, *rows)
        mine = ours(params, vocabulary, device)
        if given.profile:
            race([mine], data, 1.0, device)
            profile(mine, data[0])
            return
        peers: list[Contestant] = []
        if given.nanogpt_rates:
            make: Make = partial(nanogpt, params, vocabulary, device, folder=given.nanogpt)
            peers.append(best(make, given.nanogpt_rates, data, given.sweep, device))
        if given.nanochat:
            make = partial(nanochat, params, vocabulary, device, folder=given.nanochat)
            peers.append(best(make, given.nanochat_scales, data, given.sweep, device))
        race([mine, *peers], data, seconds, device)
        report(mine, peers, params.batch * params.context, peak(device, given.peak), device)


def report(mine: Contestant, peers: list[Contestant], tokens: int, most: float, device: str) -> None:
    """Print the figures."""
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU, a tiny size"
    rates = [tokens * (one.steps - WARM_UP) / one.seconds for one in (mine, *peers)]
    used = [speed * one.flops / most for speed, one in zip(rates, (mine, *peers), strict=True)]
    for one, speed, share in zip((mine, *peers), rates, used, strict=True):
        count = parameter_count(one.model)
        work = f"{one.flops / 1e6:,.1f} MFLOP a token, MFU {share:.1%}"
        print(f"{one.name}: {count:,} parameters, {speed:,.0f} tokens/s, {work}, {one.curve[-1][1]:.4f} nats/token")
    print(f"on {where}, peak {most / 1e12:,.2f} TFLOP/s")

    results = []
    for theirs, their_rate, their_use in zip(peers, rates[1:], used[1:], strict=True):
        last, goal = [one.curve[-1][1] for one in (mine, theirs)], theirs.curve[-1][1]
        reached = next((at for at, nats in mine.curve if nats <= goal), None)
        speed_up = theirs.seconds / reached if reached else 0.0
        for claim, unit, our, their, ratio, kind, better in (
            ("training speed", "tokens/s", rates[0], their_rate, rates[0] / their_rate, "speed", "higher"),
            ("model FLOPs utilisation", "share of peak", used[0], their_use, used[0] / their_use, "mfu", "higher"),
            ("held-out loss after equal time", "nats/token", last[0], last[1], last[1] / last[0], "loss", "lower"),
            ("time to the peer's final loss", "s", reached, theirs.seconds, speed_up, "time", "lower"),
        ):
            figures = {"ours": our and round(our, 4), "peer": theirs.name, "theirs": round(their, 4)}
            shown = {"ratio": round(ratio, 3), "goal": GOALS[kind], "better": better}
            results.append({"claim": f"{claim} ({where})", "unit": unit, **figures, **shown})
    print(json.dumps({"benchmark": "gpu_pretrain", "results": results}))


if __name__ == "__main__":
    main()
