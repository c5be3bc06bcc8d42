"""`gristmill why`: one page's fate, from the robots.txt that was obeyed to the steps that trained on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from gristmill.commands.groups import RunFolder
from gristmill.errors import Damaged, UserError, nearest, typed
from gristmill.inputs.folders import newer, valid
from gristmill.manifest import Manifest
from gristmill.progress import counted, results
from gristmill.runs.finished import UPDATE, made_in, run_folder

SHOWN = 8  # steps of training, or addresses, that are named
LOGS = {"crawl": "urls.jsonl", "extract": "dropped.jsonl", "passages": "dropped.jsonl"}  # of a stage: what it met
SINCE = {
    "new": "new since the run was made, which does not have it",
    "changed": "changed since the run was made, which has it as it was",
    "gone": "gone since the run was made, which has it",
}


def why(
    run: RunFolder,
    page: Annotated[str, typer.Argument(metavar="URL", help="A page's address, a file's name, or a document's id.")],
) -> None:
    """Tell one page's whole fate: fetched or not and why, kept or dropped by which rule, which steps trained on it."""
    folders, since = made_in(run_folder(run)), newer(run)
    again = made_in(run / UPDATE) if since else {}
    page = meant(run, folders, again, valid(page))
    for stage, line in fate(folders, page):
        results.print(f"{stage}: {line}")
    for kind, names in since.items():
        if page in names:
            results.print(f"update: {SINCE[kind]}")
            for stage, line in fate(again, page):
                results.print(f"{UPDATE}/{stage}: {line}")


def fate(folders: Mapping[str, Path], page: str) -> Iterator[tuple[str, str]]:
    """What each stage did with a page: (stage, what happened), in the order of the journey."""
    from gristmill.corpus.execution.ledger import crawled, dropped_as, told, way

    yield from (("crawl", line) for _, line in crawled(folders, {page}))
    yield from (("robots", line) for line in robots(folders, page))
    try:
        yield from ((stage, line) for stage, line in way(folders, page) if stage != "crawl")
    except Damaged:
        raise
    except UserError:
        pass  # a page that never came to these stages
    for found in dropped_as(folders["passages"], page) if "passages" in folders else ():
        found.pop("url")
        yield "passages", told(str(found.pop("fate")), found)
    if "passages" in folders:
        yield from (("passages", line) for line in searched(folders, page))
    yield from (("training", line) for line in training(folders, page))


def meant(run: Path, folders: Mapping[str, Path], again: Mapping[str, Path], page: str) -> str:
    """The address or id of the page that a person names: as it is, or by the end that only one has in common with it.

    Raises UserError where no page is meant, or several are.
    """
    from gristmill.crawl.urls import normalise

    for address in dict.fromkeys((page, normalise(page) or page)):  # as a person sees it, and as it is asked for
        if any(stage != "robots" for made in (folders, again) for stage, _ in fate(made, address)):
            return address
    known = {**dict(addresses(again)), **dict(addresses(folders))}
    files = {one: stem for one in known for stem, _, record in [one.rpartition(":")] if record.isdigit()}
    alike = sorted({known[one] for one in known if ends_alike(one, page)})
    alike = alike or sorted({known[one] for one, file in files.items() if ends_alike(file, page)})
    if len(alike) == 1:
        return alike[0]
    if alike:
        more = " …" if len(alike) > SHOWN else ""
        raise UserError(f"{page} may be any of {len(alike):,} pages", f"name one of {', '.join(alike[:SHOWN])}{more}")
    where = f"{run / 'crawl' / 'urls.jsonl'}" if "crawl" in folders else f"gristmill find {typed(run)} QUESTION --json"
    raise UserError(f"{run} knows no page {page}{nearest(page, known)}", f"give its address as in {where}")


def ends_alike(one: str, other: str) -> bool:
    """Whether one address is the end of the other."""
    return f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")


def addresses(folders: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """What each page that came in may be called, and its address (of a file its name): this, and file and record."""
    from gristmill.document import read_columns
    from gristmill.inputs.text_files import read_log

    if "extract" in folders:
        for batch in read_columns(folders["extract"], ("url", "source")):
            yield from ((name, one["url"]) for one in batch.to_pylist() for name in (one["source"], one["url"]))
    for name, log in LOGS.items():
        named = (str(record.get("url") or record.get("source")) for record in read_log(folders.get(name), log))
        yield from ((name, name) for name in named)


def robots(folders: Mapping[str, Path], page: str) -> Iterator[str]:
    """The robots.txt that the crawl obeyed there."""
    from gristmill.inputs.text_files import read_log

    for record in read_log(folders.get("crawl"), "robots.jsonl"):
        if page.startswith(f"{record['origin']}/"):
            yield f"{record['origin']}/robots.txt was asked for on {record['date']}, status {record['status']}"


def searched(folders: Mapping[str, Path], page: str) -> Iterator[str]:
    """In how many passages it is searched and quoted."""
    from gristmill.corpus.execution.ledger import kept_as
    from gristmill.passages.passage_index import FILE, connect

    came = kept_as(folders["extract"], page) if "extract" in folders else ()
    base = connect(folders["passages"] / FILE)
    query = "SELECT count(*) FROM passages JOIN pages ON pages.id = page WHERE name = ?"
    for name in {page, *(str(one["url"]) for one in came)}:
        (count,) = base.execute(query, (name,)).fetchone()
        if count:
            yield f"searched and quoted, in {counted(count, 'passages')}"
    base.close()


def training(folders: Mapping[str, Path], page: str) -> Iterator[str]:
    """Where its tokens are, and the steps of pretraining that read them."""
    import numpy as np

    from gristmill.recipe import Pretrain
    from gristmill.tokenizer.shards import open_split
    from gristmill.training.data.loader import Loader

    for name in ("train", "heldout") if "tokenize" in folders else ():
        split = open_split(folders["tokenize"], name)
        for number in (n for n, (one, url) in enumerate(zip(split.ids, split.urls, strict=True)) if page in (one, url)):
            low, high = int(split.starts[number]), int(split.starts[number + 1])
            if name == "heldout":
                yield f"held out: its {high - low:,} tokens only measure, no step trained on them"
                continue
            made = Manifest.read(folders["pretrain"]) if "pretrain" in folders else None
            if not made:
                yield f"tokens {low:,} to {high:,} of the training split; no model was trained on them here"
                continue
            params = {
                **Pretrain().model_dump(),
                **made.params,
                **made.metrics,
            }  # which have the batch that a dial chose
            batch = int(params["batch"])
            loader = Loader(split, params["context"], batch, params["seed"], params["mix"])
            steps, epoch, before = set[int](), 0, 0
            while before < made.counts["steps"] * batch:
                rows = loader.epoch(epoch)
                inside = np.flatnonzero((rows.start < high) & (rows.start + rows.length > low))
                holding = np.searchsorted(rows.first, inside, side="right") - 1
                steps |= {int(before + row) // batch for row in holding}
                before, epoch = before + len(rows), epoch + 1
            read = sorted(step for step in steps if step < made.counts["steps"])
            shown = ", ".join(f"{step:,}" for step in read[:SHOWN]) + (" …" if len(read) > SHOWN else "")
            where = f"tokens {low:,} to {high:,} of the training split"
            steps_read = f"{counted(len(read), 'steps')} of pretraining: {shown}" if read else "no step of pretraining"
            yield f"{where}; read in {steps_read}"
