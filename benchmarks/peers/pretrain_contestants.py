"""The contestants of pretrain.py. Each runs in a process of its own, trains for so many seconds and scores itself.

    python benchmarks/peers/pretrain_contestants.py NAME DATA SECONDS SEED [setting=value ...]

It prints a JSON object a line: after each turn, on which it waits for a line on its input, and at the end its result.
With one thread (OMP_NUM_THREADS=1), seconds are those of the CPU, which other work on the machine hardly touches; with
more they are wall-clock. They count from the first step; waiting, scoring, loading and compiling do not count. Rates
follow the share of the seconds that is over, so that every contestant's schedule ends when its time does.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor

from gristmill.model.kernels import fast_products
from gristmill.model.loss import IGNORE, cross_entropy, padded
from gristmill.model.transformer import ModelConfig, Transformer, parameter_count
from gristmill.tokenizer.shards import Split, description, open_split
from gristmill.training.data.loader import Loader
from gristmill.training.optimizer import Optimizer, Rates, share_of_peak

CONTEXT = 256
TURN = 5.0  # seconds
SCORED_TOKENS = 100_000

# what each trains with where nothing else is said: the best of the sweeps in docs/notebook/pretraining.md
SETTINGS: dict[str, dict[str, float]] = {
    "ours": {"layers": 2, "width": 128, "head_dim": 64, "batch": 8, "muon": 0.02, "embed": 0.3, "head": 0.02},
    "nanogpt": {"layers": 2, "width": 128, "head_dim": 32, "batch": 4, "lr": 6e-3, "beta2": 0.99},
    "nanochat": {"layers": 2, "width": 128, "head_dim": 64, "batch": 4, "scale": 1.0},
    "transformers": {"layers": 2, "width": 128, "head_dim": 32, "batch": 4, "lr": 6e-3},
}


def now() -> float:
    """Seconds, of the kind that the module's docstring says."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Clock:
    """Counts the seconds of training and gives way to the others after each turn."""

    def __init__(self, seconds: float, out: TextIO) -> None:
        self.seconds, self.out = seconds, out
        self.done = self.turn = self.started = 0.0
        self.tokens = self.steps = 0

    def wait(self) -> None:
        """Tell that the turn is over, and wait for the next; called before the first step too."""
        print(json.dumps({"seconds": self.done, "tokens": self.tokens}), file=self.out, flush=True)
        sys.stdin.readline()
        self.started, self.turn = now(), 0.0

    @property
    def share(self) -> float:
        """The share of the time that is over."""
        return min(1.0, self.done / self.seconds)

    def step(self, tokens: int) -> bool:
        """Count a step; returns whether time is left."""
        spent, self.started = now() - self.started, now()
        self.done, self.turn = self.done + spent, self.turn + spent
        self.tokens, self.steps = self.tokens + tokens, self.steps + 1
        if self.done >= self.seconds:
            return False
        if self.turn >= TURN:
            self.wait()
        return True


def cosine(share: float) -> float:
    """nanoGPT's schedule: 2 % of warm-up, then a cosine down to a tenth."""
    return min(share / 0.02 + 0.01, 0.1 + 0.45 * (1 + math.cos(math.pi * share)))


Nats = Callable[[Tensor, Tensor], float]  # the summed loss of inputs and targets, IGNORE where there is none
Trained = tuple[int, Nats]  # parameters, and how to score


