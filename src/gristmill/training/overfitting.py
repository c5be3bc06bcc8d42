"""Learning or memorising: what the gap between training text and held-out text says while training goes on.

Both are scored on the same documents each time, so the difference between two scorings is the model's doing. The gap
itself is not: one sample of documents is harder than the other. What counts is how it grows.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from gristmill.training.watch import Records, Watch

OPEN = 0.1  # of held-out bits per byte: growth of the gap that is reported
WORSE = 0.01  # of the best held-out bits per byte: a rise that is reported
IN_A_ROW = 3  # scorings that must agree
MEASURES = (("heldout_bpb", "train_bpb"), ("heldout_loss", "train_loss"))  # bits a byte, nats a token
REMEDY = "fewer epochs, a smaller model, more text, or goldfish = 4"
TUNING_REMEDY = "against it: fewer epochs, a lower lr, or more conversations"


def growth(records: Records) -> list[float]:
    """For each scoring, how much the gap has grown since it was smallest, as a share of held-out bits per byte.

    The first scoring (of a model that knows nothing) is left out of what is smallest.
    """
    gaps = [(heldout - train) / max(heldout, 1e-9) for _, heldout, train in scored(records)]
    return [0.0] * bool(gaps) + [gap - least for gap, least in zip(gaps[1:], accumulate(gaps[1:], min), strict=True)]


def scored(records: Records) -> list[tuple[int, float, float]]:
    """The scorings: step, held-out and training figure."""
    return [
        (int(record["step"]), record[names[0]], record[names[1]])
        for record in records
        for names in MEASURES
        if {*names} <= record.keys()
    ]


def warnings(records: Records) -> dict[str, int]:
    """`gap_opens` and `heldout_rises`, each with the step at which IN_A_ROW scorings agreed; none if all is well."""
    kept = scored(records)
    heldout = [found for _, found, _ in kept]
    signs = {
        "gap_opens": [grown > OPEN for grown in growth(records)],
        "heldout_rises": [
            bits > (1 + WORSE) * best for bits, best in zip(heldout, accumulate(heldout, min), strict=True)
        ],
    }
    found: dict[str, int] = {}
    for name, sign in signs.items():
        for last in range(IN_A_ROW - 1, len(kept)):
            if name not in found and all(sign[last - IN_A_ROW + 1 : last + 1]):
                found[name] = kept[last][0]
    return found


WATCH = Watch(
    warnings,
    {
        "gap_opens": "training text is predicted ever better than held-out text: it is being memorised",
        "heldout_rises": "held-out text is predicted worse than before: the model overfits",
    },
    REMEDY,
)
TUNING = replace(  # of fine-tuning
    WATCH,
    remedy=TUNING_REMEDY,
    meanings={
        "gap_opens": "conversations that it trains on are predicted ever better than held-out ones: they are partly"
        " learned by heart; where held-out ones get worse, that is told, too",
        "heldout_rises": "held-out conversations are predicted worse than before: the model overfits",
    },
)
