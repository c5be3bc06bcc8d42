"""One optimizer for all stages: Muon for the matrices, or AdamW, which embeddings, head and norms have; and the mean
of weights."""

from __future__ import annotations

from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gristmill.model.kernels import fast_products, rounds_factors
from gristmill.recipe import Pretrain, Tune
from gristmill.training.parallel import gathered, like, local, own, shared_out


@dataclass(frozen=True)
class Rates:
    """Peak learning rates by kind of parameter."""

    muon: float
    embed: float
    head: float
    weight_decay: float = 0.0
    adamw: float = 0.0  # of the layers' matrices instead of Muon's, where it is above 0
    normuon: bool = False  # Muon's updates evened out by neuron

    @classmethod
    def of(cls, params: Pretrain | Tune) -> Rates:
        """The rates that a stage's parameters name."""
        rates = (params.muon_lr, params.embed_lr, params.head_lr, params.weight_decay)
        return cls(*rates, adamw=params.adamw_lr) if isinstance(params, Tune) else cls(*rates, normuon=params.normuon)

    def scaled(self, factor: float) -> Rates:
        """The same proportions at another size."""
        rates = {name: getattr(self, name) * factor for name in ("muon", "embed", "head", "adamw")}
        return replace(self, **rates)


POLAR_EXPRESS = (  # arXiv:2505.16932: the polynomials that bring singular values of 0.001 and more to 1 fastest
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845749693, 0.4188073119525673),
)
RISE = 300  # steps: nanochat's


def orthogonalize(g_NRC: Tensor) -> Tensor:
    """Bring every matrix of a stack near to its closest semi-orthogonal one (singular values about 1), as Muon does
    (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

    It runs in float32 on CPUs, whatever the model's products are in: as all directions of a gradient come out equally
    long, what rounding adds to the small ones would be as long as the large ones.
    """
    x = g_NRC.bfloat16() if g_NRC.is_cuda else g_NRC
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = x / (1.01 * torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)  # 1.01: what rounding may add must not diverge
    with fast_products(False) if not x.is_cuda and rounds_factors() else nullcontext():
        for a, b, c in POLAR_EXPRESS:
            square = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)  # ax + (bS + cSS)x
    return (x.mT if tall else x).to(g_NRC.dtype)


def evened(update_NRC: Tensor, square_NR1: Tensor) -> Tensor:
    """Updates whose rows (neurons) are about equally long over time, and each matrix as long as before. `square_NR1`,
    the running mean square of each row, moves on (NorMuon, arXiv:2510.05491)."""
    length_N11 = torch.linalg.matrix_norm(update_NRC, keepdim=True)
    square_NR1.lerp_(update_NRC.square().mean(-1, keepdim=True), 0.05)
    evened_NRC: Tensor = update_NRC * (square_NR1 + 1e-20).rsqrt()
    evened_NRC *= length_N11 / (torch.linalg.matrix_norm(evened_NRC, keepdim=True) + 1e-20)
    return evened_NRC


class Optimizer:
    """Steps a model's parameters; matrices of one shape are stacked and stepped together.

    Muon's update of an R × C matrix is scaled by sqrt(max(1, R / C)); Nesterov momentum 0.95, with `normuon` from 0.85
    to 0.97 over the first RISE steps. Of a model that is sharded, each process keeps the state of its own rows.
    Matrices are gathered for orthogonalising only, of which each process does a share.
    """

    def __init__(self, model: nn.Module, rates: Rates) -> None:
        self.rates = rates
        self.names: dict[Tensor, str] = {weight: name for name, weight in model.named_parameters()}
        self.stacks: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        for name, weight in model.named_parameters():
            if not weight.requires_grad:
                continue
            layers = weight.ndim == 2 and ".layers." in f".{name}"
            if layers and not rates.adamw:
                self.stacks[weight.size(0), weight.size(1)].append(weight)
            elif layers:
                groups[rates.adamw, rates.weight_decay].append(weight)
            else:
                groups[rates.embed if "embed" in name else rates.head, 0.0].append(weight)
        self.momentum = {
            shape: torch.stack([torch.zeros_like(local(weight), requires_grad=False) for weight in stack])
            for shape, stack in self.stacks.items()
        }
        self.squares = {
            shape: momentum.new_zeros(len(momentum), shape[0], 1)
            for shape, momentum in self.momentum.items()
            if rates.normuon
        }
        self.adam = [Adam(weights, rate, decay) for (rate, decay), weights in groups.items()]

    @torch.no_grad()
    def step(self, share: float, done: int = 0) -> None:
        """Apply the gradients at `share` (0..1) of the peak rates, and clear them; `done` steps came before."""
        for group in self.adam:
            group.step(share)
        beta = 0.85 + 0.12 * min(1.0, done / RISE) if self.rates.normuon else 0.95
        rate = self.rates.muon * share
        for shape, stack in self.stacks.items():
            gradient = torch.stack([local(weight.grad) for weight in stack if weight.grad is not None])
            momentum = self.momentum[shape]
            momentum.lerp_(gradient, 1 - beta)
            update = shared_out(orthogonalize, gathered(gradient.lerp(momentum, beta), stack[0]))
            if self.rates.normuon:
                update = evened(update, self.squares[shape])
            rows = [local(weight) for weight in stack]
            changes = [own(change, weight) for weight, change in zip(stack, update, strict=True)]
            if self.rates.weight_decay:
                torch._foreach_mul_(rows, 1 - rate * self.rates.weight_decay)
            torch._foreach_add_(rows, changes, alpha=-rate * max(1.0, shape[0] / shape[1]) ** 0.5)
            for weight in stack:
                weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """All state as named tensors, each weight's under its name. Writing into them changes the optimizer."""
        tensors = {
            f"muon.{self.names[weight]}": like(rows, weight)
            for shape, stack in self.stacks.items()
            for weight, rows in zip(stack, self.momentum[shape], strict=True)
        }
        for shape, squares in self.squares.items():
            names = (self.names[weight] for weight in self.stacks[shape])
            tensors |= {f"normuon.{name}": square for name, square in zip(names, squares, strict=True)}
        for group in self.adam:
            for weight, values in group.state.items():
                tensors |= {f"adam.{name}.{self.names[weight]}": value for name, value in values.items()}
        return tensors


