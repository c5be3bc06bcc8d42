"""Stage `filter`: documents → good documents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gristmill.corpus import rules
from gristmill.corpus.mapping import Dropped, Judge, map_documents
from gristmill.document import Document
from gristmill.errors import UserError
from gristmill.manifest import Manifest
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


def build(params: Filter) -> Judge:
    """A judge by the recipe's rules."""
    applied = chain(params)

    def judge(document: Document) -> Document | Dropped:
        failed = next(filter(None, (rule(document) for rule in applied)), None)
        return Dropped(failed) if failed else document

    return judge


def run(inputs: Mapping[str, Path], params: Filter, out: Path) -> Manifest:
    """Keep documents that pass every rule; each that does not is counted and logged under the first that it fails."""
    chain(params)  # a wrong name is told at once
    return map_documents("filter", inputs["corpus"], build, params, out)
