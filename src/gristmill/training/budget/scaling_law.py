"""The law that loss follows: L(N, D) = E + A / N^α + B / D^β for N parameters and D tokens (Hoffmann et al. 2022,
arXiv:2203.15556, §3.3), fitted to a ladder of trained models.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from gristmill.errors import UserError
from gristmill.progress import counted

HUBER = 1e-3  # δ of the loss on log L (appendix D.2)
EXPONENTS = (0.05, 1.5)  # where α and β are looked for
GRID, ZOOMS, REWEIGHTINGS = 24, 5, 4
FULL = (3, 7)  # sizes, token counts and models from which on α and β are told apart


@dataclass(frozen=True)
class Law:
    """Loss in any unit, from parameters and tokens."""

    e: float
    a: float
    alpha: float
    b: float
    beta: float

    def __call__(self, parameters: float, tokens: float) -> float:
        """The loss, in nats per token."""
        return float(self.e + self.a * parameters**-self.alpha + self.b * tokens**-self.beta)


def check_grid(sizes: int, counts: int) -> None:
    """Raise UserError where models of so many sizes, on so many numbers of tokens, cannot tell size and data apart."""
    if min(sizes, counts) < 2 or sizes + counts < 5:  # a grid tells sizes + counts - 1 numbers apart
        models = f"models of {counted(sizes, 'sizes')} on {counted(counts, 'token counts')}"
        raise UserError(
            f"{models} do not tell a law of size and data",
            "use two sizes and three token counts at least, better four of each",
        )


def fit(parameters: np.ndarray, tokens: np.ndarray, losses: np.ndarray) -> Law:
    """The law that fits best: Huber's loss on the difference of logarithms, E, A and B not below 0.

    Given α and β the rest is a small linear problem, so both are searched on a grid, which is drawn closer again and
    again: no starting values, no local minima nearby. With fewer than 3 sizes, 3 token counts or 7 models, α = β.
    Raises UserError where the points cannot tell size and data apart.
    """
    sizes, counts = len(set(parameters)), len(set(tokens))
    check_grid(sizes, counts)
    n, d = parameters / np.exp(np.log(parameters).mean()), tokens / np.exp(np.log(tokens).mean())
    full = min(sizes, counts) >= FULL[0] and len(losses) >= FULL[1]
    low, high = np.full(2, EXPONENTS[0]), np.full(2, EXPONENTS[1])
    for _ in range(ZOOMS):
        axes = [np.geomspace(low[i], high[i], GRID) for i in range(2)]
        exponents = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2) if full else np.stack([axes[0]] * 2, -1)
        values, objective = solve(n, d, losses, exponents)
        best = int(objective.argmin())
        factor = (high / low) ** (2 / GRID)
        low, high = exponents[best] / factor, exponents[best] * factor
    (alpha, beta), (e, a, b) = exponents[best], values[best]
    a, b = a * (parameters / n)[0] ** alpha, b * (tokens / d)[0] ** beta
    return Law(*(float(value) for value in (e, a, alpha, b, beta)))


def solve(n: np.ndarray, d: np.ndarray, losses: np.ndarray, exponents_G2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each pair of exponents the best E, A, B [G, 3] and what is left over [G]: reweighted least squares."""
    powers = [x ** -exponents_G2[:, i, None] for i, x in enumerate((n, d))]
    terms_GPX = np.stack((np.ones_like(powers[0]), *powers), -1)
    terms_GPX = terms_GPX / losses[:, None]  # relative errors are those of logarithms, as far as they are small
    weights_GP = np.ones(terms_GPX.shape[:2])
    for _ in range(REWEIGHTINGS):
        values_GX = bounded(terms_GPX, weights_GP)
        left_GP = np.abs(np.log(np.maximum(np.einsum("gpx,gx->gp", terms_GPX, values_GX), 1e-9)))
        weights_GP = np.minimum(1.0, HUBER / np.maximum(left_GP, 1e-12))
    huber = np.where(left_GP < HUBER, left_GP**2 / 2, HUBER * (left_GP - HUBER / 2))
    return values_GX, huber.sum(1)


def bounded(terms_GPX: np.ndarray, weights_GP: np.ndarray) -> np.ndarray:
    """Least squares for a sum of 1 with no coefficient below 0: the best of all ways to leave some out."""
    best_GX = np.zeros((len(terms_GPX), 3))
    least_G = np.full(len(terms_GPX), np.inf)
    for count in (1, 2, 3):
        for kept in combinations(range(3), count):
            x = terms_GPX[:, :, kept]
            square = np.einsum("gpx,gp,gpy->gxy", x, weights_GP, x)
            square += 1e-13 * np.eye(count) * np.trace(square, axis1=1, axis2=2)[:, None, None]
            values = np.linalg.solve(square, np.einsum("gpx,gp->gx", x, weights_GP)[..., None])[..., 0]
            left = (weights_GP * (np.einsum("gpx,gx->gp", x, values) - 1) ** 2).sum(1)
            better = (values >= 0).all(1) & (left < least_G)
            least_G[better] = left[better]
            best_GX[better] = 0
            best_GX[np.ix_(better, kept)] = values[better]
    return best_GX
