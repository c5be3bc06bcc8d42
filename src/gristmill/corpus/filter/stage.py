"""Stage `filter`: documents → good documents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gristmill.corpus.execution.documents import map_documents
from gristmill.corpus.execution.judge import Dropped, Judge
from gristmill.corpus.execution.samples import lines_gone
from gristmill.corpus.filter import document_rules, line_rules
from gristmill.corpus.filter.candidate import Candidate, Rule
from gristmill.corpus.filter.classifier import score_rule
from gristmill.corpus.filter.language_rules import fineweb2
from gristmill.corpus.filter.lists import bad_words, block_list
from gristmill.corpus.text.words import EAST_WORD, SOUTHEAST_WORD
from gristmill.document import Document
from gristmill.manifest import Manifest
from gristmill.progress import warn
from gristmill.recipe import Filter


def chain(params: Filter) -> list[Rule]:
    """The rules of a recipe, in order: what needs no text, the published rules, lists of words, learned scores.

    Raises UserError for a list or model that cannot be read.
    """
    known: dict[str, Rule] = {
        "gopher_repetition": document_rules.gopher_repetition,
        "gopher_quality": document_rules.gopher_quality(params.min_words),
        "c4_lines": line_rules.c4_lines,
        "c4_short_lines": line_rules.c4_short_lines,
        "c4_line_ends": line_rules.c4_line_ends,
        "refinedweb_lines": line_rules.refinedweb_lines,
        "c4": document_rules.c4,
        "fineweb": document_rules.fineweb,
        "fineweb2": fineweb2(params.min_words),
    }
    chosen = [document_rules.language(params.languages, params.min_language_score)] if params.languages else []
    chosen += [document_rules.licence(params.licences)] if params.licences else []
    chosen += [block_list(params.block_lists)] if params.block_lists else []
    chosen += [known[name] for name in params.rules]
    chosen += [bad_words(params.bad_words, params.max_bad_words)] if params.bad_words else []
    chosen += [
        score_rule(name, path, params.least.get(name), params.most.get(name)) for name, path in params.scores.items()
    ]
    return chosen


class FilterJudge(Judge):
    """Judges by rules, and counts the lines that they take out of documents that stay."""

    def __init__(self, params: Filter) -> None:
        super().__init__()
        self.rules = chain(params)

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, perhaps with fewer lines, or the first rule that it fails."""
        candidate = Candidate(document)
        before = document.text
        failed = next(filter(None, (rule(candidate) for rule in self.rules)), None)
        if candidate.measured and candidate.measures.unspaced:
            self.counts["estimated_words"] += 1
        if failed:
            return Dropped(failed)
        for rule, count in candidate.removed.items():
            self.counts["lines_removed"] += count
            self.counts[f"filter.lines_removed.{rule}"] += count
            self.samples.add(rule, document, "\n".join(lines_gone(before, document.text)))
        return document


def run(inputs: Mapping[str, Path], params: Filter, out: Path) -> Manifest:
    """Keep documents that pass every rule; each that does not is counted and logged under the first that it fails.

    Lines that rules remove from kept documents are counted too, and documents in scripts without spaces, of which rules
    can only estimate how many words they have: that is said.
    """
    chain(params)  # a list or model that cannot be read is reported at once
    made = map_documents("filter", inputs["corpus"], FilterJudge, params, out)
    if estimated := made.counts.get("estimated_words"):
        warn(
            f"filter: {estimated:,} documents are in scripts without spaces: {EAST_WORD} characters count as a word"
            f" ({SOUTHEAST_WORD} in Thai, Lao, Burmese and Khmer), by thresholds that were made for English"
        )
    return made
