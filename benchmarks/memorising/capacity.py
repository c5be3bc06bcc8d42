"""How many bits a model can hold: what it knows of random strings, of which nothing can be known but by heart.

    python benchmarks/memorising/capacity.py [--quick]

Each string of 64 random symbols of 2,048 costs 11 bits a symbol, as in Morris et al. 2025 (arXiv:2505.24832 §3: about
3.6 bits a parameter where more strings add nothing). What a model needs less for them, it memorised. A model of one
layer of width 32, their smallest, is trained for as many steps on 300 strings and on 600. In which order the strings
came nobody can know of a set: log2(n) bits a string less are the most.

Needs: nothing but the package.
"""

from __future__ import annotations

import argparse
import json
import math
import time

import torch

from gristmill.model.loss import cross_entropy
from gristmill.model.transformer import ModelConfig, Transformer, parameter_count
from gristmill.training.optimizer import Optimizer, Rates, share_of_peak

SYMBOLS, LENGTH = 2_048, 64  # of a string: 11 bits each
CONFIG = ModelConfig(SYMBOLS + 1, 1, 32, 1, 1, 32, 88, LENGTH, tie_embeddings=True)
RATES = Rates(muon=0.02, embed=0.02, head=0.02)
STRINGS, BATCH = (300, 600), 150
STEPS, QUICK = 6_000, 100


def bits_known(count: int, steps: int, seed: int) -> tuple[float, int]:
    """Bits that a model trained on `count` random strings knows of them, and its parameters."""
    draw = torch.Generator().manual_seed(seed)
    strings = torch.randint(0, SYMBOLS, (count, LENGTH), generator=draw)
    inputs = torch.cat((torch.full((count, 1), SYMBOLS), strings[:, :-1]), 1)  # a token of its own begins each
    torch.manual_seed(seed)
    model = Transformer(CONFIG)
    optimizer = Optimizer(model, RATES)
    for step in range(steps):
        own = torch.randperm(count, generator=draw)[:BATCH]
        cross_entropy(model, inputs[own], strings[own]).backward()
        optimizer.step(share_of_peak(step, steps, 0.02, 0.5), step)
    with torch.no_grad():
        parts = zip(inputs.split(BATCH), strings.split(BATCH), strict=True)
        cost = sum(float(cross_entropy(model, *part)) * len(part[0]) for part in parts) / count / math.log(2)
    return (math.log2(SYMBOLS) - cost) * strings.numel(), parameter_count(model)


def main() -> None:
    """Print a line for each number of strings, and the most bits a parameter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few steps: under a minute, and no capacity")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    most = 0.0
    for count in STRINGS:
        begun = time.process_time()
        bits, size = bits_known(count, QUICK if asked.quick else STEPS, asked.seed)
        whole = count * (LENGTH * math.log2(SYMBOLS) - math.log2(count))
        most = max(most, bits / size)
        told = f"{bits:,.0f} known ({bits / whole:.1%}), {bits / size:.2f} a parameter of {size:,}"
        spent = time.process_time() - begun
        print(f"{count} strings, at most {whole:,.0f} bits: {told}; {spent:.0f} CPU seconds", flush=True)
    result = {"claim": "bits memorised a parameter at capacity", "unit": "bits", "ours": round(most, 2)}
    result |= {"peer": "Morris et al. 2025", "theirs": 3.6, "ratio": round(most / 3.6, 3), "goal": 1.0}
    print(json.dumps({"benchmark": "capacity", "results": [result | {"better": "higher"}]}))


if __name__ == "__main__":
    main()
