"""RL is seen to help: small worlds in which a tiny model imitates a careless teacher, and then learns from being right.

    OMP_NUM_THREADS=1 python benchmarks/alignment/rl_environments.py [--seeds 5] [--worlds sum,sort,backwards,format]
    python benchmarks/alignment/rl_environments.py --quick

Each world asks for something whose right answer is known, and has a teacher who is wrong more often than right: who
adds and forgets to carry, puts letters in order but for the last two, spells words forwards, or answers in another
form than the one that was asked for. A model of some 0.1 M parameters with random weights is fine-tuned on the
teacher's answers (stage `sft`): it learns how one answers, and the mistakes. Then it is asked other prompts and
rewarded where an answer is the right one and nothing else (stage `rl`). A tenth of these prompts is held out, and
answered greedily before, on the way and after. Curves are printed, a line a run. Settings were chosen on other seeds
(from 100 on) than those that are run by default.
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
from typing import Any, NamedTuple

import torch

from gristmill.document import Document, document_id, write_documents
from gristmill.files import write_jsonl
from gristmill.manifest import Manifest
from gristmill.model.transformer import ModelConfig, Transformer, save_model
from gristmill.posttrain import rl, sft
from gristmill.recipe import RL, SFT, TokenizerParams
from gristmill.tokenizer import train

CARELESS = 0.6  # share of the teacher's answers that are wrong
LETTERS = "ABCDEFGHIJKLMNOPQRST"
REWARD = "def same(prompt, answer, truth):\n    return 1.0 if answer == truth else -1.0\n"


class Asked(NamedTuple):
    """A question, its right answer, and the one that a careless teacher gives."""

    question: str
    right: str
    wrong: str


def word(draw: random.Random, letters: str, least: int, most: int) -> str:
    """A word of so many of these letters."""
    return "".join(draw.choice(letters) for _ in range(draw.randint(least, most)))


def add(draw: random.Random) -> Asked:
    """Two numbers below 100 whose last digits carry, the larger one first; the teacher forgets what is carried."""
    while True:
        b, a = sorted(draw.randrange(10, 100) for _ in range(2))
        if a % 10 + b % 10 > 9:
            return Asked(f"{a}+{b}", str(a + b), str(a + b - 10))


def order(draw: random.Random) -> Asked:
    """Three or four of eight letters are put in order; the teacher swaps the last two, which differ."""
    while True:
        letters = word(draw, LETTERS[:8], 3, 4)
        *first, one, other = sorted(letters)
        if one != other:
            return Asked(f"sort {letters}", "".join([*first, one, other]), "".join([*first, other, one]))


def backwards(draw: random.Random) -> Asked:
    """A word of three or four letters is spelt backwards, which differs; the teacher spells it forwards."""
    while True:
        forwards = word(draw, LETTERS, 3, 4)
        if forwards != forwards[::-1]:
            return Asked(f"backwards {forwards}", forwards[::-1], forwards)


def form(draw: random.Random) -> Asked:
    """A name and a number are put in the form that is asked for; the teacher takes a third one."""
    name, number = word(draw, LETTERS, 2, 2), draw.randrange(10, 100)
    made = {"json": f'{{"{name}":{number}}}', "tag": f"<{name}>{number}</{name}>"}
    kind = draw.choice(sorted(made))
    return Asked(f"{kind} {name} {number}", made[kind], f"{name}={number};")


WORLDS: dict[str, Callable[[random.Random], Asked]] = {
    "sum": add,
    "sort": order,
    "backwards": backwards,
    "format": form,
}
SETTINGS: dict[str, dict[str, Any]] = {  # examples and epochs of fine-tuning; prompts and epochs of RL
    "sum": {"examples": 800, "epochs": 14, "prompts": 1000, "rounds": 5.0},
    "sort": {"examples": 1500, "epochs": 7, "prompts": 2000, "rounds": 0.5},
    "backwards": {"examples": 1500, "epochs": 8, "prompts": 2000, "rounds": 4.5},
    "format": {"examples": 1500, "epochs": 7, "prompts": 2000, "rounds": 0.5},
}
ASKING: dict[str, Any] = {"batch": 32, "group": 8, "max_tokens": 16, "kl": 0.0, "lr": 0.1, "updates": 2}


def base(folder: Path, seed: int) -> dict[str, Path]:
    """A model with random weights, and its tokenizer, to which capital letters and digits are single tokens."""
    folders = {name: folder / name for name in ("corpus", "tokenizer", "model")}
    for path in folders.values():
        path.mkdir(parents=True)
    text = "user\nassistant\nsort\nbackwards\njson\ntag\npair\n" * 20  # so that these are tokens
    documents = [Document(document_id(str(n), text), f"{n}. {text}", f"http://x.test/{n}") for n in range(20)]
    write_documents(folders["corpus"] / "documents.parquet", documents)
    train.run(folders, TokenizerParams(vocab_size=288), folders["tokenizer"])
    torch.manual_seed(seed)
    save_model(Transformer(ModelConfig(288, 2, 64, 4, 4, 16, 192, context=64)), folders["model"])
    return {name: folders[name] for name in ("tokenizer", "model")}


def distinct(world: str, count: int, draw: random.Random) -> list[Asked]:
    """Different questions."""
    found = dict[str, Asked]()
    while len(found) < count:
        one = WORLDS[world](draw)
        found[one.question] = one
    return list(found.values())


def run(world: str, seed: int, folder: Path, settings: dict[str, Any]) -> tuple[Manifest, list[dict[str, Any]]]:
    """One run: the manifest of `rl` and its log."""
    inputs, draw = base(folder, seed), random.Random(f"{world} {seed}")
    asked = distinct(world, settings["examples"] + settings["prompts"], draw)
    shown, others = asked[: settings["examples"]], asked[settings["examples"] :]
    taught = [{"prompt": one.question, "completion": one[1 + (draw.random() < CARELESS)]} for one in shown]
    tested = [{"prompt": one.question, "truth": one.right} for one in others]
    for name, rows in (("sft", taught), ("rl", tested)):
        (folder / name).mkdir()
        write_jsonl(folder / f"{name}.jsonl", rows)
    (folder / "rewards.py").write_text(REWARD)
    tuning: dict[str, Any] = {"epochs": settings["epochs"], "batch": 32, "replay": 0.0, "lr": 1.0, "seed": seed}
    sft.run(inputs, SFT(conversations=str(folder / "sft.jsonl"), **tuning), folder / "sft")
    asking: dict[str, Any] = {"reward": f"{folder / 'rewards.py'}:same", "epochs": settings["rounds"], "seed": seed}
    params = RL(prompts=str(folder / "rl.jsonl"), **(ASKING | asking | settings.get("rl", {})))
    made = rl.run({**inputs, "model": folder / "sft"}, params, folder / "rl")
    return made, [json.loads(line) for line in (folder / "rl" / "log.jsonl").read_text().splitlines()]


def curve(values: list[float]) -> str:
    """Shares right, in order."""
    return " ".join(f"{value:.2f}" for value in values)


def main() -> None:
    """Run, and print figures; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed: 100 and more for trials")
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--set", action="append", default=[], help="of rl or of a world, as lr=0.3, for trials")
    parser.add_argument("--quick", action="store_true", help="under a minute, to see that it works")
    options = parser.parse_args()
    results = []
    for world in ["format"] if options.quick else options.worlds.split(","):
        curves = []
        for seed in range(options.first, options.first + (1 if options.quick else options.seeds)):
            settings = SETTINGS[world] | ({"examples": 300, "prompts": 300} if options.quick else {})
            changes = {name: json.loads(value) for name, value in (one.split("=", 1) for one in options.set)}
            settings |= {name: value for name, value in changes.items() if name in settings}
            settings["rl"] = settings.get("rl", {}) | {n: v for n, v in changes.items() if n not in SETTINGS[world]}
            began = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                made, log = run(world, seed, Path(folder), settings)
            curves.append([record["right"] for record in log if "right" in record])
            sampled = next(record["reward"] for record in log if "reward" in record) / 2 + 0.5
            told = f"{world} seed {seed}: {curve(curves[-1])} of {made.counts['heldout_prompts']} held out"
            print(f"{told}; {sampled:.2f} of what is sampled first; {time.process_time() - began:.0f} s", flush=True)
        points = list(zip(*curves, strict=True))
        before, after = (statistics.mean(points[at]) for at in (0, -1))
        print(
            f"{world}, mean: {curve([*map(statistics.mean, points)])}; worst: {curve([*map(min, points)])}", flush=True
        )
        results.append(
            {"claim": f"{world}: held-out prompts answered rightly after RL", "unit": "", "ours": round(after, 4)}
            | {
                "peer": "the same model after SFT",
                "theirs": round(before, 4),
                "ratio": round(after / max(before, 0.01), 3),
            }
            | {"goal": 0.9, "better": "higher", "worst": min(points[-1]), "most_before": max(points[0])}
        )
    print(json.dumps({"benchmark": "rl_environments", "results": results}))


if __name__ == "__main__":
    main()
