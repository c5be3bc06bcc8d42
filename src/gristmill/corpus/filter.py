"""Stage `filter`: documents → good documents. One pass, one document in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from gristmill.corpus import rules
from gristmill.corpus.drops import DropLog
from gristmill.document import Document, count_documents, read_documents, write_documents
from gristmill.errors import UserError
from gristmill.manifest import Manifest
from gristmill.progress import Progress
from gristmill.recipe import Filter


def chain(params: Filter) -> list[rules.Rule]:
    """The rules of a recipe, in order. Raises UserError for a name that is none."""
    known: dict[str, rules.Rule] = {
        "gopher_quality": rules.gopher_quality(params.min_words),
        "gopher_repetition": rules.gopher_repetition,
        "c4": rules.c4,
        "fineweb": rules.fineweb,
    }
    unknown = [name for name in params.rules if name not in known]
    if unknown:
        raise UserError(f"filter.rules: unknown rule {', '.join(unknown)}", f"choose from {', '.join(known)}")
    first = [rules.language(params.languages, params.min_language_score)] if params.languages else []
    return [*first, *(known[name] for name in params.rules)]


def run(inputs: Mapping[str, Path], params: Filter, out: Path) -> Manifest:
    """Keep documents that pass every rule; each that does not is counted and logged under the first that it fails."""
    total = count_documents(inputs["corpus"])
    applied = chain(params)
    with Progress("filter", total, "documents") as bar, DropLog(out / "dropped.jsonl") as log:

        def passing() -> Iterator[Document]:
            for document in read_documents(inputs["corpus"]):
                bar.advance()
                failed = next(filter(None, (rule(document) for rule in applied)), None)
                if failed is None:
                    yield document
                else:
                    log.drop(document.id, document.url, failed)

        kept = write_documents(out / "documents.parquet", passing())
    if not kept:
        worst = ", ".join(f"{name} {count}" for name, count in log.rules.most_common(3))
        raise UserError(f"the filters dropped all {total} documents ({worst})", "loosen [filter] in the recipe")
    return Manifest(counts={"documents_in": total, "documents_out": kept}, dropped=dict(sorted(log.rules.items())))