class Adam:
    """AdamW (arXiv:1711.05101) of some weights by PyTorch's fused kernel, with betas 0.9 and 0.95 and eps 1e-10.

    `torch.optim.AdamW` computes the same, and imports PyTorch's compiler to begin with: a second of processor time.
    """

    def __init__(self, weights: list[nn.Parameter], peak: float, decay: float) -> None:
        self.weights, self.peak, self.decay = weights, peak, decay
        self.state = {
            weight: {
                "step": torch.zeros((), device=weight.device),
                **{name: torch.zeros_like(weight, requires_grad=False) for name in ("exp_avg", "exp_avg_sq")},
            }
            for weight in weights
        }

    def step(self, share: float) -> None:
        """Apply the gradients that there are at `share` of the peak rate, and clear them."""
        steps = [
            [local(tensor) for tensor in (weight, weight.grad, *self.state[weight].values())]
            for weight in self.weights
            if weight.grad is not None
        ]
        if steps:
            weights, gradients, counts, means, squares = map(list, zip(*steps, strict=True))
            torch._foreach_add_(counts, 1)
            rates = {"lr": self.peak * share, "weight_decay": self.decay, "beta1": 0.9, "beta2": 0.95, "eps": 1e-10}
            options: dict[str, Any] = {**rates, "amsgrad": False, "maximize": False}
            torch._fused_adamw_(weights, gradients, means, squares, [], counts, **options)
        for weight in self.weights:
            weight.grad = None


class WeightMean:
    """Stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407): at an even rate the weights go on moving
    around what they would settle at, and their mean lies there. With a share of nothing it does nothing."""

    def __init__(self, model: nn.Module, steps: int, share: float) -> None:
        """Of the last `share` (0..1) of so many steps, of the weights that are trained."""
        self.first = steps - max(1, round(share * steps))  # steps done before the first that counts
        self.weights = {name: weight for name, weight in model.named_parameters() if share and weight.requires_grad}
        self.means = {name: torch.zeros_like(local(weight)) for name, weight in self.weights.items()}

    @torch.no_grad()
    def add(self, done: int) -> None:
        """Take in the weights as they are after so many steps."""
        if done > self.first:
            for name, mean in self.means.items():
                mean.lerp_(local(self.weights[name]), 1 / (done - self.first))

    @torch.no_grad()
    def take(self) -> None:
        """Let it be the model's weights."""
        for name, mean in self.means.items():
            local(self.weights[name]).copy_(mean)

    def state(self) -> dict[str, Tensor]:
        """All state as named tensors. Writing into them changes it."""
        return {f"mean.{name}": like(mean, self.weights[name]) for name, mean in self.means.items()}


def share_of_peak(step: int, steps: int, warmup: float, decay: float) -> float:
    """Warm-up, stable, linear decay to zero: the share of the peak rate at a step (arXiv:2404.06395).

    `warmup` and `decay` are shares of all steps.
    """
    rising = max(1.0, warmup * steps)
    falling = max(1.0, decay * steps)
    return min(1.0, (step + 1) / rising, (steps - step) / falling)
