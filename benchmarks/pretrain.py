"""Pretraining in equal time: held-out bits per byte on books that nobody trained on, and speed, against three peers.

    OMP_NUM_THREADS=1 python benchmarks/pretrain.py --nanogpt DIR --nanochat DIR [--seconds 20] [--seeds 3]
    python benchmarks/pretrain.py --quick

Peers: nanoGPT and nanochat from checkouts (github.com/karpathy; left out where no folder is given), and the Trainer of
transformers with a Llama, which needs `pip install accelerate`. The corpus goes through our stages (extract, filter,
dedup, tokenizer, tokenize) with whole books held out; all train on the same tokens. Contestants run in processes of
their own that take turns of five seconds, so that noise hits all alike (`peers/pretrain_contestants.py` has their
settings and says how time is counted; give it other settings to sweep). The time in which ours reaches the best peer's
figure is that of whole runs of ours at a fraction of the time: a run whose rates have not yet decayed tells nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gristmill.model.kernels import fast_products
from gristmill.model.loss import cross_entropy
from gristmill.model.transformer import ModelConfig, Transformer, parameter_count
from gristmill.recipe import Dedup, Extract, Filter, Params, Tokenize, TokenizerParams
from gristmill.training.optimizer import Optimizer, Rates
from peers.pretrain_contestants import CONTEXT, SETTINGS, now

CORPUS = Path(__file__).parents[2] / "shared" / "data" / "storybooks"
FRACTIONS = (1.0, 1 / 3, 1 / 6, 1 / 12)  # of the time, given to ours
VOCABULARY = 4096


def stage(name: str, inputs: dict[str, Path], params: Params, out: Path) -> Path:
    """Run one stage into a folder."""
    out.mkdir()
    importlib.import_module(f"gristmill.{name}").run(inputs, params, out)
    return out


def tokens(corpus: Path, work: Path) -> Path:
    """Token shards of the corpus, whole books (folders of files) held out."""
    kept = stage("corpus.extract.stage", {}, Extract(paths=[str(corpus)]), work / "extract")
    kept = stage("corpus.filter.stage", {"corpus": kept}, Filter(), work / "filter")
    kept = stage("corpus.dedup.stage", {"corpus": kept}, Dedup(), work / "dedup")
    books = work / "books"
    books.mkdir()
    for path in kept.glob("*.parquet"):
        table = pq.read_table(path)  # what is of one cluster falls on one side, so a book shall be a cluster
        book = [Path(source).parent.name for source in table["source"].to_pylist()]
        place = table.schema.get_field_index("cluster")
        pq.write_table(table.set_column(place, "cluster", pa.array(book)), books / path.name)
    made = stage("tokenizer.train", {"corpus": books}, TokenizerParams(vocab_size=VOCABULARY), work / "tokenizer")
    return stage("tokenizer.tokenize", {"corpus": books, "tokenizer": made}, Tokenize(heldout=0.12), work / "tokens")


def contest(runs: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Run contestants in turns, by name of the run and arguments; the last line that each prints."""
    script = Path(__file__).with_name("peers") / "pretrain_contestants.py"
    running = {
        name: subprocess.Popen(
            [sys.executable, str(script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name, arguments in runs.items()
    }
    results: dict[str, dict[str, Any]] = {}

    def listen(name: str) -> None:
        """Wait until a contestant gives way or ends."""
        process = running[name]
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{name} failed")
        said = json.loads(line)
        if "bpb" in said:
            results[name] = said
            process.communicate()
            del running[name]
            print(f"  {name}: {json.dumps(said)}", flush=True)

    for name in list(running):
        listen(name)  # ready for the first turn
    while running:
        for name in list(running):
            process = running[name]
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            listen(name)
    return results


def speed(rounds: int, nanogpt: str) -> dict[str, float]:
    """Training tokens a second, ours and others' in turn on the same batches, at the size that nanoGPT trains with.

    With tied embeddings the parameters are the same but for norms and positions. "peak" are FLOP/s of a matrix product.
    """
    s = SETTINGS["nanogpt"]
    width, layers, head_dim, rows = (int(s[name]) for name in ("width", "layers", "head_dim", "batch"))
    heads, ffn = width // head_dim, round(width * 8 / 3 / 16) * 16
    shape = ModelConfig(VOCABULARY, layers, width, heads, heads, head_dim, ffn, CONTEXT, tie_embeddings=True)
    model = Transformer(shape)
    optimizer = Optimizer(model, Rates(0.02, 0.02, 0.02))
    contestants: dict[str, Any] = {}

    def ours(ids: torch.Tensor, targets: torch.Tensor) -> None:
        with fast_products():
            cross_entropy(model, ids, targets).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step(1.0)

    contestants["ours"] = ours
    found: dict[str, float] = {"ours_parameters": parameter_count(model)}
    if nanogpt:
        sys.path.insert(0, nanogpt)
        from model import GPT, GPTConfig

        sizes = dict(n_layer=layers, n_embd=width, n_head=heads)
        peer = GPT(GPTConfig(block_size=CONTEXT, vocab_size=VOCABULARY, dropout=0.0, bias=False, **sizes))
        adam = peer.configure_optimizers(0.1, s["lr"], (0.9, s["beta2"]), "cpu")
        found["nanogpt_parameters"] = parameter_count(peer)

        def theirs(ids: torch.Tensor, targets: torch.Tensor) -> None:
            peer(ids, targets)[1].backward()
            torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
            adam.step()
            adam.zero_grad(set_to_none=True)

        contestants["nanogpt"] = theirs
    square = torch.randn(1024, 1024)

    def peak(*_: torch.Tensor) -> None:
        with fast_products():
            square @ square

    def peak_of_mkl(*_: torch.Tensor) -> None:
        square @ square

    contestants |= {"peak": peak, "peak_of_mkl": peak_of_mkl}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 2):
        ids = torch.randint(VOCABULARY, (rows, CONTEXT + 1))
        for name, step in contestants.items():
            start = now()
            step(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
            if number >= 2:  # warm-up
                seconds[name].append(now() - start)
    work = {name: 2 * 1024**3 if name.startswith("peak") else rows * CONTEXT for name in contestants}
    # matrix products of a token: 6 FLOP a weight, and the causal half of attention's 12·layers·width·context
    found["flop_a_token"] = 6 * parameter_count(model) + 6 * layers * width * CONTEXT
    return found | {name: work[name] / statistics.median(times) for name, times in seconds.items()}


def reached(goal: float, found: dict[float, float]) -> float:
    """The smallest fraction of the time whose whole run reached a figure; 0 where none did."""
    return min((fraction for fraction, bpb in found.items() if bpb <= goal), default=0.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--corpus", type=Path, default=CORPUS, help="a folder with a folder of HTML or text for each book"
    )
    parser.add_argument("--tokens", type=Path, help="token shards that an earlier run made, instead")
    parser.add_argument("--nanogpt", default="")
    parser.add_argument("--nanochat", default="")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--scored", type=int, default=100_000, help="held-out tokens, spread over the books")
    parser.add_argument("--quick", action="store_true", help="under a minute, to see that it works")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.seeds, options.scored = 3.0, 1, 5000
    if not options.tokens and not options.corpus.exists():
        raise SystemExit(f"no corpus at {options.corpus}: name a folder of books with --corpus")
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    peers = {name: folder for name in ("nanogpt", "nanochat") if (folder := getattr(options, name))}
    if find_spec("accelerate"):
        peers["transformers"] = ""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        data = options.tokens or tokens(options.corpus, Path(folder))
        by_seed = []
        for seed in range(options.seed, options.seed + options.seeds):
            print(f"seed {seed}", flush=True)
            few = [f"scored={options.scored}"]
            runs = {
                f"ours {fraction:.3f}": ["ours", str(data), str(options.seconds * fraction), str(seed), *few]
                for fraction in (FRACTIONS[:2] if options.quick else FRACTIONS)
            }
            for name, checkout in peers.items():
                runs[name] = [name, str(data), str(options.seconds), str(seed), *few, f"checkout={checkout}"]
            by_seed.append(contest(runs))
        rate = speed(5 if options.quick else 40, options.nanogpt)
    report(options, by_seed, rate, list(peers))
    print(f"{time.perf_counter() - began:.0f} s in all", file=sys.stderr)


def report(
    options: argparse.Namespace, by_seed: list[dict[str, Any]], rate: dict[str, float], peers: list[str]
) -> None:
    """Print the figures, and the last line as JSON."""
    names = {
        "nanogpt": "nanoGPT, its model, AdamW and schedule",
        "nanochat": "nanochat, its model, MuonAdamW and schedules",
        "transformers": f"transformers {version('transformers')} Trainer, Llama, AdamW",
    }
    mean = {name: statistics.mean(found[name]["bpb"] for found in by_seed) for name in by_seed[0]}
    for name, bpb in mean.items():
        each = ", ".join(f"{found[name]['bpb']:.4f}" for found in by_seed)
        told = {key: round(by_seed[0][name][key]) for key in ("parameters", "tokens")}
        print(f"{name:14} {bpb:.4f} held-out bits per byte (seeds: {each}), {told}")
    time_of = f"{options.seconds:g} s, {torch.get_num_threads()} thread(s)"
    results: list[dict[str, Any]] = [
        {"claim": f"held-out bits per byte after {time_of}", "unit": "bits", "ours": round(mean["ours 1.000"], 4)}
        | {"peer": names[peer], "theirs": round(mean[peer], 4), "ratio": round(mean[peer] / mean["ours 1.000"], 3)}
        | {"goal": 1.0, "better": "lower"}
        for peer in peers
    ]
    if peers:
        best = min(peers, key=lambda name: mean[name])
        ours = {float(name.split()[1]): bpb for name, bpb in mean.items() if name.startswith("ours")}
        share = reached(mean[best], ours)
        results.append(
            {
                "claim": "time to the best peer's final bits per byte",
                "unit": "s",
                "ours": round(share * options.seconds, 1),
            }
            | {"peer": names[best], "theirs": options.seconds, "ratio": round(1 / share, 2) if share else 0.0}
            | {"goal": 3.0, "better": "lower"}
        )
    if "nanogpt" in rate:
        sizes = f"{rate['ours_parameters'] / 1e6:.2f} M and {rate['nanogpt_parameters'] / 1e6:.2f} M parameters"
        results.append(
            {"claim": f"training tokens/s, {sizes}", "unit": "tokens/s", "ours": round(rate["ours"])}
            | {"peer": names["nanogpt"], "theirs": round(rate["nanogpt"])}
            | {"ratio": round(rate["ours"] / rate["nanogpt"], 3), "goal": 1.3, "better": "higher"}
        )
    reach = {name: rate[name] * rate["flop_a_token"] / 1e9 for name in ("ours", "nanogpt") if name in rate}
    for kind in ("peak", "peak_of_mkl"):
        shares = ", ".join(f"{name} {value:.0f} ({value / rate[kind] * 1e9:.0%})" for name, value in reach.items())
        print(f"{kind}: {rate[kind] / 1e9:.0f} GFLOP/s; reached in training steps: {shares}")
    results.append(
        {"claim": "share of the machine's matrix-multiply peak", "unit": "", "better": "higher", "goal": 0.5}
        | {
            "ours": round(reach["ours"] / rate["peak"] * 1e9, 3),
            "peer": "a product of two 1024 × 1024 matrices, oneDNN",
        }
        | {"theirs": 1.0, "ratio": round(reach["ours"] / rate["peak"] * 1e9, 3)}
    )
    print(json.dumps({"benchmark": "pretrain", "results": results}))


if __name__ == "__main__":
    main()
