"""One dial: a size, a time or an amount of computing → the shape, the batch, the rates and the steps of pretraining.

The rules, none of which touches what was set by hand:

- Heads of 32 up to width 224, of 64 up to 1,984, of 128 from 2,048; as many as the width holds, each with keys and
  values of its own.
- A layer for every 64 of width, at least 4. SwiGLU of 8/3 the width; to meet a size, between 2 and 4 times the width.
- Tokens: TOKENS_PER_PARAMETER a parameter, but no document more than MOST_EPOCHS times: up to there a repeated token is
  worth about as much as a new one (Muennighoff et al. 2023, arXiv:2305.16264).
- A batch of 2,048 tokens for a million, growing with the square root of the tokens (Bergsma et al. 2025,
  arXiv:2505.13738, find powers of 0.4 to 0.5).
- Rates of embeddings and head fall with the square root of the width; Muon's needs no change.
- With a budget, the largest model that can still read its tokens; what is over goes into more tokens.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from gristmill.errors import UserError
from gristmill.model.transformer import ModelConfig
from gristmill.processes import SIZE
from gristmill.recipe import Pretrain
from gristmill.settings.choices import LENGTH, by_hand, named
from gristmill.settings.choices import SHAPE as SIZES
from gristmill.settings.quantities import parameters_of, seconds_and_flops

SHAPE = (*SIZES, "context", "tie_embeddings")
TOKENS_PER_PARAMETER = 20.0
MOST_EPOCHS = 4.0
BATCH_TOKENS = 2048  # for a million tokens in all
LARGEST = 16384  # width
MOST_EVALUATIONS = 20
MISSED = 1.25  # by which factor a size may be missed


class Clock(Protocol):
    """Knows what training takes on this machine."""

    def __call__(self, made: Pretrain, steps: int, exact: bool = False) -> float:
        """Seconds that so many steps take with these settings; `exact` is asked of the model that was chosen."""


def config_of(params: Pretrain, vocab_size: int) -> ModelConfig:
    """The model that the settings describe."""
    return ModelConfig(vocab_size=vocab_size, **{name: getattr(params, name) for name in SHAPE})


def parameters(params: Pretrain, vocab_size: int) -> int:
    """How many parameters the model has, exactly."""
    norms = 2 * params.width + 2 * params.head_dim
    tables = vocab_size * params.width * (1 if params.tie_embeddings else 2)
    return tables + params.layers * (layer_weights(params) + norms) + params.width


def layer_weights(params: Pretrain | ModelConfig) -> int:
    """The weights of a layer's matrices."""
    attention = 2 * params.width * params.head_dim * (params.heads + params.kv_heads)
    return attention + 3 * params.width * params.ffn_width


def flops_per_token(params: Pretrain | ModelConfig, vocab_size: int) -> float:
    """FLOPs of forward and backward a token: 6 a weight that multiplies (the head's among them, be it
    tied or not), and attention over the whole context (Chowdhery et al. 2022, arXiv:2204.02311, appendix B). The
    optimizer's are not counted.
    """
    attention = 12.0 * params.layers * params.heads * params.head_dim * params.context
    return 6.0 * (vocab_size * params.width + params.layers * layer_weights(params)) + attention


