"""A model folder of ours, read without PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from gristmill.manifest import intact
from gristmill.model.config import ModelConfig


class StoredModel:
    """The shape of a model, and its weights one at a time."""

    def __init__(self, folder: Path) -> None:
        """Raises whatever a folder that holds no model leads to: `load_model` says it well."""
        for name in ("model.json", "model.safetensors"):
            intact(folder / name)
        self.folder, self.config = folder, ModelConfig(**json.loads((folder / "model.json").read_text()))
        self.file: Any = safe_open(folder / "model.safetensors", framework="np")

    def weight(self, name: str) -> np.ndarray:
        """A tensor by the names of `Transformer`."""
        found: np.ndarray = self.file.get_tensor(name)
        return found
