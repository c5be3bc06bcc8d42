"""Where a model looks: the attention of each head, taken while the model runs and not computed next to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gristmill.model.transformer import Transformer


@torch.no_grad()
def attention(model: Transformer, ids: Sequence[int]) -> Tensor:
    """How much each head lets each token look at those before it, [layers, heads, T, T]; every row sums to 1."""
    device = model.embed.weight.device
    past = torch.ones(1, 1, len(ids), len(ids), dtype=torch.bool, device=device).tril()
    with Recorder() as recorder:  # a mask that is written out is beyond any kernel of our own
        model.hidden(torch.tensor([list(ids)], device=device), mask=past)
    return torch.stack(recorder.weights)


class Recorder(TorchFunctionMode):
    """Sees every `scaled_dot_product_attention` that runs under it, and keeps its weights, which the fused kernels
    never write down: softmax(q kᵀ / √K) over what the mask allows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []  # of each layer: [H, T, T]

    def __torch_function__(
        self, called: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Let the call through; of attention, work out the weights too."""
        if called is F.scaled_dot_product_attention:
            q_BHTK, k_BGTK = (value.float() for value in args[:2])
            k_BHTK = k_BGTK.repeat_interleave(q_BHTK.size(1) // k_BGTK.size(1), dim=1)
            scores_BHTT = q_BHTK @ k_BHTK.mT * q_BHTK.size(-1) ** -0.5
            hidden = ~(kwargs or {})["attn_mask"]
            self.weights.append(scores_BHTT.masked_fill(hidden, -torch.inf).softmax(-1)[0].cpu())
        return called(*args, **kwargs or {})
