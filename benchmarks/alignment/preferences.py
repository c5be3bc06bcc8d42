"""Whether a reward model learns people's preferences: HH-RLHF's pairs, against length and a bag of words, in one run.

    OMP_NUM_THREADS=1 python benchmarks/alignment/preferences.py [--seed 0]
    python benchmarks/alignment/preferences.py --quick

Pairs are split by prompt, and cut to the last question and 90 words of each answer. A small model reads the training
pairs (stage `pretrain`), then learns which answer is preferred (stage `reward`). The baselines see the same answers:
the longer one (or the shorter, whichever is right more often in training), and logistic regression on how often each
word occurs in one answer more than in the other. Accuracies are on held-out pairs, with 95 % intervals of a bootstrap,
and the interval of the difference.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gristmill.chat.conversations import LeftOut, read_records
from gristmill.chat.layouts import Messages, preference
from gristmill.chat.template import render
from gristmill.document import Document, document_id, write_documents
from gristmill.files import write_jsonl
from gristmill.posttrain import examples, reward
from gristmill.posttrain.reward import held_out
from gristmill.recipe import Pretrain, Reward, Tokenize, TokenizerParams
from gristmill.tokenizer import tokenize, train
from gristmill.tokenizer.encode import Tokenizer
from gristmill.training import pretrain

PAIRS = Path(__file__).parents[3] / "shared" / "data" / "hh-rlhf" / "harmless-base-test.jsonl.gz"
WORDS = 3000  # that the bag knows
DECAY = 30.0  # of the regression's weights
VOCABULARY = 2048
SHAPE: dict[str, Any] = {"layers": 4, "width": 128, "heads": 4, "kv_heads": 2, "ffn_width": 384, "context": 512}
Pair = tuple[Messages, str, str]


def read(path: Path) -> tuple[list[Pair], list[Pair]]:
    """Pairs for training, and those that measure, by prompt, as the stage splits them."""
    left_out: list[LeftOut] = []
    splits: tuple[list[Pair], list[Pair]] = ([], [])
    for prompt, *answers in read_records(path, preference, left_out):
        chosen, rejected = (answer["content"] for answer in answers)
        splits[held_out(prompt)].append((prompt, chosen, rejected))
    print(f"{len(splits[0])} pairs to train on, {len(splits[1])} held out, {len(left_out)} left out")
    return splits


def words(text: str) -> Counter[str]:
    """How often each word occurs."""
    return Counter(re.findall(r"[a-z']+|[.,!?]", text.lower()))


def by_length(pairs: list[Pair], held: list[Pair]) -> np.ndarray:
    """Whether the longer answer (or the shorter) is the preferred one, 1 or 0, and one half where they are equal."""

    def longer(some: list[Pair]) -> np.ndarray:
        differ = np.array([len(chosen) - len(rejected) for _, chosen, rejected in some])
        return np.where(differ == 0, 0.5, differ > 0)

    found = longer(held)
    return found if longer(pairs).mean() >= 0.5 else 1 - found


def by_words(pairs: list[Pair], held: list[Pair]) -> np.ndarray:
    """Whether logistic regression on differences of word counts prefers the right answer."""
    counted = sum((words(text) for _, *both in pairs for text in both), Counter[str]())
    place = {word: at for at, (word, _) in enumerate(counted.most_common(WORDS))}

    def differences(some: list[Pair]) -> torch.Tensor:
        rows = torch.zeros(len(some), len(place) + 1, dtype=torch.float64)
        for row, (_, *both) in enumerate(some):
            for sign, text in zip((1, -1), both, strict=True):
                for word, count in words(text).items():
                    if word in place:
                        rows[row, place[word]] += sign * np.sqrt(count)
                rows[row, -1] += sign * np.log1p(len(text))
        return rows

    x, weights = differences(pairs), torch.zeros(len(place) + 1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = -torch.nn.functional.logsigmoid(x @ weights).sum() + DECAY * weights.square().sum() / 2
        loss.backward()
        return loss

    solver.step(closure)
    return (differences(held) @ weights.detach() > 0).double().numpy()


def by_model(pairs: list[Pair], held: list[Pair], folder: Path, seed: int) -> np.ndarray:
    """Whether our reward model, on a base that read the training pairs, prefers the right answer."""
    folders = {name: folder / name for name in ("corpus", "tokenizer", "tokens", "model", "reward")}
    for place in folders.values():
        place.mkdir()
    texts = ["\n\n".join([prompt[-1]["content"], answer]) for prompt, *both in pairs for answer in both]
    written = (Document(document_id(str(n), text), text, f"http://x.test/{n}") for n, text in enumerate(texts))
    write_documents(folders["corpus"] / "documents.parquet", written)
    train.run(folders, TokenizerParams(vocab_size=VOCABULARY), folders["tokenizer"])
    tokenize.run(folders, Tokenize(), folders["tokens"])
    asked: dict[str, Any] = {"sample_prompts": [], "snapshots": 0, "evaluate_every": 10**6, "epochs": 1.0, "seed": seed}
    pretrain.run(folders, Pretrain(**SHAPE, **asked), folders["model"])
    rows = [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt, chosen, rejected in pairs]
    write_jsonl(folder / "pairs.jsonl", rows)
    judged = Reward(preferences=str(folder / "pairs.jsonl"), batch=16, lr=0.05, epochs=1.0, seed=seed)
    made = reward.run(folders, judged, folders["reward"])
    print({name: made.metrics[name] for name in ("loss", "train_accuracy", "likelihood_weight")})
    tokenizer, model = Tokenizer.load(folders["tokenizer"]), reward.RewardModel.load(folders["reward"])

    def said(text: str) -> list[int]:
        return [*tokenizer.encode(text), tokenizer.im_end]

    found: list[torch.Tensor] = []
    for at in range(0, len(held), 16):
        part = [
            examples.Pair(render(prompt, tokenizer, generation_prompt=True)[0], said(chosen), said(rejected))
            for prompt, chosen, rejected in held[at : at + 16]
        ]
        with torch.no_grad():
            found.append(torch.gt(*reward.rewards(model, part)))
    return torch.cat(found).double().numpy()


def short(pairs: list[Pair]) -> list[Pair]:
    """The last question alone, and answers cut, so that all fit; without pairs that are then alike."""

    def cut(text: str, most: int) -> str:
        return " ".join(text.split()[:most])

    made = [
        ([{"role": "user", "content": cut(prompt[-1]["content"], 60)}], cut(chosen, 90), cut(rejected, 90))
        for prompt, chosen, rejected in pairs
    ]
    return [pair for pair in made if pair[1] != pair[2] and pair[1] and pair[0][0]["content"]]


def interval(values: np.ndarray, rounds: int = 2000) -> tuple[float, float]:
    """The 95 % interval of a mean, by a bootstrap."""
    draw = np.random.default_rng(0)
    means = values[draw.integers(len(values), size=(rounds, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, default=PAIRS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="under a minute, on few pairs, to see that it works")
    options = parser.parse_args()
    pairs, held = (short(some) for some in read(options.pairs))
    if options.quick:
        pairs, held = pairs[:100], held[:40]
    found = {"length": by_length(pairs, held), "bag of words": by_words(pairs, held)}
    with tempfile.TemporaryDirectory() as folder:
        found["ours"] = by_model(pairs, held, Path(folder), options.seed)
    for name, values in found.items():
        low, high = interval(values)
        print(f"{name:14} {values.mean():.3f} of {len(values)} held-out pairs ({low:.3f} to {high:.3f})")
    results = []
    for peer in ("length", "bag of words"):
        low, high = interval(found["ours"] - found[peer])
        print(f"ours less {peer}: {low:+.3f} to {high:+.3f}")
        ours, theirs = float(found["ours"].mean()), float(found[peer].mean())
        results.append(
            {"claim": "preferences of people told, HH-RLHF harmless, held-out prompts", "unit": "", "goal": 1.0}
            | {"ours": round(ours, 4), "peer": peer, "theirs": round(theirs, 4), "ratio": round(ours / theirs, 3)}
            | {"better": "higher", "difference": [round(low, 4), round(high, 4)]}
        )
    print(json.dumps({"benchmark": "preferences", "results": results}))


if __name__ == "__main__":
    main()
