"""`gristmill new …`: a recipe for a folder or a site of one's own, with sizes that suit the text that is there.

The recipes that ship (`recipes/folder.toml`, `recipes/site.toml`) are the templates: their comments stay.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from gristmill.commands.groups import Commands
from gristmill.errors import UserError, typed
from gristmill.files import write_text
from gristmill.manifest import MANIFEST
from gristmill.progress import console, counted, duration, quantity, warn
from gristmill.recipe import Recipe, TokenizerParams
from gristmill.settings.quantities import is_loopback, web_address
from gristmill.settings.recipe_file import load_recipe, shipped_recipe

if TYPE_CHECKING:
    from gristmill.corpus.readers.warc_ranges import InputRange

new = typer.Typer(cls=Commands, help="Write a recipe for a folder or a site of your own.", no_args_is_help=True)
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Recipe to write; by default folder.toml or site.toml.")]

NAMED = 10  # files that are not read
SAMPLED = 24  # files of a kind that are read to know how much text such files hold
FEW = 200  # files; of fewer a larger share is held out, or what is measured on it says little
SAMPLED_BYTES = 4_000_000  # of a kind
LITTLE = 50_000  # bytes of text, from which a model learns next to nothing; a few hundred words are refused
UNKNOWN = 1_000_000  # tokens that are assumed of a crawl
EXPANSION = {"parquet": 3.0, "wikipedia": 4.0, "warc": 1.0}  # text for a byte where files are too large to be sampled
# up to so many bytes of text: vocabulary, bytes a token (of English, roughly), and layers, width, size of a head and
# passes over the text of a model that can learn from it
SIZES = (
    (1e6, 1024, 2.6, (4, 128, 32, 4.0)),
    (5e6, 2048, 3.0, (4, 160, 32, 4.0)),
    (2e7, 4096, 3.4, (4, 192, 64, 4.0)),
    (1e8, 8192, 3.8, (6, 320, 64, 2.0)),
    (1e9, 16384, 4.2, (8, 512, 64, 1.0)),
    (float("inf"), 32768, 4.5, (12, 768, 64, 1.0)),
)


@dataclass
class Survey:
    """What a folder holds, roughly."""

    files: int
    unread: list[str]  # names of files of kinds that are not read, hidden ones and the like, and without text
    text_bytes: int
    seconds: float  # that extracting all of it takes in one process


def survey(path: Path) -> Survey:
    """Count files and estimate their text from a sample of each kind. Raises UserError where nothing can be read."""
    from gristmill.corpus.readers.input_files import kind_of
    from gristmill.corpus.readers.warc_ranges import whole_files

    ranges = whole_files([path])
    by_kind: dict[str, list[InputRange]] = {}
    for part in ranges:
        if not part.fault:
            by_kind.setdefault(kind_of(part.path), []).append(part)
    text = seconds = 0.0
    unread = [part.name for part in ranges if part.fault]
    for kind, files in by_kind.items():
        size = sum(part.size for part in files)
        started = time.perf_counter()
        read, found, bare = sample(files[:: max(1, len(files) // SAMPLED)])
        unread += bare
        spent = time.perf_counter() - started
        text += size * (found / read if read else EXPANSION.get(kind, 0.5))
        seconds += spent * size / read if read else 0.0
    if not text:
        raise UserError(f"no text was found in {path}", "give files that hold some")
    count = sum(map(len, by_kind.values()))
    return Survey(count, unread, round(text), seconds)


def sample(files: list[InputRange]) -> tuple[int, int, list[str]]:
    """Bytes of some files and of the text in them, and the names of those without any. Of a file too large to be read
    whole nothing is counted."""
    from gristmill.corpus.extract.stage import extract_record
    from gristmill.corpus.readers.warc_ranges import read_range
    from gristmill.corpus.readers.warc_records import Extent
    from gristmill.document import Document

    read = found = 0
    bare = []
    for part in files:
        if read + part.size <= SAMPLED_BYTES:
            read += part.size
            made = (extract_record(record) for record in read_range(part, None, Extent()))
            text = sum(len(each.text.encode()) for each in made if isinstance(each, Document))
            found += text
            bare += [] if text else [part.name]
    return read, found, bare


@new.command(
    "folder", help="A recipe for a folder of documents, with sizes that suit its text, and how long a run will take."
)
def new_folder(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder of documents, or one file.")], out: Out = None
) -> Path:
    """Write a recipe for a folder of documents (or one file), and tell what it will take; returns the recipe's path.

    Raises UserError where there is nothing to read, or the recipe exists.
    """
    found = survey(path)
    place = target(out, "folder")
    vocab_size, per_token, shape = next(row[1:] for row in SIZES if found.text_bytes <= row[0])
    layers, width, head_dim, epochs = shape
    values = {
        "name": place.stem,
        "extract.paths": [relative(path, place.parent)],
        "tokenizer.vocab_size": vocab_size,
        "tokenize.heldout": 0.1 if found.files < FEW else 0.05,
        "pretrain.layers": layers,
        "pretrain.width": width,
        "pretrain.heads": width // head_dim,
        "pretrain.kv_heads": width // head_dim,
        "pretrain.head_dim": head_dim,
        "pretrain.ffn_width": round(width * 8 / 3 / 64) * 64,
        "pretrain.epochs": epochs,
        "pretrain.context": 512,  # an excerpt and what asks for it
        "pretrain.batch": max(4, min(64, vocab_size // 1024)),
    }
    about = f"{path.resolve().name}: {counted(found.files, 'files')}, about {quantity(found.text_bytes)}B of text"
    write_text(place, filled(shipped_recipe("folder"), values, about))
    console.print(f"{place}: written for {about}")
    if found.unread:
        more = " …; a run names all of them" if len(found.unread) > NAMED else ""
        told = f"not read: {counted(len(found.unread), 'files')}: {', '.join(found.unread[:NAMED])}{more}"
        warn(told)
    console.print(f"vocabulary {vocab_size:,}, {layers} layers of width {width}, {epochs:g} epochs")
    little = found.text_bytes < LITTLE
    if little:
        warn("caution: a model learns next to nothing from so little text, and search needs none")
    tell_time(place, round(found.text_bytes / per_token), found.seconds)
    if little:
        console.print(f"next: gristmill run {typed(place)} --until passages; without --until a model is trained, too")
    else:
        console.print(f"next: gristmill run {typed(place)}")
    return place


def tokens_made(recipe: Recipe, folder: Path) -> int:
    """Training tokens that a recipe's run will make, roughly: of the files that it names, where they are here."""
    paths = [Path(path) for path in recipe.extract.paths] if recipe.extract else []
    if not paths or not all(path.exists() for path in paths) or (folder / "tokenize" / MANIFEST).exists():
        return UNKNOWN
    vocab_size = (recipe.tokenizer or TokenizerParams()).vocab_size
    per_token = next((row[2] for row in SIZES if vocab_size <= row[1]), SIZES[-1][2])
    return max(1000, round(sum(survey(path).text_bytes for path in paths) / per_token))


