"""An assistant over one's own pages against plain BM25 and the sentence with most words of the question, in one run.

    python benchmarks/own_text.py FOLDER QUESTIONS [--quick] [--verbose] [--words | --vectors] [--reader MODEL …]

FOLDER holds pages, as of Debian's python3.11-doc unpacked (`dpkg -x`); QUESTIONS is one of own_text/*.jsonl:
`question`, `answers` (of which one must be in the text) and `pages` (as files below FOLDER), both empty where the pages
do not answer it. Python's, Debian's, PostgreSQL's and Borg's were looked at while the search was made, git's, SQLite's,
Apache's and Postfix's not. Plain BM25 is FTS5's over 150 words in a row, without stems. MODEL is a chat model (a run's
sft stage, a Hugging Face folder, a GGUF file) that reads the passages; one that was not trained on these pages tells
what reading alone gives. The last line is a JSON object of figures.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from gristmill.corpus.extract import stage as extract
from gristmill.document import read_documents
from gristmill.generation.engine import Engine
from gristmill.inputs.text_files import read_jsonl
from gristmill.passages import stage as passages
from gristmill.passages.extractive import LOOKED_AT, answer
from gristmill.passages.reader import Reader
from gristmill.passages.reading_examples import SHOWN
from gristmill.passages.search import Search
from gristmill.passages.sentence_encoder import installed_encoder
from gristmill.recipe import Extract, Passages
from gristmill.runs.model_choice import find_model
from gristmill.serving.assistant import Assistant

WORDS = 150  # of a baseline's passage
GOALS = {
    "right page in first five": 0.92,
    "answer in first five": 0.85,
    "answer right": 0.75,
    "right page cited": 0.90,
    "unanswerable declined": 0.90,
}


@dataclass(frozen=True)
class Hit:
    """A passage that some search found."""

    page: str
    text: str
    score: float


Find = Callable[[str], list[Hit]]


def plain_bm25(corpus: Path) -> Find:
    """FTS5's BM25 over 150 words in a row."""
    base = sqlite3.connect(":memory:")
    base.execute("CREATE VIRTUAL TABLE t USING fts5(page UNINDEXED, body)")
    for document in read_documents(corpus):
        words = document.text.split()
        rows = (" ".join(words[at : at + WORDS]) for at in range(0, max(1, len(words)), WORDS))
        base.executemany("INSERT INTO t VALUES (?, ?)", ((document.source, row) for row in rows))

    def find(question: str) -> list[Hit]:
        any_of = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", question))
        query = "SELECT page, body, -bm25(t) FROM t WHERE t MATCH ? ORDER BY bm25(t) LIMIT 20"
        return [Hit(*row) for row in base.execute(query, (any_of,))] if any_of else []

    return find


def best_sentence(question: str, hits: Sequence[Hit]) -> str:
    """The sentence of the first passage that shares most words with the question."""
    asked = set(re.findall(r"\w+", question.lower()))
    options = re.split(r"(?<=[.!?])\s+", hits[0].text) if hits else [""]
    return max(options, key=lambda text: len(asked & set(re.findall(r"\w+", text.lower()))))


def holds(text: str, answers: Iterable[str]) -> bool:
    """Whether one of some answers is in a text."""
    plain = " ".join(text.lower().split())
    return any(" ".join(one.lower().split()) in plain for one in answers)


def auc(right: Sequence[float], wrong: Sequence[float]) -> float:
    """The chance that a score of the first kind is above one of the second."""
    return mean((a > b) + (a == b) / 2 for a in right for b in wrong)


def judged(find: Find, asked: Sequence[dict[str, list[str]]], verbose: bool) -> dict[str, float]:
    """The figures of a search."""
    rows, scores = [], []
    for one in asked:
        hits = find(str(one["question"]))
        pages, there = [hit.page in one["pages"] for hit in hits], [holds(hit.text, one["answers"]) for hit in hits]
        rows.append((any(pages[:1]), any(pages[:5]), any(there[:1]), any(there[:5]), any(there[:20])))
        scores.append((bool(one["pages"]), max((hit.score for hit in hits[:LOOKED_AT]), default=0.0)))
        if verbose and one["pages"] and not (rows[-1][1] and rows[-1][3]):
            print("  missed:", one["question"], [hit.page for hit in hits[:3]], one["pages"])
    kept = [row for row, one in zip(rows, asked, strict=True) if one["pages"]]
    names = ("right page first", "right page in first five", "answer in first", "answer in first five", "in twenty")
    found = {name: mean(column) for name, column in zip(names, zip(*kept, strict=True), strict=True)}
    return found | {"AUC of declining": auc([s for able, s in scores if able], [s for able, s in scores if not able])}


