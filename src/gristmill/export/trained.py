"""What is exported: a model with its tokenizer, and what it has learned to do with a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gristmill.generation.engine import load_together
from gristmill.manifest import Manifest
from gristmill.model.transformer import Transformer
from gristmill.tokenizer.encode import Tokenizer


@dataclass(frozen=True)
class Trained:
    """A trained model. A base model (of `pretrain`) goes on with texts, any other answers messages."""

    model: Transformer
    tokenizer: Tokenizer
    made: Manifest  # of the stage that trained it; empty where that is not known

    @classmethod
    def load(cls, model: Path, tokenizer: Path) -> Trained:
        """Read the two folders. Raises UserError where one cannot be read or they do not belong together."""
        return cls(*load_together(model, tokenizer), Manifest.read(model) or Manifest())

    @property
    def chats(self) -> bool:
        """Whether it has learned the chat template."""
        return self.made.stage != "pretrain"

    @property
    def stops(self) -> list[int]:
        """The tokens that end what it says, the usual one first."""
        stops = [self.tokenizer.im_end, self.tokenizer.end_of_text]
        others = sorted(self.tokenizer.stops - {*stops}) if self.chats else []
        return (stops if self.chats else stops[::-1]) + others

    def written(self, token: int) -> str:
        """How a control token is written."""
        return self.tokenizer.controls[token - len(self.tokenizer.pieces)]
