"""Settings of what no recipe names: of stages that commands run by themselves."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gristmill.recipe import Params, Pretrain
from gristmill.settings.types import Budget, Size


class Scale(Params):
    """`gristmill scale`: tokens → what size and data a budget is best spent on, from a ladder of small models."""

    pretrain: Pretrain = Pretrain()  # what all of them share
    sizes: list[Size] = Field([])  # parameters, as `500k`; empty: the smallest there is, and up to 5 times it
    tokens: list[Size] = Field(["250k", "500k", "1M"])
    budgets: list[Budget] = Field([])  # as `1h` or `1e15`: reported, next to 1, 10 and 100 times the costliest model


class Index(Params):
    """Training tokens → tables that find any text in them: `gristmill trace` and `count` make and use them."""

    table_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] = 2**25  # of a table; being made it takes 14 bytes each
