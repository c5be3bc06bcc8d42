"""The scaling law: found again in points that follow it, with noise and outliers, and where there are few."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.errors import UserError
from gristmill.training.budget.scaling_law import Law, fit

SIZES = np.array([3e5, 6e5, 1.2e6, 2.4e6])
COUNTS = np.array([2e5, 6e5, 1.8e6, 5.4e6])


def points(
    law: Law, sizes: np.ndarray = SIZES, counts: np.ndarray = COUNTS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of sizes and token counts, and what the law says of them."""
    n, d = (grid.flatten() for grid in np.meshgrid(sizes, counts))
    return n, d, np.array([law(*at) for at in zip(n, d, strict=True)])


@pytest.mark.parametrize(
    "law",
    [
        Law(1.69, 406.4, 0.34, 410.7, 0.28),  # Hoffmann et al. 2022, equation 10
        Law(1.8172, 482.01, 0.3478, 2085.43, 0.3658),  # Besiroglu et al. 2024, arXiv:2404.10102
        Law(0.8, 30.0, 0.25, 300.0, 0.45),
        Law(0.0, 30.0, 0.2, 300.0, 0.45),
    ],
)
def test_a_known_law_is_found(law: Law) -> None:
    n, d, losses = points(law)
    found = fit(n, d, losses)
    assert found.alpha == pytest.approx(law.alpha, rel=0.03) and found.beta == pytest.approx(law.beta, rel=0.03)
    assert found.e == pytest.approx(law.e, abs=0.05)
    assert found(1e8, 2e9) == pytest.approx(law(1e8, 2e9), rel=0.02)  # 40 and 370 times beyond
    for at in zip(n, d, strict=True):
        assert found(*at) == pytest.approx(law(*at), rel=1e-4)


def test_noise_and_an_outlier_do_little() -> None:
    law, draw = Law(0.8, 30.0, 0.25, 300.0, 0.4), np.random.default_rng(0)
    n, d, losses = points(law)
    losses *= 1 + 0.002 * draw.standard_normal(len(losses))
    losses[5] *= 1.2  # a run that went wrong
    found = fit(n, d, losses)
    assert found(5e6, 1e7) == pytest.approx(law(5e6, 1e7), rel=0.015)


def test_few_points_take_one_exponent() -> None:
    law = Law(0.9, 60.0, 0.3, 120.0, 0.3)
    found = fit(*points(law, SIZES[:2], COUNTS[:3]))
    assert found.alpha == found.beta and found(SIZES[1] * 3, COUNTS[2] * 3) == pytest.approx(
        law(SIZES[1] * 3, COUNTS[2] * 3), rel=0.01
    )


def test_what_cannot_be_told_apart_is_refused() -> None:
    law = Law(0.9, 60.0, 0.3, 120.0, 0.3)
    for sizes, counts in ((SIZES[:1], COUNTS), (SIZES, COUNTS[:1]), (SIZES[:2], COUNTS[:2])):
        with pytest.raises(UserError, match="do not tell a law"):
            fit(*points(law, sizes, counts))
