"""Generating with float32, bfloat16 and int8 weights: speed, memory, time until ready, and what it costs in quality.

    python benchmarks/weights.py [RUN]

Random models of 2.25 M, 15 M and 135 M parameters (the last of SmolLM2's shape): tokens a CPU second of the C step,
one thread, for one stream and sixteen that have 64 to 128 tokens; CPU seconds until a process is ready to answer and
what it then holds. The best of three rounds counts, the types in turn. With a run's folder also bits per byte of its
held-out text and right answers to its questions.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gristmill.evaluation.questions import ask, outcome, read_questions
from gristmill.generation.decoder import PAGE, NativeDecoder, Rows
from gristmill.generation.engine import Engine
from gristmill.generation.sampling_params import SamplingParams
from gristmill.generation.weight_type import WeightType
from gristmill.manifest import Parts
from gristmill.model.config import ModelConfig
from gristmill.model.loss import windows_of
from gristmill.model.stored import StoredModel
from gristmill.model.transformer import Transformer, save_model
from gristmill.recipe import Evaluate
from gristmill.runs.finished import read_recipe
from gristmill.tokenizer.shards import open_split

ROUNDS, FIRST, LAST = 3, 64, 128
SHAPES = {
    "2.25 M": ModelConfig(3072, 4, 160, 5, 5, 32, 448, 256),
    "15 M": ModelConfig(3072, 6, 384, 6, 6, 64, 1280, 256),
    "135 M": ModelConfig(49152, 30, 576, 9, 3, 64, 1536, 2048, tie_embeddings=True, qk_norm=False),
}
READY = """
import sys, time
from pathlib import Path
from gristmill.generation.decoder import NativeDecoder
from gristmill.generation.weight_type import WeightType
from gristmill.model.stored import StoredModel
import gristmill.serving.server, gristmill.serving.assistant
before, model = time.process_time(), StoredModel(Path(sys.argv[1]))
with model.weights() as weight:
    decoder = NativeDecoder(model.config, weight, WeightType(sys.argv[2]))
status = Path("/proc/self/status").read_text()
held, most = (int(status.split(name)[1].split()[0]) / 1000 for name in ("VmRSS:", "VmHWM:"))
print(time.process_time(), time.process_time() - before, held, most)
"""


def save_random(config: ModelConfig, folder: Path) -> StoredModel:
    """A model all of whose weights matter."""
    torch.manual_seed(0)
    model = Transformer(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.05)
    save_model(model, folder)
    return StoredModel(folder)


def speed(decoder: NativeDecoder, streams: int) -> float:
    """Tokens a CPU second."""
    tables = [np.array([decoder.new_page() for _ in range(LAST // PAGE)], np.uint64) for _ in range(streams)]
    numbers, used = list(range(streams)), 0.0
    for place in range(LAST):
        rows = Rows([(7 * place + one) % 3000 for one in numbers], [place] * streams, tables, numbers)
        begun = time.process_time()
        decoder.step(rows, streams)
        used += time.process_time() - begun if place >= FIRST else 0
    return (LAST - FIRST) * streams / used


def measured(config: ModelConfig) -> dict[str, dict[str, float]]:
    """The figures of one shape, by type."""
    with tempfile.TemporaryDirectory() as name:
        model = save_random(config, Path(name))
        with model.weights() as weight:
            decoders = {kind: NativeDecoder(config, weight, kind) for kind in WeightType}
        found: dict[str, dict[str, float]] = {kind: {} for kind in WeightType}
        for _ in range(ROUNDS):
            for kind, decoder in decoders.items():
                for streams in (1, 16):
                    what = f"tokens a CPU second, {streams} stream{'s' * (streams > 1)}"
                    found[kind][what] = max(found[kind].get(what, 0), round(speed(decoder, streams)))
        for kind in WeightType:
            command = [sys.executable, "-c", READY, name, kind]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            names = "CPU seconds until ready", "of them for the model", "MB", "MB at most"
            found[kind] |= {what: round(float(value), 2) for what, value in zip(names, told, strict=True)}
    return found


def quality(run: Path) -> dict[str, dict[str, float]]:
    """What a run's newest model loses, by type."""
    found: dict[str, dict[str, float]] = {}
    params = read_recipe(run).evaluate or Evaluate()
    for kind in WeightType:
        chat, base = (Engine.load(run / name, run / "tokenizer", weights=kind) for name in ("rl", "pretrain"))
        questions = [
            one for one in read_questions(run / "miniweb" / "questions.jsonl", chat, []) if one.split == "test"
        ]
        with tempfile.TemporaryDirectory() as name:
            answers = ask(chat, [one.question for one in questions], params.max_tokens, Parts(Path(name)), "chat")
        ends = [outcome(*pair, params.declines) for pair in zip(questions, [a.text for a in answers], strict=True)]
        found[kind] = {f"answers {end}": ends.count(end) for end in ("right", "declined", "wrong")}
        found[kind]["questions"] = len(ends)
        found[kind] |= {
            "bits per byte, pretrain": bits_per_byte(base, run),
            "bits per byte, rl": bits_per_byte(chat, run),
        }
    return found


def bits_per_byte(engine: Engine, run: Path) -> float:
    """Of held-out text, by the step that answers, document by document."""
    split, nats, size = open_split(run / "tokenize", "heldout", engine.tokenizer.hash), 0.0, 0
    for number in range(len(split)):
        for window in windows_of(split.document(number).astype(np.int64), engine.context - 2):
            one = engine.begin(window.tolist(), SamplingParams(0), scored=True)
            engine.scheduler.add(one)
            while not one.done:
                engine.scheduler.step()
            nats -= sum(token.logprob for token in one.prompt_scores)
        size += int(split.bytes[number])
    return round(nats / math.log(2) / size, 5)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for shape, config in SHAPES.items():
        results[shape] = measured(config)
        print(shape, json.dumps(results[shape], indent=1), flush=True)
    if sys.argv[1:]:
        results["quality"] = quality(Path(sys.argv[1]))
    print(json.dumps({"benchmark": "weights", "results": results}))


if __name__ == "__main__":
    main()
