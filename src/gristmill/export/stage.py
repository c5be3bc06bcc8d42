"""Stage `export`: model → one folder that other tools open unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gristmill.export.card import write_card
from gristmill.export.check import check
from gristmill.export.envelope import private_key
from gristmill.export.gguf import write_gguf, write_modelfile
from gristmill.export.huggingface import write_huggingface
from gristmill.export.trained import Trained
from gristmill.manifest import Manifest
from gristmill.recipe import Export


def run(inputs: Mapping[str, Path], params: Export, out: Path) -> Manifest:
    """Write the Hugging Face folder with its card, and the GGUF files that are asked for."""
    trained = Trained.load(inputs["model"], inputs["tokenizer"])
    key = private_key(Path(params.sign_with)) if params.sign_with else None
    write_huggingface(trained, inputs["tokenizer"], out, key)
    kinds = list(dict.fromkeys(params.gguf))
    for kind in kinds:
        write_gguf(trained, out, kind, key)
    if kinds:
        write_modelfile(trained, out, kinds[0])
    write_card(trained, inputs.get("evaluation"), out)
    figures = check(trained, out, kinds) if params.check else {}
    return Manifest(metrics={"bytes": sum(file.stat().st_size for file in out.iterdir()), **figures})
