"""Training speed on this machine: our step in float32, in bfloat16, and transformers' Qwen3 with AdamW.

Same shape, same batches; the contestants take turns within one run, so that noise hits all alike; medians are told.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
import transformers

from gristmill.model.transformer import ModelConfig, Transformer
from gristmill.training.data import cross_entropy
from gristmill.training.optimizer import Optimizer, Rates

SHAPE = ModelConfig(vocab_size=1536, layers=4, width=160, heads=5, kv_heads=5, head_dim=32, ffn_width=448, context=256)
BATCH = 8


def ours(dtype: torch.dtype) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """One training step of ours, in float32 or under bfloat16 autocast."""
    torch.manual_seed(0)
    model = Transformer(SHAPE)
    optimizer = Optimizer(model, Rates(0.02, 0.02, 0.005))

    def step(ids: torch.Tensor, targets: torch.Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = cross_entropy(model, ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(1.0)

    return step


def theirs() -> Callable[[torch.Tensor, torch.Tensor], None]:
    """One training step of the same model in transformers, with PyTorch's fused AdamW."""
    config = transformers.Qwen3Config(
        vocab_size=SHAPE.vocab_size,
        hidden_size=SHAPE.width,
        intermediate_size=SHAPE.ffn_width,
        num_hidden_layers=SHAPE.layers,
        num_attention_heads=SHAPE.heads,
        num_key_value_heads=SHAPE.kv_heads,
        head_dim=SHAPE.head_dim,
        tie_word_embeddings=False,
    )
    model = transformers.Qwen3ForCausalLM(config).float().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step(ids: torch.Tensor, targets: torch.Tensor) -> None:
        logits = model(input_ids=ids, use_cache=False).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Measure and print."""
    rounds = 8 if "--quick" in sys.argv else 40
    contestants = {"float32": ours(torch.float32), "bfloat16": ours(torch.bfloat16), "transformers": theirs()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 2):
        ids = torch.randint(SHAPE.vocab_size, (BATCH, SHAPE.context + 1))
        for name, step in contestants.items():
            start = time.perf_counter()
            step(ids[:, :-1], ids[:, 1:])
            if number >= 2:  # warm-up
                seconds[name].append(time.perf_counter() - start)
    rate = {name: BATCH * SHAPE.context / statistics.median(times) for name, times in seconds.items()}
    print({name: f"{value:,.0f} tokens/s" for name, value in rate.items()}, f"{torch.get_num_threads()} threads")
    peers = {"transformers": f"transformers {transformers.__version__} AdamW", "bfloat16": "ours in bfloat16 autocast"}
    results = [
        {
            "claim": f"training tokens/s, float32, against {peer}",
            "unit": "tokens/s",
            "ours": round(rate["float32"], 1),
            "peer": peer,
            "theirs": round(rate[name], 1),
            "ratio": round(rate["float32"] / rate[name], 3),
            "goal": 1.0,
            "better": "higher",
        }
        for name, peer in peers.items()
    ]
    print(json.dumps({"benchmark": "pretrain", "results": results}))


if __name__ == "__main__":
    main()
