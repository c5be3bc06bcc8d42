"""The data card, and a draft of the public summary that the EU's AI Act asks of general-purpose models.

The summary has the sections of the template of 24 July 2025 (Article 53(1)(d) of Regulation (EU) 2024/1689). Whatever
no counter of the run says is left TO BE PROVIDED: by a person, who also checks the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import StrictUndefined, Template

from gristmill.report.provenance.origins import OPEN, UNKNOWN, Origins
from gristmill.settings.stages import CORPUS

TOP = 0.1  # share of the hosts that the summary names, the largest first (section 2.3)
NAMED = 8  # languages or licences in a row of the model card
SHOWN = 50  # rows of a table of the card
SIGNALS = {"noindex": "noindex", "noai": "noai", "tdm": "TDM reservation"}
SIZES = ((10**9, "less than 1 billion tokens"), (10**13, "1 billion to 10 trillion tokens"))  # of text (section 1.3)
LARGEST = "more than 10 trillion tokens"


def data_card(origins: Origins, name: str) -> str:
    """What the training text is made of, Markdown."""
    lines = [
        f"# Data card of {name}",
        "",
        f"{origins.documents:,} documents, {origins.bytes:,} bytes of text, as stage `{origins.corpus}` left them.",
        "",
    ]
    for key, title in (("host", "Hosts"), ("licence", "Licences"), ("language", "Languages"), ("month", "Fetched in")):
        lines += [f"## {title}", "", *table(origins, key), ""]
    lines += ["## What the stages decided", "", "| stage | decision | documents |", "| --- | --- | --- |"]
    lines += [f"| crawl | {outcome} | {count:,} |" for outcome, count in sorted(origins.outcomes.items())]
    for stage in CORPUS:
        made = origins.made.get(stage)
        for rule, count in sorted(made.dropped.items()) if made else ():
            lines.append(f"| {stage} | dropped: {rule} | {count:,} |")
    redacted = origins.made["redact"].counts if "redact" in origins.made else {}
    rules = sorted(key for key in redacted if key.startswith("redact."))
    lines += [f"| redact | replaced: {rule.partition('.')[2]} | {redacted[rule]:,} |" for rule in rules]
    return "\n".join(lines) + "\n"


def texts_told(origins: Origins) -> Iterator[tuple[str, str]]:
    """What the model card says of the texts of a run that trained a model, in words and figures."""
    sizes, total = origins.by["language"].most_common(), max(1, origins.bytes)
    yield "languages of the texts of its run, by bytes", listed([f"{name} {size / total:.1%}" for name, size in sizes])
    counted = origins.counts["licence"].most_common()
    stated = [f"{'none' if name == UNKNOWN else name} {count:,}" for name, count in counted]
    yield f"licences that these {origins.documents:,} documents state", listed(stated)
    yield "more on these texts", "[data card](data_card.md)"


def listed(values: Sequence[str]) -> str:
    """The first values of a row, and how many more there are."""
    more = f" and {len(values) - NAMED:,} more" if len(values) > NAMED else ""
    return ", ".join(map(cell, values[:NAMED])) + more


def cell(value: str) -> str:
    """What a page says of itself, as a table in Markdown can hold it."""
    return " ".join(value.split()).replace("|", "\\|")


def table(origins: Origins, key: str) -> Iterator[str]:
    """Rows of a table, the largest first."""
    yield f"| {key} | documents | bytes | share |"
    yield "| --- | --- | --- | --- |"
    largest = sorted(origins.by[key].items(), key=lambda item: (-item[1], item[0]))
    for value, size in largest[:SHOWN]:
        yield f"| {cell(value)} | {origins.counts[key][value]:,} | {size:,} | {size / max(1, origins.bytes):.1%} |"
    if rest := largest[SHOWN:]:
        count = sum(origins.counts[key][value] for value, _ in rest)
        yield f"| {len(rest):,} more | {count:,} | {sum(size for _, size in rest):,} | |"


def public_summary(origins: Origins, name: str) -> str:
    """The draft of the summary, Markdown."""
    made, hosts = origins.made, [item for item in origins.by["host"].most_common() if item[0] != UNKNOWN]
    tokens = round(made["tokenize"].metrics.get("train_tokens", 0)) if "tokenize" in made else 0
    honoured = origins.setting("crawl", "honour") or origins.setting("extract", "honour") or []
    dropped = made["extract"].dropped if "extract" in made else {}
    kept_out = [("robots.txt", origins.outcomes["robots"])] if "crawl" in made else []
    kept_out += [(SIGNALS[signal], origins.outcomes[signal] + dropped.get(signal, 0)) for signal in honoured]
    values = {
        "name": name,
        "open": OPEN,
        "size": next((text for bound, text in SIZES if tokens < bound), LARGEST) if tokens else OPEN,
        "tokens": f"{tokens:,}",
        "bytes": f"{origins.bytes:,}",
        "languages": ", ".join(value for value, _ in origins.by["language"].most_common() if value != UNKNOWN),
        "months": sorted(month for month in origins.by["month"] if month != UNKNOWN),
        "snapshot": origins.setting("common_crawl", "snapshot"),
        "delay": origins.setting("crawl", "delay"),
        "agent": origins.setting("crawl", "user_agent"),
        "requested": f"{origins.requested:,}",
        "pages": f"{sum(origins.outcomes[name] for name in ('page', 'copy', 'unchanged')):,}",
        "documents": f"{origins.documents:,}",
        "hosts": f"{len(hosts):,}",
        "largest": [(host, f"{size:,}") for host, size in hosts[: max(1, round(TOP * len(hosts)))]],
        "synthetic": "miniweb" in made,
        "paths": len(origins.setting("extract", "paths") or []),
        "signals": ", ".join(SIGNALS[signal] for signal in honoured),
        "kept_out": [(what, f"{count:,}") for what, count in kept_out],
        "redacted": f"{origins.count('redact', 'documents_redacted'):,}",
    }
    template = Path(__file__).with_name("public_summary.md.jinja").read_text(encoding="utf-8")
    return str(Template(template, keep_trailing_newline=True, undefined=StrictUndefined).render(values))