def tell_time(place: Path, tokens: int, extraction: float) -> None:
    """Say how long a run will take: pretraining measured by a few steps on this machine, the rest a share of it."""
    from gristmill.planning import plan_recipe

    recipe = load_recipe(place)
    alone = recipe.model_copy(update={"sft": None, "reward": None, "rl": None})
    (estimate,) = plan_recipe(alone, place.with_name(".none"), max(1000, tokens))
    epochs = recipe.pretrain.epochs if recipe.pretrain else 1.0
    # SFT reads the text once, in excerpts, with some replay; a minute for what does not grow with it
    others = 60 + extraction + 1.3 * estimate.seconds / epochs
    console.print(
        f"about {quantity(tokens)} tokens; on this machine, as busy as it is now: pretraining about "
        f"{duration(estimate.seconds)}, the whole run about {duration(estimate.seconds + others)}. "
        "This is rough: half or twice as long is possible."
    )


@new.command("site", help="A recipe for a site.")
def new_site(
    url: Annotated[str, typer.Argument(metavar="URL", help="Its address, as https://docs.example.org/.")],
    out: Out = None,
) -> Path:
    """Write a recipe for a site; returns its path. Raises UserError where `url` is none, or the recipe exists."""
    try:
        host = urlsplit(web_address(url)).hostname or ""
    except ValueError:
        host = ""
    if not host:
        raise UserError(f"{url} is not the address of a site", "write it as https://docs.example.org/, without a login")
    place = target(out, "site")
    networks = private_networks(host)
    values: dict[str, Any] = {"name": place.stem, "crawl.seeds": [url], "crawl.allow_networks": networks}
    values["crawl.delay"] = 0.0 if networks else 1.0
    write_text(place, filled(shipped_recipe("site"), values, f"the site {url}"))
    console.print(f"{place}: written for {url}")
    console.print(
        ("" if networks else "One page a second is fetched; the site's robots.txt is obeyed. ")
        + "How much text there is, only the crawl can tell; the sizes suit 1 to 20 MB of it."
    )
    run, named = typed(f"runs/{place.stem}"), typed(place)
    for line in (
        f"next: gristmill run {named} --until passages, then gristmill serve {run} answers from the pages",
        f"to train a model, too: gristmill run {named}; after --until tokenize, gristmill plan {named} tells how long",
    ):
        console.print(line)
    return place


