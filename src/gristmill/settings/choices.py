"""What of pretraining may be set together: `size` and `budget` choose, and cannot choose what is set already.

A size fixes how large the model is; so do `layers` and `width` together. A budget chooses two things, the size of the
model and how long it trains: either may be set, not both. Every other setting is a wish that the choice respects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.errors import UserError

if TYPE_CHECKING:
    from gristmill.recipe import Pretrain

SHAPE = ("layers", "width", "heads", "kv_heads", "head_dim", "ffn_width")
LENGTH = ("epochs", "max_steps")


def by_hand(params: Pretrain) -> set[str]:
    """The settings that were set, and not to a value that switches them off."""
    return {name for name in params.model_fields_set if name != "max_steps" or params.max_steps}


def refuse_contradictions(params: Pretrain) -> None:
    """Raise UserError where settings contradict each other: it names them and says how to remove one."""
    hand = by_hand(params)
    shape = [name for name in SHAPE if name in hand]
    dials = [name for name in ("size", "budget") if getattr(params, name)]
    if params.init_from and dials:
        raise UserError(
            f"{named(params, ['init_from', *dials])} contradict each other: that model has its size",
            f"leave out {options(dials)}, or {options(['init_from'])}",
        )
    fixed = {"layers", "width"} <= hand
    if params.size and fixed:
        raise UserError(
            f"{named(params, ['size', 'layers', 'width'])} contradict each other: both say how large the model is",
            f"for the size: {options(shape)}; for the shape: {options(['size'])}",
        )
    length = [name for name in LENGTH if name in hand]
    if params.budget and length and (params.size or fixed):
        size = ["size"] if params.size else ["layers", "width"]
        raise UserError(
            f"{named(params, ['budget', *length, *size])} contradict each other: a budget chooses the size of the"
            " model or how long it trains, and both are set",
            f"to train this model as long as the budget lasts: {options(length)}; to train it as long as is set:"
            f" {options(['budget'])}; for the largest model that the budget pays for:"
            f" {options(['size'] if params.size else shape)}",
        )


def named(params: Pretrain, names: list[str]) -> str:
    """Settings with their values, as a sentence lists them."""
    *first, last = [f"pretrain.{name} = {getattr(params, name)}" for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def options(names: list[str]) -> str:
    """The options that remove settings."""
    return " ".join(f"--set pretrain.{name}=" for name in names)
