"""Post-training against TRL: steps of SFT, DPO, KTO, reward model and GRPO on one model and text, by AdamW.

    OMP_NUM_THREADS=1 python benchmarks/posttrain.py [--sizes 2.25M,15M] [--steps 10] [--objectives sft,dpo]
    OMP_NUM_THREADS=1 python benchmarks/posttrain.py --quick

Needs `pip install trl==1.16.*`; without it only ours is measured. Every contestant runs in a process of its own, on one
thread in float32, and is timed by the CPU that it takes: the median step of its own training loop, after two that do
not count. Memory is what the process takes at the peak, less what it took when data and model were ready.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from gristmill.document import Document, document_id, write_documents
from gristmill.export import stage as export
from gristmill.files import write_jsonl
from gristmill.model.kernels import fast_products
from gristmill.model.transformer import ModelConfig, Transformer, parameter_count, save_model
from gristmill.posttrain import dpo, kto, reward, rl, sft
from gristmill.processes import memory_of
from gristmill.recipe import DPO, KTO, RL, SFT, Export, Reward, Tokenize, TokenizerParams
from gristmill.tokenizer import tokenize, train
from gristmill.training.optimizer import Optimizer

TALKS = Path(__file__).parents[2] / "shared" / "data" / "instruct"
OBJECTIVES = ("sft", "dpo", "kto", "reward", "grpo")
SIZES = {  # layers, width, heads, their size, feed-forward; the last one of SmolLM2-135M's depth and width
    "2.25M": (4, 160, 5, 32, 448),
    "15M": (7, 384, 6, 64, 1024),
    "123M": (30, 576, 9, 64, 1536),
}
CONTEXT, VOCABULARY, BATCH, GROUP, ANSWER = 256, 3072, 16, 8, 32
GOALS = {"2.25M": 3.0, "15M": 1.5, "123M": 1.5}
WARM_UP = 2
FILES = {"sft": "sft", "grpo": "prompts", "dpo": "pairs", "reward": "pairs", "kto": "judged"}


def texts() -> list[tuple[str, str]]:
    """Requests and answers of people, some 30 and 60 words of each."""
    found = []
    for path in sorted(TALKS.glob("*.json*")):
        for row in json.loads(path.read_text()):
            request, answer = row["instruction"].split()[:30], row["response"].split()[:60]
            if request and len(answer) > 20:
                found.append((" ".join(request), " ".join(answer)))
    return found[:1200]


def records(found: list[tuple[str, str]]) -> dict[str, list[dict[str, Any]]]:
    """What each objective learns from; a rejected answer is one to another request."""

    def turn(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    talks = [(turn("user", request), answer) for request, answer in found]
    others = [answer for _, answer in found[1:] + found[:1]]
    return {
        "sft": [{"messages": prompt + turn("assistant", answer)} for prompt, answer in talks],
        "prompts": [{"prompt": prompt} for prompt, _ in talks],
        "pairs": [
            {"prompt": prompt, "chosen": answer, "rejected": other}
            for (prompt, answer), other in zip(talks, others, strict=True)
        ],
        "judged": [
            {"prompt": prompt, "completion": (answer, other)[number % 2], "label": number % 2 == 0}
            for number, ((prompt, answer), other) in enumerate(zip(talks, others, strict=True))
        ],
    }


def prepare(work: Path, size: str) -> None:
    """Model, tokenizer and files, in our form and in Hugging Face's."""
    folders = {name: work / name for name in ("corpus", "tokenizer", "tokens", "model", "hf", "out")}
    for path in folders.values():
        path.mkdir()
    found = texts()
    pages = [f"{request}\n{answer}" for request, answer in found]
    written = (Document(document_id(str(n), text), text, f"http://x.test/{n}") for n, text in enumerate(pages))
    write_documents(folders["corpus"] / "documents.parquet", written)
    train.run(folders, TokenizerParams(vocab_size=VOCABULARY), folders["tokenizer"])
    tokenize.run(folders, Tokenize(), folders["tokens"])
    layers, width, heads, head_dim, ffn = SIZES[size]
    torch.manual_seed(0)
    model = Transformer(ModelConfig(VOCABULARY, layers, width, heads, heads, head_dim, ffn, CONTEXT))
    save_model(model, folders["model"])
    save_model(reward.RewardModel(model), work / "reward")
    export.run({"model": folders["model"], "tokenizer": folders["tokenizer"]}, Export(), folders["hf"])
    for name, rows in records(found).items():
        write_jsonl(work / f"{name}.jsonl", rows)
    (work / "rewards.py").write_text("def even(prompt, answer, truth):\n    return float(len(answer) % 2 == 0)\n")


