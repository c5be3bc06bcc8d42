"""Real text for benchmarks: documents from HTML, plain text (also .gz and .dz) and Parquet files."""

from __future__ import annotations

import gzip
import html
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

STORYBOOKS = Path(__file__).parents[2] / "shared" / "data" / "storybooks"
DEFAULT = STORYBOOKS if STORYBOOKS.exists() else Path("/usr/share/doc")
MARKUP = re.compile(r"(?s)<(script|style|head)\b.*?</\1>|<[^>]+>")
LONGEST = 20_000  # characters of a document: longer files become several
KINDS = (".html", ".xhtml", ".htm", ".txt", ".md", ".gz", ".dz")


def read(path: Path) -> str:
    """A file as plain text."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix in (".gz", ".dz") else data).decode("utf-8", "replace")
    if path.suffix in (".html", ".xhtml", ".htm"):
        text = re.sub(r"\n\s*\n+", "\n\n", html.unescape(MARKUP.sub("", text))).strip()
    return text


def documents(paths: list[Path], most: int) -> Iterator[str]:
    """Texts of at most LONGEST characters from files and folders, in name order, up to `most` bytes."""
    size = 0
    for path in paths:
        files = sorted(file for file in path.rglob("*") if file.suffix in KINDS) if path.is_dir() else [path]
        for file in files:
            if file.suffix == ".parquet":
                batches = pq.ParquetFile(file).iter_batches(1000, columns=["text"])
                texts = (text for batch in batches for text in batch["text"].to_pylist())
            else:
                texts = (text for text in [read(file)])
            for text in texts:
                for at in range(0, len(text), LONGEST):
                    size += len(text[at : at + LONGEST].encode())
                    yield text[at : at + LONGEST]
                    if size >= most:
                        return


def write_parquet(path: Path, paths: list[Path], most: int) -> int:
    """Write documents as a corpus stage does; returns their bytes. Raises SystemExit where there are none."""
    schema = pa.schema([("id", pa.string()), ("text", pa.large_string())])
    size, rows = 0, []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for number, text in enumerate(documents(paths, most)):
            rows.append({"id": str(number), "text": text})
            size += len(text.encode())
            if len(rows) == 1000:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()
        writer.write_table(pa.Table.from_pylist(rows, schema))
    if not size:
        raise SystemExit(f"no text in {[str(path) for path in paths]}: name files or folders with --text")
    return size
