"""An assistant over short notes in seven languages: what it answers, declines, takes up and greets.

    python benchmarks/own_text/own_notes.py [--aside] [--together] [--verbose]

notes.jsonl holds eight notes a language (Japanese, Chinese, Korean, Russian, Spanish, German, French) and what
is said to each assistant: `messages`, of which the last counts, and the `page` that answers it, empty where it is to be
declined or greeted. Every other line of a kind is kept aside. --together: one assistant over all notes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gristmill.document import Document, document_id, write_documents
from gristmill.inputs.text_files import read_jsonl
from gristmill.passages import stage
from gristmill.recipe import Passages
from gristmill.serving.quoting import QuotingAssistant

NOTES = Path(__file__).parent / "notes.jsonl"
KINDS = ("answerable", "other", "near", "follow-up", "of its own", "other, after", "greeting")
GREETING = "greeting"


def assistant(notes: Sequence[dict[str, Any]], folder: Path) -> QuotingAssistant:
    """Over some notes, searched by words."""
    out = folder / "passages"
    out.mkdir(parents=True)
    documents = []
    for note in notes:
        name = f"{note['title']}.md"
        about = {"url": name, "source": name, "title": note["title"], "language": note["language"]}
        documents.append(Document(document_id(name, note["text"]), note["text"], **about))
    write_documents(folder / "documents.parquet", documents)
    stage.run({"corpus": folder}, Passages(), out)
    return QuotingAssistant(out, "notes")


def right(asked: dict[str, Any], pages: QuotingAssistant) -> bool:
    """Whether what is said is answered from its page, declined or greeted, as is due."""
    turns = [({"role": "user", "content": one}, {"role": "assistant", "content": "-"}) for one in asked["messages"]]
    reply = pages.reply([message for turn in turns for message in turn][:-1])
    if asked["kind"] == GREETING:
        return not reply.annotations and not reply.passages and len(reply.text()) < 80
    cited = reply.annotations[0]["url_citation"]["url"] if reply.annotations else ""
    return bool(cited == (f"{asked['page']}.md" if asked["page"] else ""))


def main() -> None:
    """Ask, and print how many of each kind are right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aside", action="store_true", help="what is kept aside, not what the search was made with")
    parser.add_argument("--together", action="store_true", help="one assistant over the notes of all languages")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    rows = list(read_jsonl(NOTES))
    counts: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as scratch:
        folders: dict[str, QuotingAssistant] = {}
        for row in rows:
            kept = "all" if given.together else row["language"]
            if kept not in folders:
                notes = [one for one in rows if "text" in one and kept in ("all", one["language"])]
                folders[kept] = assistant(notes, Path(scratch, kept))
            if "kind" in row and row["aside"] == given.aside:
                found = right(row, folders[kept])
                counts[row["language"]][row["kind"]].append(found)
                counts["sum"][row["kind"]].append(found)
                if given.verbose and not found:
                    print("  wrong:", row["language"], row["kind"], row["messages"])
    for language, found_of in sorted(counts.items(), key=lambda pair: pair[0] == "sum"):
        print(f"{language:4}", *(f"{kind} {sum(found_of[kind])}/{len(found_of[kind])}" for kind in KINDS), sep="  ")


if __name__ == "__main__":
    main()
