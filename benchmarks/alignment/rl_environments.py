"""RL is seen to help: small worlds in which a tiny model, fine-tuned on few examples, learns the rest from being right.

    OMP_NUM_THREADS=1 python benchmarks/alignment/rl_environments.py [--seeds 5] [--worlds sum,sort,backwards,format]
    python benchmarks/alignment/rl_environments.py --quick

Each world asks for something whose right answer is known: the sum of two numbers, letters in order, a word backwards,
an answer in a wanted form. A model of some 0.1 M parameters is fine-tuned from random weights on a few examples (stage
`sft`), then asked many more prompts and rewarded by the truth (stage `rl`); a tenth of these prompts is held out, and
answered greedily before, on the way and after. Curves are printed, one line a run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gristmill.document import Document, document_id, write_documents
from gristmill.manifest import Manifest
from gristmill.model.transformer import ModelConfig, Transformer, save_model
from gristmill.posttrain import rl, sft
from gristmill.recipe import RL, SFT, Tokenize, TokenizerParams
from gristmill.tokenizer import tokenize, train

LETTERS = "abcdefghijklmnopqrst"
Draw = Callable[[random.Random], tuple[str, str]]


def add(draw: random.Random) -> tuple[str, str]:
    """Two numbers below 100 whose last digits carry, and their sum."""
    while True:
        a, b = draw.randrange(10, 100), draw.randrange(10, 100)
        if a % 10 + b % 10 > 9:
            return f"{a}+{b}", str(a + b)


def order(draw: random.Random) -> tuple[str, str]:
    """Five letters, and the same in order."""
    letters = [draw.choice(LETTERS) for _ in range(5)]
    return "sort " + "".join(letters), "".join(sorted(letters))


def backwards(draw: random.Random) -> tuple[str, str]:
    """A word of five letters, and the same backwards."""
    word = "".join(draw.choice(LETTERS) for _ in range(5))
    return f"spell {word}", word[::-1]


def form(draw: random.Random) -> tuple[str, str]:
    """A name and a number, and a record of both in the form that is asked for."""
    name, number = "".join(draw.choice(LETTERS) for _ in range(3)), draw.randrange(10, 100)
    made = {"json": f'{{"{name}":{number}}}', "tag": f"<{name}>{number}</{name}>", "pair": f"{name}={number};"}
    kind = draw.choice(sorted(made))
    return f"{kind} {name} {number}", made[kind]


WORLDS: dict[str, Draw] = {"sum": add, "sort": order, "backwards": backwards, "format": form}
SETTINGS: dict[str, dict[str, Any]] = {  # examples and epochs of fine-tuning; prompts and epochs of RL
    "sum": {"examples": 400, "epochs": 25, "prompts": 2500, "rounds": 2.0},
    "sort": {"examples": 250, "epochs": 20, "prompts": 3000, "rounds": 3.0},
    "backwards": {"examples": 250, "epochs": 25, "prompts": 2500, "rounds": 3.0},
    "format": {"examples": 400, "epochs": 25, "prompts": 2000, "rounds": 1.2},
}


def base(folder: Path, seed: int) -> dict[str, Path]:
    """A model with random weights whose tokens are single characters, and the folders that stages read."""
    folders = {name: folder / name for name in ("corpus", "tokenizer", "tokens", "model")}
    for path in folders.values():
        path.mkdir(parents=True)
    text = "ZZ " * 20  # one merge, of what no world says
    documents = [Document(document_id(str(n), text), f"{n}. {text}", f"http://x.test/{n}") for n in range(20)]
    write_documents(folders["corpus"] / "documents.parquet", documents)
    train.run(folders, TokenizerParams(vocab_size=260), folders["tokenizer"])
    tokenize.run(folders, Tokenize(), folders["tokens"])
    torch.manual_seed(seed)
    save_model(Transformer(ModelConfig(260, 2, 64, 4, 4, 16, 192, context=64)), folders["model"])
    return folders


def distinct(world: str, count: int, seed: int) -> list[tuple[str, str]]:
    """Different questions with their answers."""
    draw, found = random.Random(f"{world} {seed}"), dict[str, str]()
    while len(found) < count:
        found.update([WORLDS[world](draw)])
    return list(found.items())


def run(world: str, seed: int, folder: Path, settings: dict[str, Any]) -> tuple[Manifest, list[dict[str, Any]], float]:
    """One run: the manifest of `rl`, its log, and the seconds of CPU that both stages took."""
    inputs, began = base(folder, seed), time.process_time()
    asked = distinct(world, settings["examples"] + settings["prompts"], seed)
    shown, others = asked[: settings["examples"]], asked[settings["examples"] :]
    for name in ("sft", "rl"):
        (folder / name).mkdir()
    with (folder / "sft.jsonl").open("w") as file:
        file.writelines(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in shown)
    with (folder / "rl.jsonl").open("w") as file:
        file.writelines(json.dumps({"prompt": q, "truth": a}) + "\n" for q, a in others)
    tuning = SFT(
        conversations=str(folder / "sft.jsonl"),
        **{"epochs": settings["epochs"], "batch": 32, "replay": 0.0, "lr": 1.0, "seed": seed},
    )
    sft.run(inputs, tuning, folder / "sft")
    asked_how: dict[str, Any] = {"epochs": settings["rounds"], "batch": 32, "group": 8, "max_tokens": 16, "kl": 0.0}
    asked_how |= {"lr": 0.2, "updates": 2, "seed": seed} | settings.get("rl", {})
    asking = RL(prompts=str(folder / "rl.jsonl"), **asked_how)
    made = rl.run({**inputs, "model": folder / "sft"}, asking, folder / "rl")
    log = [json.loads(line) for line in (folder / "rl" / "log.jsonl").read_text().splitlines()]
    return made, log, time.process_time() - began


def main() -> None:
    """Run, and print figures; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--set", action="append", default=[], help="of rl or of a world, as lr=0.3, for trials")
    parser.add_argument("--quick", action="store_true", help="under a minute, to see that it works")
    options = parser.parse_args()
    results = []
    for world in ["format"] if options.quick else options.worlds.split(","):
        found = []
        for seed in range(1 if options.quick else options.seeds):
            settings = SETTINGS[world] | ({"prompts": 400} if options.quick else {})
            changes = {name: json.loads(value) for name, value in (one.split("=", 1) for one in options.set)}
            settings |= {name: value for name, value in changes.items() if name in settings}
            settings["rl"] = settings.get("rl", {}) | {n: v for n, v in changes.items() if n not in SETTINGS[world]}
            with tempfile.TemporaryDirectory() as folder:
                made, log, seconds = run(world, seed, Path(folder), settings)
            curve = [record["right"] for record in log if "right" in record]
            found.append((curve[0], curve[-1]))
            told = " ".join(f"{share:.2f}" for share in curve)
            print(
                f"{world} seed {seed}: {told} of {made.counts['heldout_prompts']} held out; {seconds:.0f} s", flush=True
            )
        before, after = (statistics.mean(values) for values in zip(*found, strict=True))
        results.append(
            {"claim": f"{world}: held-out prompts answered rightly after RL", "unit": "", "ours": round(after, 4)}
            | {"peer": "the same model after SFT", "theirs": round(before, 4), "ratio": round(after / before, 3)}
            | {"goal": 0.9, "better": "higher", "worst": min(last for _, last in found)}
        )
    print(json.dumps({"benchmark": "rl_environments", "results": results}))


if __name__ == "__main__":
    main()
