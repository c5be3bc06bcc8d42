"""BPE training: CPU seconds and peak memory of whole processes, start-up and reading Parquet included.

    python benchmarks/bpe_train.py [--quick] [--text PATH …] [--megabytes 120] [--vocab 32768] [--pattern qwen2]

Installed besides gristmill's test extra, where wanted: gigabpe, gigatoken (left out where they are missing; they know
GPT-2's pattern only and read plain text). PATH: files or folders of text, HTML or Parquet; by default the storybooks,
again and again, or /usr/share/doc. Every contestant has one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

if "--contestant" in sys.argv:  # the parent stays small: a child's peak memory counts from the parent's
    from gristmill.tokenizer.patterns import PATTERNS


def strings(path: str) -> Iterator[str]:
    """The texts of a Parquet file."""
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(1000, columns=["text"]):
        yield from batch["text"].to_pylist()


def ours(path: str, vocab: int, pattern: str) -> int:
    """The stage's two halves."""
    from gristmill.document import read_columns
    from gristmill.tokenizer.bpe import learn_merges
    from gristmill.tokenizer.pretokens import count_pretokens

    with tempfile.TemporaryDirectory() as folder:
        batches = (batch["text"] for batch in read_columns(Path(path), ["text"]))
        return len(learn_merges(count_pretokens(batches, pattern, Path(folder), 1).words, vocab))


def rustbpe(path: str, vocab: int, pattern: str) -> int:
    """nanochat's trainer."""
    import rustbpe as peer

    tokenizer = peer.Tokenizer()
    tokenizer.train_from_iterator(strings(path), vocab, pattern=PATTERNS[pattern])
    return int(tokenizer.vocab_size) - 256


def tokenizers(path: str, vocab: int, pattern: str) -> int:
    """Hugging Face's trainer."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(strings(path), trainer)
    return tokenizer.get_vocab_size() - 256


def gigabpe(path: str, vocab: int, pattern: str) -> int:
    """A trainer for GPT-2's pattern."""
    import gigabpe as peer

    return len(peer.train_bpe([path.replace(".parquet", ".txt")], vocab, threads=1)[1])


def gigatoken(path: str, vocab: int, pattern: str) -> int:
    """Another."""
    import gigatoken as peer

    return len(peer.train_bpe(Path(path).with_suffix(".txt"), vocab, [])[1])


def write(path: str, vocab: int, pattern: str) -> int:
    """No contestant: write the corpus; `pattern` are the paths of its texts and `vocab` its size in bytes."""
    from peers import texts

    size = texts.write_parquet(Path(path), [Path(part) for part in pattern.splitlines()] or [texts.DEFAULT] * 12, vocab)
    Path(path).with_suffix(".txt").write_text("".join(strings(path)), encoding="utf-8")
    return size


CONTESTANTS: dict[str, Callable[[str, int, str], int]] = {
    function.__name__: function for function in (ours, rustbpe, tokenizers, gigabpe, gigatoken, write)
}


def measure(name: str, path: Path, vocab: int, pattern: str) -> tuple[float, float]:
    """CPU seconds and peak MB of a process of its own."""
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, __file__, "--contestant", name, str(path), str(vocab), pattern]
    child = os.posix_spawn(sys.executable, arguments, environment)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{name} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    if "--contestant" in sys.argv:
        contestant, corpus, vocab, pattern = sys.argv[2:]
        CONTESTANTS[contestant](corpus, int(vocab), pattern)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--text", nargs="*", type=Path, default=[])
    parser.add_argument("--megabytes", type=float, default=120)
    parser.add_argument("--vocab", type=int, default=32768)
    parser.add_argument("--pattern", default="qwen2")
    options = parser.parse_args()
    names = ["ours", *(name for name in ("rustbpe", "tokenizers", "gigabpe", "gigatoken") if find_spec(name))]
    if options.quick:
        options.megabytes, names = min(options.megabytes, 10), [name for name in names if name != "tokenizers"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.parquet"
        measure("write", path, int(options.megabytes * 1e6), "\n".join(map(str, options.text)))
        size = path.with_suffix(".txt").stat().st_size
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for number in range(2 if options.quick else 3):
            for name in names:
                if number == 0 or name != "tokenizers":  # too slow to run again
                    found[name].append(measure(name, path, options.vocab, options.pattern))
                    seconds, memory = found[name][-1]
                    print(f"{name:>12}  {seconds:7.2f} CPU s  {memory:7.0f} MB", flush=True)
    middle = {
        name: (statistics.median(s for s, _ in runs), statistics.median(m for _, m in runs))
        for name, runs in found.items()
    }
    results = []
    what = f"BPE training on {size / 1e6:.0f} MB, vocabulary {options.vocab}, {options.pattern}"
    for name in names[1:]:
        peer = f"{name} {version(name)}" + (" (GPT-2 pattern)" if name.startswith("giga") else "")
        for place, unit in enumerate(("CPU s", "MB")):
            results.append(
                {
                    "claim": f"{what}: {unit}",
                    "unit": unit,
                    "ours": round(middle["ours"][place], 3),
                    "peer": peer,
                    "theirs": round(middle[name][place], 3),
                    "ratio": round(middle[name][place] / middle["ours"][place], 3),
                    "goal": (5.0, 1.0)[place] if name == "rustbpe" else 1.0,
                    "better": "lower",
                }
            )
    print(json.dumps({"benchmark": "bpe_train", "results": results}))


if __name__ == "__main__":
    main()