def ours(objective: str, work: Path, steps: int) -> dict[str, float]:
    """Seconds of CPU for a step of ours, as the loop makes it."""
    path = str(work / f"{FILES[objective]}.jsonl")
    rates: dict[str, Any] = {"adamw_lr": 0.001, "embed_lr": 0.001, "head_lr": 0.001}
    inputs = {name: work / name for name in ("model", "tokenizer", "tokens", "corpus")}
    made: Any
    if objective == "sft":
        made = sft.prepare(inputs, SFT(conversations=path, batch=BATCH, replay=0.0, **rates), work / "out")
    elif objective == "dpo":
        made = dpo.prepare(inputs, DPO(preferences=path, batch=BATCH, **rates), work / "out")
    elif objective == "kto":
        made = kto.prepare(inputs, KTO(preferences=path, batch=BATCH, **rates), work / "out")
    elif objective == "reward":
        made = reward.prepare(inputs, Reward(preferences=path, batch=BATCH, likelihood=0.0, **rates), work / "out")
    else:
        asked: dict[str, Any] = {
            "prompts": path,
            "reward": f"{work / 'rewards.py'}:even",
            "max_tokens": ANSWER,
            "group": GROUP,
        }
        made = rl.prepare(inputs, RL(**asked, batch=BATCH // 2, scale="group", **rates), work / "out")
    optimizer, times, before = Optimizer(made.model, made.plan.rates), [], rss()
    with fast_products():
        for step in range(WARM_UP + steps):
            began = time.process_time()
            made.loss(step).value.backward()
            torch.nn.utils.clip_grad_norm_(made.model.parameters(), 1.0)
            optimizer.step(1.0)
            times.append(time.process_time() - began)
    return {"seconds": statistics.median(times[WARM_UP:]), "bytes": peak() - before}


def theirs(objective: str, work: Path, steps: int) -> dict[str, float]:
    """Seconds of CPU for a step of TRL's."""
    import trl
    from datasets import load_dataset
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        TrainerCallback,
    )

    times: list[float] = []

    class Clock(TrainerCallback):
        """Notes when each step ends."""

        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            """A step of the optimizer."""
            times.append(time.process_time())

    tokenizer = AutoTokenizer.from_pretrained(work / "hf")
    tokenizer.pad_token = tokenizer.pad_token or "<|endoftext|>"
    rows = load_dataset(
        "json", data_files=str(work / f"{FILES[objective]}.jsonl"), split="train", cache_dir=work / "cache"
    )
    if objective in ("dpo", "reward", "kto"):
        answers = [name for name in ("chosen", "rejected", "completion") if name in rows.column_names]
        rows = rows.map(lambda row: {name: [{"role": "assistant", "content": row[name]}] for name in answers})
    common: dict[str, Any] = dict(output_dir=str(work / "trl"), max_steps=WARM_UP + steps, report_to="none", bf16=False)
    common |= dict(
        use_cpu=True, gradient_checkpointing=False, save_strategy="no", logging_steps=10**6, disable_tqdm=True
    )
    common |= dict(learning_rate=1e-3, per_device_train_batch_size=BATCH, seed=0)
    if objective != "grpo":
        common["max_length"] = CONTEXT
    model: Any = AutoModelForCausalLM.from_pretrained(work / "hf")
    if objective == "reward":
        model = AutoModelForSequenceClassification.from_pretrained(work / "hf", num_labels=1)
        model.config.pad_token_id = tokenizer.pad_token_id
    kinds = {"sft": "SFT", "dpo": "DPO", "kto": "KTO", "reward": "Reward", "grpo": "GRPO"}
    more: dict[str, Any] = {}
    if objective == "grpo":
        common |= dict(per_device_train_batch_size=BATCH // 2 * GROUP, num_generations=GROUP, beta=0.05)
        common |= dict(max_completion_length=ANSWER, loss_type="grpo", temperature=1.0)
        more["reward_funcs"] = lambda completions, **_: [float(len(one[0]["content"]) % 2 == 0) for one in completions]
    config = getattr(trl, f"{kinds[objective]}Config")(**common)
    trainer = getattr(trl, f"{kinds[objective]}Trainer")(
        model, args=config, train_dataset=rows, processing_class=tokenizer, callbacks=[Clock()], **more
    )
    before = rss()
    trainer.train()
    gaps = [later - sooner for sooner, later in pairwise(times)]
    return {"seconds": statistics.median(gaps[WARM_UP - 1 :]), "bytes": peak() - before}


def rss() -> int:
    """Bytes that this process takes now."""
    return memory_of([os.getpid()], "VmRSS:")


def peak() -> int:
    """Bytes that it took at the most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(who: str, objective: str, work: Path, steps: int) -> dict[str, float]:
    """Run a contestant in a process of its own."""
    command = [sys.executable, __file__, "--contestant", who, "--objectives", objective, "--work", str(work)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, "--steps", str(steps)], check=False, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise SystemExit(f"{who}, {objective}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="2.25M")
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="under a minute, to see that it works")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        function = {"ours": ours, "trl": theirs}[options.contestant]
        print(json.dumps(function(options.objectives, options.work, options.steps)))
        return
    objectives, steps = options.objectives.split(","), options.steps
    if options.quick:
        objectives, steps = ["dpo"], 3
    results: list[dict[str, Any]] = []
    for size in options.sizes.split(","):
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            prepare(work, size)
            for objective in objectives:
                found = {who: measure(who, objective, work, steps) for who in ("ours", "trl") if who == "ours" or trl()}
                results += claims(size, objective, found)
    print(json.dumps({"benchmark": "posttrain", "results": results}))


def trl() -> bool:
    """Whether the peer is there."""
    return find_spec("trl") is not None


def claims(size: str, objective: str, found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """What one objective's figures say, printed too."""
    shape = SIZES[size]
    model = Transformer(ModelConfig(VOCABULARY, shape[0], shape[1], shape[2], shape[2], shape[3], shape[4], CONTEXT))
    samples = BATCH // 2 * GROUP if objective == "grpo" else BATCH
    rates = {who: samples / one["seconds"] for who, one in found.items()}
    made: list[dict[str, Any]] = [
        {"claim": f"{objective}, samples a second of CPU, {parameter_count(model) / 1e6:.2f} M parameters"}
        | {"unit": "samples/s", "ours": round(rates["ours"], 2), "better": "higher"}
        | {"goal": 5.0 if objective == "grpo" else GOALS[size]},
        {
            "claim": f"{objective}, memory of training, {size}",
            "unit": "MB",
            "ours": round(found["ours"]["bytes"] / 1e6, 1),
        }
        | {"better": "lower", "goal": 1.0},
    ]
    if "trl" in found:
        from importlib.metadata import version

        peer = f"TRL {version('trl')}"
        made[0] |= {"peer": peer, "theirs": round(rates["trl"], 2), "ratio": round(rates["ours"] / rates["trl"], 3)}
        share = found["trl"]["bytes"] / max(1.0, found["ours"]["bytes"])
        made[1] |= {"peer": peer, "theirs": round(found["trl"]["bytes"] / 1e6, 1), "ratio": round(share, 3)}
    for one in made:
        print(f"{one['claim']}: {one['ours']} (TRL {one.get('theirs', '–')}; {one.get('ratio', '–')})", flush=True)
    return made


if __name__ == "__main__":
    main()