def turn(params: Pretrain, vocab_size: int, epoch_tokens: int, clock: Clock | None = None) -> dict[str, Any]:
    """What `size` and `budget` choose: settings by name, those set by hand left out.

    `epoch_tokens` are read in an epoch; `clock` is asked where the budget is a time. Raises UserError where the size or
    the budget cannot be met.
    """
    hand, shapes = by_hand(params), family(params)
    seconds, flops = seconds_and_flops(params.budget)

    def planned(shape: Pretrain) -> tuple[Pretrain, int]:
        """Batch and rates for a shape, and the steps that it is due."""
        due = tokens_due(params, parameters(shape, vocab_size), epoch_tokens)
        made = shape.model_copy(update=by_hand_wins(hand, batch_and_rates(shape, due)))
        return made, params.max_steps or max(1, round(due / (made.batch * made.context)))

    def cost(made: Pretrain, steps: int, exact: bool = False) -> float:
        """What so many steps take, in the budget's unit."""
        if seconds and clock:
            return clock(made, steps, exact)
        return flops_per_token(made, vocab_size) * made.batch * made.context * steps

    index, limit = 0, seconds or flops
    if params.size:
        made, steps = planned(nearest(shapes, parameters_of(params.size), vocab_size, hand))
    else:
        index = largest(len(shapes), lambda i: cost(*planned(shapes[i])) <= limit)
        made, steps = planned(shapes[index])
    if params.budget and hand & set(LENGTH):
        while cost(made, steps, exact=True) > limit:  # the rough cost was too low
            if index == 0:
                raise too_little(params, f"{steps:,} steps", parameters(made, vocab_size))
            index -= 1
            made, steps = planned(shapes[index])
    elif params.budget:
        paid = most_steps(limit, partial(cost, made)) * made.batch * made.context
        made = made.model_copy(update=by_hand_wins(hand, batch_and_rates(made, paid)))  # for the tokens that are read
        steps = most_steps(limit, partial(cost, made, exact=True))
        if steps < 1:
            raise too_little(params, "one step", parameters(made, vocab_size))
    chosen = {name: getattr(made, name) for name in TURNED}
    chosen |= {"max_steps": steps, "evaluate_every": max(made.evaluate_every, steps // MOST_EVALUATIONS)}
    return by_hand_wins(hand, chosen)


def most_steps(limit: float, cost: Callable[[int], float]) -> int:
    """How many steps cost no more than the limit."""
    return bisect_right(range(1, 1 << 40), limit, key=cost)


def too_little(params: Pretrain, what: str, size: int) -> UserError:
    """Why a budget cannot be kept."""
    return UserError(
        f"pretrain.budget = {params.budget} is too little for {what} of a model of {size:,} parameters",
        "give more, or a smaller size, or less to read",
    )


TURNED = (*SIZES, "batch", "embed_lr", "head_lr")


def evaluations(steps: int, params: Pretrain) -> int:
    """How often a training of that many steps is looked at."""
    hand = "evaluate_every" in params.model_fields_set
    return steps // (params.evaluate_every if hand else max(params.evaluate_every, steps // MOST_EVALUATIONS)) + 1


def by_hand_wins(hand: set[str], chosen: dict[str, Any]) -> dict[str, Any]:
    """What was chosen without what was set by hand."""
    return {name: value for name, value in chosen.items() if name not in hand}


def family(params: Pretrain) -> list[Pretrain]:
    """The shapes to choose from, small to large; one where width and layers are set by hand."""
    hand = params.model_fields_set
    if "width" in hand:
        widths = [(params.width, layers) for layers in range(1, 129)]
    else:
        widths = [(width, max(4, width // 64)) for width in range(32, LARGEST + 1, 16) if width % grid(width) == 0]
    shapes = []
    for width, layers in [(params.width, params.layers)] if {"width", "layers"} <= hand else widths:
        head_dim = params.head_dim if "head_dim" in hand else head_size(width)
        if "heads" in hand and "head_dim" not in hand:
            head_dim = max(2, width // params.heads // 2 * 2)
        heads = params.heads if "heads" in hand else max(1, width // head_dim)
        ffn_width = max(32, round(width * 8 / 3 / 32) * 32)
        chosen = dict(width=width, layers=layers, head_dim=head_dim, heads=heads, kv_heads=heads, ffn_width=ffn_width)
        shape = params.model_copy(update=by_hand_wins(hand, chosen))
        if shape.heads % shape.kv_heads == 0 and shape.head_dim % 2 == 0:
            shapes.append(shape)
    if not shapes:
        by = named(params, [name for name in SIZES if name in hand])
        raise UserError(f"{by}: no model has such a shape", "set less of the shape")
    return shapes


def head_size(width: int) -> int:
    """The size of a head."""
    return 32 if width < 256 else 64 if width < 2048 else 128


def grid(width: int) -> int:
    """Widths are multiples of the head size, but for the smallest: there would be few to choose from."""
    return 16 if width < 128 else head_size(width)


def nearest(shapes: list[Pretrain], size: int, vocab_size: int, hand: set[str]) -> Pretrain:
    """The shape of a family that comes nearest to a number of parameters, its feed-forward's width moved to meet it."""
    after = bisect_right(shapes, size, key=lambda shape: parameters(shape, vocab_size))
    if after == 0 and len(shapes) > 1:
        least = parameters(shapes[0], vocab_size)
        if least > MISSED * size:
            raise UserError(
                f"pretrain.size: with {vocab_size:,} tokens in the vocabulary, the smallest model has {least:,}"
                " parameters",
                "give a larger size, or train a tokenizer with a smaller vocab_size",
            )
    best = shapes[max(0, after - 1) : after + 1]
    if "ffn_width" not in hand:
        best = [
            shape.model_copy(update={"ffn_width": width})
            for shape in best
            for width in range(-(-2 * shape.width // 32) * 32, 4 * shape.width + 1, 32)
        ]
    found = min(best, key=lambda shape: abs(parameters(shape, vocab_size) - size))
    made, by = parameters(found, vocab_size), [name for name in SIZES if name in hand]
    if not 1 / MISSED < made / size < MISSED:
        wish = f"pretrain.size = {size:,} parameters"
        wish += f" contradicts {named(found, by)}" if by else " is out of reach"
        raise UserError(f"{wish}: the nearest model has {made:,}", "give another size, or set less of the shape")
    return found


def tokens_due(params: Pretrain, size: int, epoch_tokens: int) -> float:
    """How many tokens a model of that size is to read."""
    if params.max_steps:
        return float(params.max_steps * params.batch * params.context)
    if "epochs" in by_hand(params):
        return params.epochs * epoch_tokens
    return min(TOKENS_PER_PARAMETER * size, MOST_EPOCHS * epoch_tokens)


def batch_and_rates(shape: Pretrain, tokens: float) -> dict[str, Any]:
    """Rows a step, and the rates of embeddings and head: the defaults are those of the default width."""
    defaults = {name: Pretrain.model_fields[name].default for name in ("width", "embed_lr", "head_lr")}
    rows = BATCH_TOKENS * max(1.0, tokens / 1e6) ** 0.5 / shape.context
    rows, parts = max(1, round(rows)) if rows < 12 else round(rows / 8) * 8, shape.accumulate * SIZE
    factor = (shape.width / defaults["width"]) ** -0.5
    return {
        "batch": max(1, round(rows / parts)) * parts,  # it must divide among processes and their parts
        "embed_lr": round(defaults["embed_lr"] * factor, 5),
        "head_lr": round(defaults["head_lr"] * factor, 5),
    }


def largest(count: int, fits: Callable[[int], bool]) -> int:
    """The largest index for which `fits` holds, 0 where none does; asked of few, and of small ones first."""
    low, step = 0, 1  # low fits, or is 0
    while low + step < count and fits(low + step):
        low, step = low + step, step * 2
    high = min(low + step, count)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
