"""The memory of pretraining at its peak, from settings alone: nothing is made or run.

Counted is what lives at the same time: numbers that layers keep for their gradient (`model/kernels.py`, on a GPU
`model/gpu_kernels.py` in bfloat16 and compiled), the head and its loss in chunks (`model/loss.py`), weights, gradients,
and the optimizer with what it needs in passing (`training/optimizer.py`). On a CPU a quarter comes on top, as tensors
of many sizes leave pieces of the heap that no other fits into. What the process has besides, as Python and PyTorch, is
not counted: about 400 MiB.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gristmill.model.loss import CHUNK_LOGITS, CHUNK_TOKENS
from gristmill.recipe import Pretrain
from gristmill.training.budget.sizing import layer_weights, parameters

FULL, LOW = 4, 2  # bytes of a float32 and of a bfloat16
HEAP = 1.25  # glibc's, for the bytes of the tensors in it: 1.16 to 1.25 measured (docs/notebook/budget.md)


@dataclass(frozen=True)
class Memory:
    """Bytes of one process at the peak."""

    state: int  # weights and the optimizer's state
    step: int  # what a step has besides, at most

    @property
    def peak(self) -> int:
        """All together."""
        return self.state + self.step


def training_memory(
    made: Pretrain, vocab_size: int, gpu: bool, processes: int = 1, adapters: bool = False, swa: bool = False
) -> Memory:
    """What each of some processes takes, whose matrix products run in bfloat16 on a GPU and in float32 on a CPU.

    Where `adapters` alone are trained (LoRA), weights have no gradients and no state of an optimizer; with `swa`, their
    mean is held.
    """
    weights, layers = parameters(made, vocab_size), made.layers * layer_weights(made)
    others = weights - layers
    shards = processes if made.parallel == "fsdp" else 1
    trained = 0 if adapters else 1
    kept = layers + 2 * others + swa * weights  # Muon has one number a weight, AdamW two
    state = FULL * (weights + trained * kept) // shards
    gradients = trained * FULL * weights // shards
    tokens = made.batch * made.context // (processes * made.accumulate)
    computing = max(at_the_loss(made, vocab_size, tokens, gpu), in_the_last_layer(made, vocab_size, tokens, gpu))
    computing += activations(made, tokens, gpu)
    if made.accumulate > 1 or (processes > 1 and shards == 1):  # of the parts before; DDP's stay where they are
        computing += gradients
    if shards > 1:  # embedding and head are whole with their gradients, and the layer at hand and the next one
        computing += 2 * FULL * others + 3 * (LOW if gpu else FULL) * layer_weights(made)
    sampling = 0 if gpu else 2 * FULL * weights  # packed for generation, and all of it put together
    step = max(computing, gradients + trained * updating(made), sampling)
    return Memory(state, step) if gpu else Memory(round(HEAP * state), round(HEAP * step))


def activations(made: Pretrain, tokens: int, gpu: bool) -> int:
    """What layers keep for their gradient; with `recompute`, their inputs, and one layer the rest."""
    kept = tokens * layer_bytes(made, gpu)
    return tokens * made.layers * FULL * made.width + kept if made.recompute else made.layers * kept


def layer_bytes(made: Pretrain, gpu: bool) -> int:
    """What a layer keeps of one token for its gradient."""
    width, queries, keys = made.width, made.heads * made.head_dim, made.kv_heads * made.head_dim
    residual = 2 * FULL * width  # before attention and before the feed-forward layer
    if not gpu:  # both of them normalised; queries, keys, values and the outcome; gate, up and their product
        return residual + FULL * (2 * width + 2 * (queries + keys) + made.heads + 3 * made.ffn_width)
    turned = queries + keys  # normalised and rotated, next to what they were
    return residual + LOW * (2 * width + 2 * (queries + keys) + turned + 3 * made.ffn_width) + FULL * made.heads


def at_the_loss(made: Pretrain, vocab_size: int, tokens: int, gpu: bool) -> int:
    """What comes on top of the layers' while the loss is computed, and its gradient, which is as long."""
    table = vocab_size * made.width
    if gpu:  # last states, normalised before and after the weight, and rounded; two chunks of logits
        chunks = 2 * LOW * vocab_size * min(tokens, CHUNK_TOKENS)
        return tokens * made.width * (2 * FULL + 3 * LOW) + max(chunks + (FULL + LOW) * table, 2 * FULL * table)
    chunks = 2 * FULL * min(CHUNK_LOGITS, vocab_size * tokens)
    return tokens * made.width * 5 * FULL + max(chunks + FULL * table, 2 * FULL * table)


def in_the_last_layer(made: Pretrain, vocab_size: int, tokens: int, gpu: bool) -> int:
    """What comes on top of the layers' while the first gradients of a layer are computed."""
    passing = tokens * (FULL * made.width + (LOW if gpu else FULL) * 2 * made.ffn_width)
    return passing + FULL * (vocab_size * made.width + made.width * made.ffn_width)


def updating(made: Pretrain) -> int:
    """What Muon needs in passing: of the largest stack of matrices of one shape four more, and their squares."""
    queries, keys = made.heads * made.head_dim, made.kv_heads * made.head_dim
    stacks: Counter[tuple[int, int]] = Counter()
    for rows, columns, count in (
        *((queries, made.width, 1), (keys, made.width, 2), (made.width, queries, 1)),
        *((made.ffn_width, made.width, 2), (made.width, made.ffn_width, 1)),
    ):
        stacks[rows, columns] += count * made.layers
    sizes = (count * (4 * rows * columns + 3 * min(rows, columns) ** 2) for (rows, columns), count in stacks.items())
    return FULL * max(sizes)
