"""A transformer's step in PyTorch: on a GPU, and for models that the C step does not compute."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gristmill.generation.decoder import PAGE, Rows
from gristmill.model.transformer import Transformer


class TorchDecoder:
    """Rows of a sequence are read together, padded on the right; what padding writes lies on a page of its own."""

    rows, exact = 1024, False

    def __init__(self, model: Transformer) -> None:
        self.model, self.device, self.taken = model, model.embed.weight.device, 1
        self.keys = self.values = torch.empty(0, device=self.device)
        self.grow(64)

    def grow(self, pages: int) -> None:
        """Room for so many pages."""
        config = self.model.config
        shape = config.layers, pages * PAGE, config.kv_heads, config.head_dim
        old = self.keys, self.values
        self.keys, self.values = (torch.zeros(shape, device=self.device) for _ in range(2))
        for before, now in zip(old, (self.keys, self.values), strict=True):
            if before.numel():
                now[:, : before.size(1)] = before

    def new_page(self) -> int:
        """The number of a page."""
        if (self.taken + 1) * PAGE > self.keys.size(1):
            self.grow(2 * (self.taken + 1))
        self.taken += 1
        return self.taken - 1

    def copy_page(self, source: int, target: int) -> None:
        """Let one page hold what another does."""
        begun, made = (slice(page * PAGE, (page + 1) * PAGE) for page in (source, target))
        for kept in (self.keys, self.values):
            kept[:, made] = kept[:, begun]

    @torch.inference_mode()
    def step(self, rows: Rows, outputs: int) -> np.ndarray:
        """Logits, float32 [outputs, V]."""
        starts = [i for i, table in enumerate(rows.pages) if not i or table is not rows.pages[i - 1]]
        counts = np.diff([*starts, len(rows.pages)])
        B, T, last = len(starts), int(counts.max()), max(rows.positions)
        row = np.repeat(np.arange(B), counts)
        column = np.arange(len(rows.pages)) - np.repeat(starts, counts)
        ids, positions, places = (np.zeros((B, T), np.int64) for _ in range(3))
        ids[row, column], positions[row, column] = rows.tokens, rows.positions
        blocks = last // PAGE + 1
        index = np.zeros((B, blocks), np.int64)
        for i, start in enumerate(starts):
            index[i, : len(rows.pages[start])] = rows.pages[start][:blocks]
        whole = (index[:, :, None] * PAGE + np.arange(PAGE)).reshape(B, -1)[:, : last + 1]
        places[row, column] = whole[row, rows.positions]
        self.places, self.whole = self.put(places), self.put(whole)
        positions_BT = self.put(positions)
        mask = torch.arange(last + 1, device=self.device) <= positions_BT[:, None, :, None]
        hidden = self.model.hidden(self.put(ids), cache=self, positions_BT=positions_BT, mask=mask)
        wanted = [i for i, output in enumerate(rows.outputs) if output >= 0]
        chosen = hidden[self.put(row[wanted]), self.put(column[wanted])]
        return self.model.logits(chosen).float().cpu().numpy()

    def put(self, array: np.ndarray) -> Tensor:
        """An array on the device."""
        return torch.from_numpy(array).to(self.device)

    def extend(self, layer: int, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values of one layer; returns those of every sequence from its first position on."""
        found = []
        for kept, new in ((self.keys[layer], k_BGTK), (self.values[layer], v_BGTK)):
            kept[self.places] = new.transpose(1, 2).to(kept.dtype)
            found.append(kept[self.whole].transpose(1, 2))
        return found[0], found[1]
