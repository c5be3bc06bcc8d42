"""gristmill: raw web pages in, a chat assistant out.

These names are the public face; `docs/python.md` shows them at work. Each is imported when it is first used:
`import gristmill` itself loads neither PyTorch nor PyArrow nor NumPy.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# Read by OpenMP when PyTorch loads it. Threads that wait for work sleep, as they spin by default: where other programs
# want the cores too, spinning makes training on two threads three times as slow as on one.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"
__all__ = [
    "Assistant",
    "Document",
    "Engine",
    "Tokenizer",
    "UserError",
    "__version__",
    "extract_html",
    "find_model",
    "load_model",
    "load_recipe",
    "read_documents",
    "run_recipe",
]

if TYPE_CHECKING:
    from gristmill.document import Document, read_documents
    from gristmill.errors import UserError
    from gristmill.generation.engine import Engine
    from gristmill.html.content.main_text import extract_html
    from gristmill.model.transformer import load_model
    from gristmill.run import run_recipe
    from gristmill.runs.model_choice import find_model
    from gristmill.serving.assistant import Assistant
    from gristmill.settings.recipe_file import load_recipe
    from gristmill.tokenizer.encode import Tokenizer
else:  # a type checker that saw `__getattr__` would take any name for one of ours
    HOMES = {
        "Assistant": "serving.assistant",
        "Document": "document",
        "Engine": "generation.engine",
        "Tokenizer": "tokenizer.encode",
        "UserError": "errors",
        "extract_html": "html.content.main_text",
        "find_model": "runs.model_choice",
        "load_model": "model.transformer",
        "load_recipe": "settings.recipe_file",
        "read_documents": "document",
        "run_recipe": "run",
    }

    def __getattr__(name):
        """A name of the public face, from the module where it is at home (PEP 562)."""
        if name not in HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=None)
        from importlib import import_module

        globals()[name] = found = getattr(import_module(f"gristmill.{HOMES[name]}"), name)
        return found

    def __dir__():
        """The public face, for completion."""
        return sorted({*globals(), *__all__})
