"""What numbers a model's matrices are held in while it generates."""

from __future__ import annotations

from enum import StrEnum


class WeightType(StrEnum):
    """Norms and sums are float32 throughout. With int8, 32 weights share a scale, and what they multiply, keys and
    values have 16 bits."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"
