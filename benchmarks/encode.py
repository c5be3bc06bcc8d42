"""Encoding: MB of UTF-8 a CPU second on one thread, and whether the ids equal tiktoken's on every document.

    python benchmarks/encode.py [--quick] [--text PATH …] [--megabytes 60] [--vocab 32768] [--pattern qwen2]

Installed besides gristmill's test extra, where wanted: fastokens, snaptokens, gigatoken (each is left out where it is
missing).
PATH: files or folders of text, HTML or Parquet; by default the storybooks, or /usr/share/doc. The vocabulary is trained
on the same text. Contestants take turns, some hundred documents each, and see no document twice: some of them keep
whole documents in a cache.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ |= {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import pyarrow as pa
import tiktoken
import tokenizers

from gristmill.native import utf8
from gristmill.tokenizer.bpe import learn_merges, pieces_of
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import write_tokenizer_json
from gristmill.tokenizer.patterns import PATTERNS
from gristmill.tokenizer.pretokens import count_pretokens
from peers import texts

AT_ONCE, TURN = 64, 8  # documents encoded at once, and how often before another contestant has its turn
SLOW = 20  # `tokenizers` takes one turn in so many


def contestants(folder: Path, pieces: Sequence[bytes], pattern: str) -> dict[str, Callable[[list[str]], Any]]:
    """What encodes a list of texts, by name."""
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    reference = tiktoken.Encoding("peer", pat_str=PATTERNS[pattern], mergeable_ranks=ranks, special_tokens={})
    found: dict[str, Callable[[list[str]], Any]] = {
        "tiktoken": lambda part: [reference.encode_ordinary(text) for text in part],
        "tokenizers": tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch_fast,
    }
    for name in ("fastokens", "snaptokens"):
        if find_spec(name):
            peer = __import__(name).Tokenizer.from_file(str(folder / "tokenizer.json"))
            found[name] = peer.encode_batch_flat
    if find_spec("gigatoken"):
        giga = __import__("gigatoken").Tokenizer(folder / "tokenizer.json")
        found["gigatoken"] = lambda part: giga.encode_batch(part, parallel=False)
    return found


def rates(
    tokenizer: Tokenizer,
    peers: dict[str, Callable[[list[str]], Any]],
    parts: Sequence[list[str]],
    columns: Sequence[pa.Array],
) -> dict[str, float]:
    """MB a CPU second of each, in turns, so that all meet the machine in the same state."""
    seconds, done = dict.fromkeys(("ours", *peers), 0.0), dict.fromkeys(("ours", *peers), 0)
    for at in range(0, len(parts), TURN):
        for name in seconds:
            if name == "tokenizers" and at % (SLOW * TURN):
                continue
            started = time.process_time()
            for part, column in zip(parts[at : at + TURN], columns[at : at + TURN], strict=True):
                if name == "ours":
                    tokenizer.encode_bytes(*utf8(column), None)
                else:
                    peers[name](part)
            seconds[name] += time.process_time() - started
            done[name] += sum(column.nbytes for column in columns[at : at + TURN])
    return {name: done[name] / 1e6 / spent for name, spent in seconds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--text", nargs="*", type=Path, default=[texts.DEFAULT])
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--vocab", type=int, default=32768)
    parser.add_argument("--pattern", default="qwen2")
    options = parser.parse_args()
    most = int(min(options.megabytes, 5 if options.quick else 1e9) * 1e6)
    documents = list(texts.documents(options.text, most))
    size = sum(len(text.encode()) for text in documents)
    parts = [documents[at : at + AT_ONCE] for at in range(0, len(documents), AT_ONCE)]
    columns = [pa.array(part, pa.large_string()) for part in parts]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        merges = learn_merges(count_pretokens(columns, options.pattern, folder, 1).words, options.vocab)
        pieces = pieces_of(merges)
        write_tokenizer_json(folder / "tokenizer.json", pieces, merges.tolist(), options.pattern)
        peers = contestants(folder, pieces, options.pattern)
    tokenizer = Tokenizer(pieces, options.pattern)
    rate = rates(tokenizer, peers, parts, columns)
    reference = peers["tiktoken"]
    unequal = sum(a != b for part in parts for a, b in zip(tokenizer.encode_batch(part), reference(part), strict=True))
    print(
        {name: f"{value:.1f} MB/s" for name, value in rate.items()}, f"{unequal} of {len(documents)} documents differ"
    )
    results = [
        {
            "claim": f"encoding {size / 1e6:.0f} MB, vocabulary {len(pieces)}, {options.pattern}, one thread",
            "unit": "MB/CPU s",
            "ours": round(rate["ours"], 2),
            "peer": f"{name} {version(name)}",
            "theirs": round(rate[name], 2),
            "ratio": round(rate["ours"] / rate[name], 3),
            "goal": 8.0 if name == "tiktoken" else 1.0,
            "better": "higher",
        }
        for name in peers
    ]
    results.append(
        {
            "claim": "documents whose ids equal tiktoken's",
            "unit": "share",
            "ours": 1 - unequal / len(documents),
            "peer": f"tiktoken {version('tiktoken')}",
            "theirs": 1.0,
            "ratio": 1 - unequal / len(documents),
            "goal": 1.0,
            "better": "higher",
        }
    )
    print(json.dumps({"benchmark": "encode", "results": results}))


if __name__ == "__main__":
    main()
