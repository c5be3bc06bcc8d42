"""Examples of reading, made of the pages without a teacher: numbered passages and a question → the words of one of
them with its number, or that the pages do not say.

A question is made of what a page's own form says: a heading asks for what is below it, a term for its definition, an
option or a row for its description, a sentence before code for the code, a blank for the sentence. Its passages are
those that a search finds for it, without the right one where the answer is that the pages do not say.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import zip_longest
from pathlib import Path
from typing import Any

from gristmill.chat.layouts import PAGES
from gristmill.files import write_text
from gristmill.passages.cut import HEADING, ITEM, SENTENCE, blocks, is_term, size_of
from gristmill.passages.extractive import DECLINED, best_stretch
from gristmill.passages.search import Search

TRAINING, HELDOUT = "reading.jsonl", "reading_heldout.jsonl"
SHOWN, READ = 3, 60  # passages of a prompt, and words of each: a context of 512 tokens holds them
ORDER = "Answer with a sentence of one of these passages and its number. If none has the answer, say: " + DECLINED
UNANSWERED = 0.25  # share of the examples whose passages do not have the answer
HELD_PAGES = 0.1  # share of the pages that are only in the examples that measure
HELD_KINDS = ("row", "code")  # only there, too
ANSWER_WORDS = 60  # at most
SUBJECT_WORDS = 10
# what a kind's questions are like: in training, and (the last) in the examples that measure
PHRASINGS = {
    "heading": ("{0}", "how do I {0}?", "tell me about {0}", "{0} in {1}", "What do the pages say about {0}?"),
    "faq": ("{0}", "{0} ({1})", "I would like to know: {0}"),
    "definition": ("What is {0}?", "what does {0} do", "{0} in {1}", "explain {0}", "What is {0} good for?"),
    "item": ("What is {0}?", "{0}", "what does {0} mean in {1}", "When would I use {0}?"),
    "row": ("What does {0} stand for?",),
    "code": ("Show me how to do this: {0}",),
    "blank": ("{0}", "fill in: {0}", "{1}: {0}", "Which word is missing? {0}"),
}
CELLS = re.compile(r"(?<!\\)\|")
NAMED = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)]) +([^\s].{0,60}?)(?:: | [—–-] )(\S.*)", re.DOTALL)
FACT = re.compile(r"(?<!\S)[^\s\w]{0,2}(?:\d[\w.]*|\w+(?:[._/-]+\w+)+|[A-Z][a-z]+[A-Z]\w+)(?=[\s,.;:!?)]|$)")
NUMBER = re.compile(r"^(?:Chapter |Appendix )?[\d.]+\s+|\(.*$")  # of a heading; what a term is called with


@dataclass(frozen=True)
class Fact:
    """What a passage says of a subject, in its own words on one line."""

    kind: str
    subject: str
    answer: str


def one_line(text: str) -> str:
    """A text without its line breaks: so that no line of a passage can look like the beginning of another one."""
    return " ".join(text.split())


def prompt(question: str, passages: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """The messages that ask for an answer from passages, each a title and a text: one line of the system's message.

    Only a line of its own begins with a passage's number, and control tokens are never read out of a text
    (`chat/template.py`): what a page says can neither end its passage nor open a turn.
    """
    lines = [f"[{n}] {one_line(title)}: {one_line(text)}" for n, (title, text) in enumerate(passages, 1)]
    return [{"role": "system", "content": "\n".join([ORDER, *lines])}, {"role": "user", "content": one_line(question)}]


def write_examples(folder: Path, count: int) -> dict[str, int]:
    """Write about `count` examples of an index's passages into its folder, for training (as `sft.conversations`) and
    to measure; returns how many. The same index gives the same bytes."""
    search = Search(folder)
    files: dict[str, list[str]] = {TRAINING: [], HELDOUT: []}
    for number, page, title, fact in alternating(chosen_facts(search)):
        held = fact.kind in HELD_KINDS or draw(page, "page") < HELD_PAGES
        made = example(search, number, title, fact, held)
        if made and len(files[HELDOUT if held else TRAINING]) < (count // 10 if held else count):
            files[HELDOUT if held else TRAINING].append(json.dumps(made, ensure_ascii=False) + "\n")
        if len(files[TRAINING]) >= count:
            break
    for name, lines in files.items():
        write_text(folder / name, "".join(lines))
    return {"reading_examples": len(files[TRAINING]), "heldout_reading_examples": len(files[HELDOUT])}


def draw(*about: object) -> float:
    """A number from 0 to 1 that depends on nothing else."""
    return int.from_bytes(blake2b(repr(about).encode("utf-8", "surrogatepass"), digest_size=7).digest()) / 256**7


def chosen_facts(search: Search) -> dict[str, list[tuple[int, int, str, Fact]]]:
    """Kind → passage, page, its title and fact, in an order by chance. A subject of several facts asks for none."""
    found: dict[str, list[tuple[int, int, str, Fact]]] = defaultdict(list)
    query = "SELECT p.id, page, title, before, text FROM passages p JOIN pages ON pages.id = page"
    for number, page, title, before, text in search.base.execute(query):
        for fact in facts(before.strip().split("\n")[-1], text):
            found[fact.kind].append((number, page, title, fact))
    for kind, rows in found.items():
        named = Counter(fact.subject.lower() for *_, fact in rows)
        alone = [row for row in rows if named[row[-1].subject.lower()] == 1]
        found[kind] = sorted(alone, key=lambda row: draw(row[0], row[-1].subject))
    return found


def alternating(facts_of: dict[str, list[Any]]) -> Iterator[Any]:
    """The facts of all kinds in turn."""
    for together in zip_longest(*(facts_of[kind] for kind in PHRASINGS if kind in facts_of)):
        yield from (one for one in together if one is not None)


def example(search: Search, number: int, title: str, fact: Fact, held: bool) -> dict[str, Any] | None:
    """The conversation about a fact; None where the passages that would be shown do not hold it."""
    *phrasings, last = PHRASINGS[fact.kind]
    phrasing = last if held else phrasings[int(draw(number, fact.subject, "as") * len(phrasings))]
    question = phrasing.format(fact.subject, title or "these pages")
    asked = search.concepts(question)
    ranked = search.match([concept.term for concept in asked])[: 4 * SHOWN]
    unanswered = draw(number, fact.subject, "none") < UNANSWERED
    place = ranked.index(number) if number in ranked[:SHOWN] else SHOWN - 1
    shown = [one for one in ranked if one != number]
    shown[place:place] = [] if unanswered else [number]
    texts, pages = [], []
    for one in shown[:SHOWN]:
        row = search.row(one)
        pages.append(row[1] or row[2])
        start, end = best_stretch(row[-1], asked, READ)
        texts.append((str(row[3]), row[-1][start:end]))
    there = [fact.answer in one_line(text) for _, text in texts]
    if any(there) == unanswered or (not unanswered and not there[shown.index(number)]):
        return None
    answer = DECLINED if unanswered else f"{fact.answer} [{shown.index(number) + 1}]"
    said = {"role": "assistant", "content": answer}
    return {"messages": [*prompt(question, texts), said], "kind": fact.kind, PAGES: pages}


def facts(above: str, text: str) -> Iterator[Fact]:
    """What the form of a passage says; `above` is the line before it."""
    found = list(blocks(text))
    bodies = [text[block.start : block.end] for block in found]
    kinds = ["term" if is_term(text, block) else block.kind for block in found]
    before = "heading" if HEADING.match(above) else ""
    for kind, body, next_kind, next_body in zip([before, *kinds], [above, *bodies], kinds, bodies, strict=False):
        if next_kind == "text" and kind in ("heading", "term"):
            name = body.lstrip("# ").strip()
            faq = kind == "heading" and name.endswith("?")
            subject = name if faq else subject_of(name)
            yield from fact("faq" if faq else "definition" if kind == "term" else kind, subject, first(next_body))
        if kind in ("text", "term") and body.endswith(":") and next_kind == "code":
            code = one_line(next_body.strip("`"))
            yield from fact("code", last(body).rstrip(":"), code)
    for kind, body in zip(kinds, bodies, strict=True):
        if kind == "row":
            cells = [one_line(cell) for cell in CELLS.split(body.strip().strip("|"))]
            yield from fact("row", cells[0], max(cells[1:], key=len, default=""))
        elif kind == "item" and ITEM.match(body) and (named := NAMED.match(body)):
            yield from fact("item", subject_of(named[1]), first(named[2]))
        elif kind == "text":
            yield from blank(body)


def fact(kind: str, subject: str, answer: str) -> Iterator[Fact]:
    """A fact, unless its subject or its answer is too short or too long to be one."""
    if 0 < size_of(subject) <= 2 * SUBJECT_WORDS and len(subject) > 2 and 3 <= size_of(answer) <= ANSWER_WORDS:
        yield Fact(kind, one_line(subject), answer)


def blank(body: str) -> Iterator[Fact]:
    """A sentence whose first name or figure is left out."""
    sentence = first(body)
    if size_of(sentence) >= 8 and (found := FACT.search(sentence)):
        words = (sentence[: found.start()] + "…" + sentence[found.end() :]).split()
        near = max(0, words.index("…") - SUBJECT_WORDS if "…" in words else 0)
        yield from fact("blank", " ".join(words[near : near + 2 * SUBJECT_WORDS]), sentence)


def subject_of(name: str) -> str:
    """What a heading or a term is about, without its number and what it is called with."""
    return NUMBER.sub("", one_line(name)).strip(" `:.*") if size_of(name) <= SUBJECT_WORDS else ""


def first(text: str) -> str:
    """The first sentence of a text."""
    return one_line(SENTENCE.split(text.strip(), maxsplit=1)[0])


def last(text: str) -> str:
    """Its last one."""
    return one_line(SENTENCE.split(text.strip())[-1])
