"""Stage `filter`: documents → good documents. One pass, one document in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gristmill.corpus import lines, rules
from gristmill.corpus.blocklists import bad_words, block_list
from gristmill.corpus.candidate import Candidate, Rule
from gristmill.corpus.drops import DropLog
from gristmill.corpus.quality import score_rule
from gristmill.corpus.samples import Samples
from gristmill.document import Document, count_documents, read_documents, write_documents
from gristmill.errors import UserError
from gristmill.manifest import Manifest
from gristmill.progress import Progress
from gristmill.recipe import Filter


def chain(params: Filter) -> list[Rule]:
    """The rules of a recipe, in order: what needs no text, the published rules, lists of words, learned scores.

    Raises UserError for a name that is none, and for a list or model that cannot be read.
    """
    known: dict[str, Rule] = {
        "gopher_repetition": rules.gopher_repetition,
        "gopher_quality": rules.gopher_quality(params.min_words),
        "c4_lines": lines.c4_lines,
        "c4_short_lines": lines.c4_short_lines,
        "c4_line_ends": lines.c4_line_ends,
        "refinedweb_lines": lines.refinedweb_lines,
        "c4": rules.c4,
        "fineweb": rules.fineweb,
    }
    unknown = [name for name in params.rules if name not in known]
    if unknown:
        raise UserError(f"filter.rules: unknown rule {', '.join(unknown)}", f"choose from {', '.join(known)}")
    without = sorted((params.least.keys() | params.most.keys()) - params.scores.keys())
    if without:
        raise UserError(f"filter: no model for the score {', '.join(without)}", "name its file in filter.scores")
    chosen = [rules.language(params.languages, params.min_language_score)] if params.languages else []
    chosen += [rules.licence(params.licences)] if params.licences else []
    chosen += [block_list(params.block_lists)] if params.block_lists else []
    chosen += [known[name] for name in params.rules]
    chosen += [bad_words(params.bad_words, params.max_bad_words)] if params.bad_words else []
    chosen += [
        score_rule(name, path, params.least.get(name), params.most.get(name)) for name, path in params.scores.items()
    ]
    return chosen


def judge(document: Document, chosen: Sequence[Rule]) -> tuple[str | None, Counter[str]]:
    """The first rule that a document fails, or None; and the lines removed from its text, by rule."""
    candidate = Candidate(document)
    failed = next(filter(None, (rule(candidate) for rule in chosen)), None)
    return failed, candidate.removed


def run(inputs: Mapping[str, Path], params: Filter, out: Path) -> Manifest:
    """Keep documents that pass every rule; each that does not is counted and logged under the first that it fails.

    Lines that rules remove from kept documents are counted too. `samples.jsonl` shows some documents of each rule.
    """
    total = count_documents(inputs["corpus"])
    chosen = chain(params)
    removed = Counter[str]()
    samples = Samples()
    with Progress("filter", total, "documents") as bar, DropLog(out / "dropped.jsonl") as log:

        def passing() -> Iterator[Document]:
            for document in read_documents(inputs["corpus"]):
                bar.advance()
                text = document.text
                failed, lines_gone = judge(document, chosen)
                if failed is None:
                    removed.update(lines_gone)
                    samples.add_edit(document, text, lines_gone)
                    yield document
                else:
                    log.drop(document.id, document.url, failed)
                    samples.add(failed, document, text)

        kept = write_documents(out / "documents.parquet", passing())
    if not kept:
        worst = ", ".join(f"{name} {count}" for name, count in log.rules.most_common(3))
        raise UserError(f"the filters dropped all {total} documents ({worst})", "loosen [filter] in the recipe")
    samples.write(out)
    counts = {"documents_in": total, "documents_out": kept}
    if removed:
        counts["lines_removed"] = removed.total()
    return Manifest(
        counts=counts,
        dropped=dict(sorted(log.rules.items())),
        metrics={f"filter.lines_removed.{rule}": count for rule, count in sorted(removed.items())},
    )