def private_networks(host: str) -> list[str]:
    """The private networks that a crawl of this host must be allowed: loopback, or the host's own address."""
    if is_loopback(host) or host.endswith(".localhost"):
        return ["127.0.0.0/8", "::1/128"]
    try:
        own = ipaddress.ip_network(host)
    except ValueError:
        return []
    return [str(own)] if own.is_private else []


def target(out: Path | None, kind: str) -> Path:
    """Where the recipe goes: `folder.toml` or `site.toml` in the working directory, if nothing else is said."""
    place = out or Path(f"{kind}.toml")
    if place.is_dir():
        place = place / f"{kind}.toml"
    if place.suffix != ".toml":
        raise UserError(f"{place} is no name of a recipe", "let it end with .toml")
    if place.exists():
        raise UserError(f"{place} exists", "name another file with --out, or remove it")
    if not place.parent.is_dir():
        raise UserError(f"no such folder: {place.parent}", "make it first")
    return place


def relative(path: Path, folder: Path) -> str:
    """A path as the recipe names it: relative where it lies below the recipe's folder, else absolute."""
    own, base = path.resolve(), folder.resolve()
    return os.path.relpath(own, base) if own.is_relative_to(base) else str(own)


def filled(template: str, values: Mapping[str, Any], about: str) -> str:
    """A recipe with other values: `stage.key` → value. What the template does not have goes to its table's end."""
    lines: list[str] = []
    table, left = "", dict.fromkeys(values, True)

    def rest_of(table: str) -> list[str]:
        names = [name for name in left if name.rpartition(".")[0] == table and table]
        return [f"{name.rpartition('.')[2]} = {toml(values[name])}" for name in names if left.pop(name)]

    body = template.split("\n")
    while body and body[0].startswith("#"):
        body.pop(0)  # how to use the template
    for line in body:
        if header := re.match(r"\[(\w+)\]", line):
            blank = [lines.pop() for _ in range(len(lines)) if lines and (not lines[-1] or lines[-1].startswith("#"))]
            lines += [*rest_of(table), *reversed(blank)]
            table = header[1]
        found = re.match(r"(\w+) = [^#]*?(\s*#.*)?$", line)
        key = f"{table}.{found[1]}" if found and table else found[1] if found else ""
        if found and key in left:
            del left[key]
            line = f"{found[1]} = {toml(values[key])}{found[2] or ''}"
        lines.append(line)
    lines += rest_of(table)
    about = "".join(letter if letter.isprintable() else " " for letter in about)  # a folder's name may have two lines
    return "\n".join([f"# {about}. Made by `gristmill new`.", *lines]).rstrip("\n") + "\n"


def toml(value: Any) -> str:
    """A value as a recipe writes it: as JSON, but for the one control character that JSON lets stand."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
