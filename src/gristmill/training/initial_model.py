"""What pretraining begins with: a fresh model, or one of Hugging Face's that goes on."""

from __future__ import annotations

from pathlib import Path

from gristmill.errors import UserError
from gristmill.model.formats.hf_format import read_config, read_huggingface
from gristmill.model.transformer import Transformer
from gristmill.recipe import Pretrain
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.import_hf import check_tokens
from gristmill.training.budget.sizing import SHAPE, config_of


def with_shape(params: Pretrain) -> Pretrain:
    """The settings with the shape of the model that `init_from` names; but rows are as long as `context` says.

    Raises UserError where settings contradict it.
    """
    if not params.init_from:
        return params
    config = read_config(Path(params.init_from))
    shape = {name: getattr(config, name) for name in SHAPE if name != "context"}
    for name in params.model_fields_set & shape.keys():
        if getattr(params, name) != shape[name]:
            raise UserError(
                f"{name} = {getattr(params, name)}, but the model in {params.init_from} has {shape[name]}",
                f"leave out `{name}`",
            )
    return params.model_copy(update=shape)


def new_model(params: Pretrain, tokenizer: Tokenizer) -> Transformer:
    """The model to train. Raises UserError where the tokens are not those of the model that is to go on."""
    if not params.init_from:
        return Transformer(config_of(params, tokenizer.vocab_size))
    folder = Path(params.init_from)
    check_tokens(folder, tokenizer)
    return read_huggingface(folder, tokenizer.vocab_size, params.context)
