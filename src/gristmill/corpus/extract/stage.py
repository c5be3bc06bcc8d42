"""Stage `extract`: pages → documents with title, main text and language.

Memory is bounded by a group of rows a worker; time grows with the input's bytes and falls with the workers.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from gristmill.corpus.execution.documents import ShardFiles, accounted, finish_stage, guarded
from gristmill.corpus.execution.drop_log import DropLog
from gristmill.corpus.execution.executor import Executor, Result
from gristmill.corpus.execution.judge import Dropped
from gristmill.corpus.extract.language import detect
from gristmill.corpus.readers.input_files import HTML_TYPES, TEXT_TYPES
from gristmill.corpus.readers.licence import detect_licence, from_url
from gristmill.corpus.readers.warc_ranges import InputRange, cut_inputs, read_range, read_records
from gristmill.corpus.readers.warc_records import Extent
from gristmill.crawl.urls import host_of
from gristmill.document import Document, document_id, write_documents
from gristmill.errors import UserError
from gristmill.html.charset import to_utf8
from gristmill.html.content.main_text import extract_html
from gristmill.html.directives import Directives, read_directives
from gristmill.html.links import Tag, header_tags
from gristmill.inputs.storage import as_path
from gristmill.inputs.text_files import read_jsonl
from gristmill.manifest import WORK, Manifest
from gristmill.progress import Progress, console
from gristmill.recipe import Extract
from gristmill.record import Record

LOOKS_LIKE_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|div|p|h1)\b", re.IGNORECASE)
CONTROLS = bytes(byte for byte in (*range(0x20), 0x7F) if byte not in b"\t\n\r")
NONCHARACTERS = ("\ufffe".encode(), "\uffff".encode())
MARKDOWN_TITLE = re.compile(r"^# +(.+)$", re.MULTILINE)
UNREADABLE = bytes(code for code in (*range(32), 127) if code not in b"\t\n\f\r")
PASSED = "extract.records_without_page."  # counts of records that hold no page, by kind
AGENT = "gristmill"  # as pages may name us
NAMED = 3  # files of a rule that are named on the console
SAMPLE = 1 << 16  # bytes of a page that are looked at
MAX_UNREADABLE = 0.02  # share of replacement and control characters: more is another format or charset
MAX_BYTES = 64_000_000  # of a page's HTML


@dataclass(frozen=True)
class ExtractedShard(ShardFiles):
    """One shard's share of the stage."""

    ranges: Sequence[InputRange]
    params: Extract
    begin: int | None = None  # where the first record of the first part is known to be


def run(inputs: Mapping[str, Path], params: Extract, out: Path) -> Manifest:
    """Extract the crawl's WARC files, or `params.paths`, into `documents*.parquet` and `dropped.jsonl`.

    Raises UserError where there is nothing to read or no document comes out.
    """
    files = input_files(inputs, params)
    work = out / WORK
    work.mkdir(exist_ok=True)
    shards = cut_inputs(files)
    tasks = [ExtractedShard(out, number, len(shards), ranges, params) for number, ranges in enumerate(shards)]
    size = sum(part.size for ranges in shards for part in ranges)
    with Progress("extract", None, "pages") as bar, Executor(size) as executor:
        results = executor.map(extract_shard, tasks, work, lambda result: bar.advance(result["counts"]["documents_in"]))
    made = finish_stage(join_ranges(tasks, results), out)
    if not made.counts["documents_out"]:
        raise no_document(files, made, out)
    if params.paths:
        tell_left_out(out)
    return made


def no_document(files: Sequence[Path], made: Manifest, out: Path) -> UserError:
    """The error of an input that holds no document: what it holds, by rule and kind, and the first reasons."""
    named = ", ".join(map(str, files[:3])) + (" …" if len(files) > 3 else "")
    passed = {
        name.removeprefix(PASSED): count for name, count in made.counts.items() if name.startswith(PASSED) and count
    }
    parts = (("", made.dropped), ("records without page: ", passed))
    told = [title + ", ".join(f"{name} {count:,}" for name, count in some.items()) for title, some in parts if some]
    held = "; ".join(told) or "no records"
    reasons = (f"{one['source']}: {one['why']}" for one in read_jsonl(out / "dropped.jsonl") if one.get("why"))
    why = "; ".join(islice(reasons, 3))
    return UserError(f"no document in {named}: {held}" + (f" ({why})" if why else ""), "check what the input holds")


def tell_left_out(out: Path) -> None:
    """Name on the console, by rule, the first files, and records of files, that could not be read."""
    counts, first = Counter[str](), defaultdict[str, list[str]](list)
    for record in read_jsonl(out / "dropped.jsonl"):
        # a page of the web has a URL of its own
        if record["url"] == record["source"] and record["rule"] != "own_run":
            rule = record["rule"]
            counts[rule] += 1
            if len(first[rule]) < NAMED:
                first[rule].append(f"{record['source']} ({record['why']})")
    if counts:
        log = out.with_name(out.name.removesuffix(".partial")) / "dropped.jsonl"
        of = "file or record was" if counts.total() == 1 else "files or records were"
        console.print(f"{counts.total():,} {of} left out, all named in {log}:")
    for rule, count in counts.most_common():
        more = " …" if count > NAMED else ""
        console.print(f"  {rule} {count:,}: {', '.join(first[rule])}{more}")