def ours(s: dict[str, float], split: Split, vocabulary: int, clock: Clock, seed: int) -> Trained:
    """gristmill's model, optimizer and loader, as the pretrain stage uses them."""
    width, head_dim = int(s["width"]), int(s["head_dim"])
    ffn = int(s.get("ffn", math.ceil(width * 8 / 3 / 32) * 32))
    heads = width // head_dim
    model = Transformer(ModelConfig(vocabulary, int(s["layers"]), width, heads, heads, head_dim, ffn, CONTEXT))
    optimizer = Optimizer(model, Rates(s["muon"], s["embed"], s["head"]))
    batches = Loader(split, CONTEXT, int(s["batch"]), seed)
    clock.wait()
    while True:
        batch = batches(clock.steps)
        cross_entropy(model, batch.inputs, batch.targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(share_of_peak(int(1e6 * clock.share), 10**6, 0.02, s.get("decay", 0.6)))
        if not clock.step(batch.inputs.numel()):
            break

    def nats(inputs: Tensor, targets: Tensor) -> float:
        return float(cross_entropy(model, inputs, targets)) * int((targets != IGNORE).sum())

    return parameter_count(model), nats


def nanogpt(s: dict[str, float], split: Split, vocabulary: int, clock: Clock, seed: int) -> Trained:
    """nanoGPT's model, its optimizer, schedule and `get_batch`, from its checkout, eager and in float32."""
    from model import GPT, GPTConfig

    width = int(s["width"])
    shape = dict(n_layer=int(s["layers"]), n_embd=width, n_head=width // int(s["head_dim"]))
    model = GPT(GPTConfig(block_size=CONTEXT, vocab_size=vocabulary, dropout=0.0, bias=False, **shape))
    optimizer = model.configure_optimizers(0.1, s["lr"], (0.9, s["beta2"]), "cpu")
    data, rows = np.asarray(split.tokens), int(s["batch"])
    clock.wait()
    while True:
        at = torch.randint(len(data) - CONTEXT, (rows,))
        x, y = (
            torch.stack([torch.from_numpy(data[i + d : i + d + CONTEXT].astype(np.int64)) for i in at]) for d in (0, 1)
        )
        _, loss = model(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = s["lr"] * cosine(clock.share)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if not clock.step(x.numel()):
            break
    model.eval()

    def nats(inputs: Tensor, targets: Tensor) -> float:
        return float(model(inputs, targets.where(targets != IGNORE, -1))[1]) * int((targets != IGNORE).sum())

    return parameter_count(model), nats


def nanochat(s: dict[str, float], split: Split, vocabulary: int, clock: Clock, seed: int) -> Trained:
    """nanochat's model and optimizer with its schedules, from its checkout; rows are packed by our loader."""
    from nanochat.gpt import GPT, GPTConfig

    width = int(s["width"])
    heads = width // int(s["head_dim"])
    shape = dict(n_layer=int(s["layers"]), n_embd=width, n_head=heads, n_kv_head=heads, window_pattern="L")
    model = GPT(GPTConfig(sequence_len=CONTEXT, vocab_size=vocabulary, **shape))
    model.init_weights()
    rates = dict(unembedding_lr=0.008, embedding_lr=0.3, matrix_lr=0.02)  # scripts/base_train.py
    optimizer = model.setup_optimizer(**{name: rate * s["scale"] for name, rate in rates.items()})
    batches = Loader(split, CONTEXT, int(s["batch"]), seed)

    def step(number: int, share: float) -> int:
        batch = batches(number)
        model(batch.inputs, batch.targets.where(batch.targets != IGNORE, -1)).backward()
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * min(share / 0.02 + 0.01, 1.0, max(0.05, (1 - share) / 0.65))
            if group["kind"] == "muon":
                warm, cool = min(1.0, number / 400), min(1.0, (1 - share) / 0.65)
                group["momentum"] = 0.85 + 0.12 * warm if cool == 1 else 0.90 + 0.07 * cool
        optimizer.step()
        model.zero_grad(set_to_none=True)
        return batch.inputs.numel()

    step(0, 0.0)  # compiles the optimizer, which its time shall not count; at a hundredth of the rates
    clock.wait()
    while clock.step(step(clock.steps + 1, clock.share)):
        pass
    model.eval()

    def nats(inputs: Tensor, targets: Tensor) -> float:
        return float(model(inputs, targets.where(targets != IGNORE, -1), loss_reduction="sum"))

    return parameter_count(model), nats


def transformers(s: dict[str, float], split: Split, vocabulary: int, clock: Clock, seed: int) -> Trained:
    """transformers' Trainer with a Llama, AdamW and nanoGPT's schedule; rows are the tokens one after the other."""
    import tempfile

    from torch.optim.lr_scheduler import LambdaLR
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    width = int(s["width"])
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=math.ceil(width * 8 / 3 / 32) * 32,
        num_hidden_layers=int(s["layers"]),
        num_attention_heads=width // int(s["head_dim"]),
        max_position_embeddings=CONTEXT,
    )
    model = LlamaForCausalLM(config).float()
    data = torch.from_numpy(np.asarray(split.tokens).astype(np.int64))
    rows = data[: len(data) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    batch = int(s["batch"])

    class Turns(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.wait()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_training_stop = not clock.step(batch * CONTEXT)
            return control

    optimizer = torch.optim.AdamW(model.parameters(), s["lr"], (0.9, 0.95), weight_decay=0.1, fused=True)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=batch,
            max_steps=10**7,
            max_grad_norm=1.0,
            seed=seed,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        items = [{"input_ids": row, "labels": row} for row in rows]
        rates = LambdaLR(optimizer, lambda _: cosine(clock.share))
        Trainer(model, arguments, train_dataset=items, callbacks=[Turns()], optimizers=(optimizer, rates)).train()
    model.eval()

    def nats(inputs: Tensor, targets: Tensor) -> float:
        logits = model(input_ids=inputs, use_cache=False).logits.flatten(0, 1)
        return float(torch.nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum"))

    return parameter_count(model), nats


@torch.no_grad()
def bits_per_byte(nats: Nats, split: Split, most: int) -> float:
    """As `gristmill.model.loss.bits_per_byte`, on documents spread evenly over the held-out ones."""
    windows, size = [], 0
    for number in range(0, len(split), max(1, len(split.tokens) // most)):
        document = split.document(number).astype(np.int64)
        document = np.concatenate((document[-1:], document))
        size += int(split.bytes[number])
        windows += [document[at : at + CONTEXT + 1] for at in range(0, len(document) - 1, CONTEXT)]
    windows.sort(key=len)
    total = sum(nats(*padded(windows[at : at + 16])) for at in range(0, len(windows), 16))
    return total / math.log(2) / size


def main() -> None:
    """One contestant, as the module's docstring says."""
    name, data, seconds, seed = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    settings = dict(SETTINGS[name])
    given = dict(pair.split("=") for pair in sys.argv[5:])
    checkout, most = given.pop("checkout", ""), int(given.pop("scored", SCORED_TOKENS))
    settings |= {key: float(value) for key, value in given.items()}
    sys.path[:0] = [checkout] if checkout else []
    torch.manual_seed(seed)
    train = {"ours": ours, "nanogpt": nanogpt, "nanochat": nanochat, "transformers": transformers}[name]
    clock = Clock(seconds, sys.stdout)
    sys.stdout = sys.stderr  # what a peer prints must not be taken for ours
    with fast_products() if name == "ours" else torch.enable_grad():
        parameters, nats = train(settings, open_split(data, "train"), description(data)["vocab_size"], clock, seed)
        bits = bits_per_byte(nats, open_split(data, "heldout"), most)
    result = {"seconds": clock.done, "tokens": clock.tokens, "parameters": parameters, "bpb": bits}
    print(json.dumps(result), file=clock.out, flush=True)


if __name__ == "__main__":
    main()