def assistant(search: Search, asked: Sequence[dict[str, list[str]]], verbose: bool) -> dict[str, float]:
    """The figures of the answers."""
    able, unable, cited = [], [], []
    for one in asked:
        made = answer(search, str(one["question"]))
        if not one["pages"]:
            unable.append(not made.citations)
            if verbose and made.citations:
                print("  not declined:", one["question"], "|", made.text[:80])
            continue
        able.append(bool(made.citations) and holds(made.text, one["answers"]))
        if made.citations:
            cited.append(any((of.passage.url or of.passage.source) in one["pages"] for of in made.citations))
        if verbose and not able[-1]:
            print("  wrong:", one["question"], "|", made.text[:80])
    found = {"answer right": mean(able), "right page cited": mean(cited), "unanswerable declined": mean(unable)}
    return found | {"answered of answerable": len(cited) / len(able)}


def reading(search: Search, asked: Sequence[dict[str, list[str]]], source: Path, verbose: bool) -> dict[str, float]:
    """The figures of a model: what it answers without passages, the sentence that it chooses from them, that one with
    what is quoted below it; and the sentence of the same passages that shares most words with the question."""
    model = find_model(source)
    engine = Engine.load(model.folder, model.tokenizer)
    assistant, reader = Assistant(engine, model.name), Reader(search, engine)
    rows, declined = [], []
    for one in asked:
        question = str(one["question"])
        near = search.find(question, LOOKED_AT)
        chosen = reader.chosen(question, near[:SHOWN])
        if not one["pages"]:
            declined.append(chosen is None)
            continue
        closed = assistant.reply([{"role": "user", "content": question}], max_tokens=80).text()
        plain = best_sentence(question, [Hit("", piece.text, 0.0) for piece in near[:1]])
        texts = (closed, chosen[1] if chosen else "", reader.answer(question).text, plain)
        rows.append((*(holds(text, one["answers"]) for text in texts), chosen is not None))
        if verbose:
            print(f"  {rows[-1]} {question} | {chosen} | {closed[:80]}")
    names = ("right without passages", "sentence chosen right", "with quotes below right", "sentence by words right")
    found = {name: mean(column) for name, column in zip((*names, "answered"), zip(*rows, strict=True), strict=True)}
    return found | {"unanswerable declined": mean(declined)}


def main() -> None:
    """Build, ask, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--quick", action="store_true", help="every third question")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--words", action="store_true", help="without the sentence encoder, where it is installed")
    parser.add_argument("--vectors", action="store_true", help="with vectors of all passages, made beforehand")
    parser.add_argument("--reader", type=Path, action="append", default=[], metavar="MODEL")
    given = parser.parse_args()
    asked = list(read_jsonl(given.questions))[:: 3 if given.quick else 1]
    with tempfile.TemporaryDirectory() as scratch:
        corpus, out = Path(scratch, "extract"), Path(scratch, "passages")
        corpus.mkdir()
        out.mkdir()
        began = time.process_time()
        extract.run({}, Extract(paths=[str(given.folder)]), corpus)
        passages.run({"corpus": corpus}, Passages(meaning=given.vectors), out)
        seconds = time.process_time() - began
        search = Search(out, None if given.words else installed_encoder())
        plain = plain_bm25(corpus)

        def ours(question: str) -> list[Hit]:
            return [Hit(one.url or one.source, one.text, one.score) for one in search.find(question, 20)]

        mine, theirs = judged(ours, asked, given.verbose), judged(plain, asked, False)
        mine |= assistant(search, asked, given.verbose)
        able = [(one, plain(str(one["question"]))) for one in asked if one["pages"]]
        theirs["answer right"] = mean(
            holds(best_sentence(str(one["question"]), hits), one["answers"]) for one, hits in able
        )
        bars = {str(model): reading(search, asked, model, given.verbose) for model in given.reader}
    results = []
    for model, figures in bars.items():
        for name, value in figures.items():
            print(f"{model}: {name:26} {value:.3f}")
            results.append({"claim": f"{name}, {model}", "unit": "share", "ours": round(value, 4)})
    for name, value in mine.items():
        print(f"{name:26} {value:.3f}  BM25 {theirs.get(name, float('nan')):.3f}")
        peer = theirs.get(name)
        line = {"claim": name, "unit": "share", "ours": round(value, 4), "peer": "BM25, 150 words", "better": "higher"}
        results.append(line | {"theirs": peer, "ratio": value / peer if peer else None, "goal": GOALS.get(name)})
    print(f"{len(asked)} questions; extraction and index {seconds:.0f} s of processor time")
    print(f"ranked by {search.ranked_by}")
    print(json.dumps({"benchmark": "own_text", "results": results}))


if __name__ == "__main__":
    main()