def join_ranges(tasks: Sequence[ExtractedShard], results: Sequence[Result]) -> list[Result]:
    """Check that every range of a WARC file began where the one before ended, and read it again where it did not."""
    checked: list[Result] = []
    for task, result in zip(tasks, results, strict=True):
        first = task.ranges[0]
        if checked and first.start:
            end = checked[-1]["extents"][-1]["end"]
            if result["extents"][0]["begin"] != end:
                result = extract_shard(replace(task, begin=end))
        checked.append(result)
    return checked


def extract_shard(task: ExtractedShard) -> Result:
    """Extract the records of one shard; returns its counts, and where the ranges of WARC files began and ended."""
    counts: Counter[str] = Counter()
    extents: list[Extent] = []
    with DropLog.at(task.log) as log:

        def documents() -> Iterator[Document]:
            for part in task.ranges:
                extents.append(Extent())
                for record in read_range(part, None if len(extents) > 1 else task.begin, extents[-1]):
                    found = guarded(extract_record, record, task.params.comments, task.params.honour)
                    if isinstance(found, str):
                        found = Dropped(found, {"why": clean(record.why)} if record.why else {})
                    about = "", clean(record.url), clean(record.source)
                    yield from accounted(found, len(record.body), about, counts, log)

        counts["documents_out"] = write_documents(task.documents, documents())
    passed = sum((extent.passed for extent in extents), Counter[str]())
    if passed:
        counts["records_without_page"] = passed.total()
        counts.update({f"{PASSED}{why}": count for why, count in passed.items()})
    places = [{"begin": extent.begin, "end": extent.end} for extent in extents]
    return {"counts": counts, "dropped": log.rules, "dropped_bytes": log.bytes, "extents": places}


def input_files(inputs: Mapping[str, Path], params: Extract) -> list[Path]:
    """What to read: the paths given, else the crawl's WARC files."""
    if params.paths:
        return [as_path(path) for path in params.paths]
    if "crawl" not in inputs:
        raise UserError("extract has nothing to read", "give files or folders: gristmill extract notes/ -o docs")
    files = sorted(inputs["crawl"].glob("*.warc.gz"))
    if not files:
        raise UserError(f"no .warc.gz file in {inputs['crawl']}", "run the crawl again")
    return files


def extract_record(record: Record, comments: bool = False, honour: Sequence[str] = ()) -> Document | str:
    """The document of one record, or the rule that drops it: damaged, not_html, too_large, undecodable, empty, or
    one of `honour`.
    """
    if record.fault:
        return record.fault
    is_text = record.content_type in TEXT_TYPES
    if not is_text and record.content_type not in HTML_TYPES and not LOOKS_LIKE_HTML.search(record.body[:2048]):
        return "not_html"
    if len(record.body) > MAX_BYTES and not is_text:
        return "too_large"
    tags: list[Tag] = []
    raw = to_utf8(record.body, record.charset)
    if is_unreadable(raw[:SAMPLE]):
        return "undecodable"
    if is_text:
        text = raw.decode("utf-8")
        heading = MARKDOWN_TITLE.search(text) if record.content_type == "text/markdown" else None
        found = heading.group(1).rstrip("#").rstrip() if heading else ""
    else:
        xml = record.content_type == "application/xhtml+xml"
        page = extract_html(raw, comments=comments, whole=record.whole, xml=xml)
        found, text, tags = page.title, page.text, page.tags
    headers = record.headers or ()
    said = read_directives([*tags, *header_tags(headers)], headers, AGENT)
    signals = signals_of(record, said)
    if refused := next((name for name in honour if name in signals), ""):
        return refused
    text = clean(text).strip()
    if not text:
        return "empty"
    url = clean(record.url)
    language, score = detect(text)
    return Document(
        id=document_id(url, text),
        text=text,
        url=url,
        host=host_of(url),
        title=clean(record.title or found),
        language=language,
        language_score=score,
        fetched_at=record.fetched_at,
        source=clean(record.source),
        licence=clean(
            record.licence or from_url(str(record.decisions.get("licence", ""))) or detect_licence(said.rights(), text)
        ),
        signals=" ".join(signals),
    )


def extract_texts(paths: Sequence[Path]) -> Iterator[str]:
    """The texts of the documents in files; what the stage would drop is passed over."""
    for record in read_records(paths):
        found = extract_record(record, honour=Extract().honour)
        if isinstance(found, Document):
            yield found.text


def signals_of(record: Record, said: Directives) -> list[str]:
    """The reservations that a page from the web makes, as `noai`; a user's own files make none.

    What the crawl noted counts too: robots.txt and tdmrep.json speak of pages that do not say it themselves.
    """
    if record.headers is None:  # not from a WARC file: a user's own
        return []
    noted = record.decisions.get("signals")
    return sorted(
        {*said.signals(), *(filter(lambda name: isinstance(name, str), noted) if isinstance(noted, list) else ())}
    )


def is_unreadable(raw: bytes) -> bool:
    """Whether so much of a text is control and replacement characters that it must be something else."""
    odd = len(raw) - len(raw.translate(None, UNREADABLE)) + raw.count(b"\xef\xbf\xbd")
    return odd > MAX_UNREADABLE * len(raw)


def clean(text: str) -> str:
    """Text that every UTF-8 file can hold: Unix line ends, no control characters, no lone surrogates."""
    data = text.encode("utf-8", "replace")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    data = data.translate(None, CONTROLS)
    if NONCHARACTERS[0][:2] in data:
        for each in NONCHARACTERS:
            data = data.replace(each, b"")
    return data.decode("utf-8")
