"""A model folder of ours, read without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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

    @contextmanager
    def weights(self) -> Iterator[Callable[[str], np.ndarray]]:
        """What gives a tensor by the names of `Transformer`; the file takes no memory once this is left. Raises
        whatever a file that does not hold them leads to."""
        with safe_open(self.folder / "model.safetensors", framework="np") as file:
            yield file.get_tensor
