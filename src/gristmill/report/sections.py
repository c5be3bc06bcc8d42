"""What the report tells of each part of the journey: a figure first, then a sentence or two on what it says.

Each function takes the stage folders that there are and returns a section, or None where its stages did not run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from markupsafe import Markup

from gristmill.document import document_files
from gristmill.files import read_jsonl
from gristmill.manifest import Manifest
from gristmill.progress import duration
from gristmill.report import ledger
from gristmill.report.plot import bar_chart, line_chart, number
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import open_split

Folders = Mapping[str, Path]
LEDGER = ("stage", "documents in", "dropped", "kept", "bytes in", "dropped", "edited", "kept", "balances")
SHARES = ("corpus", "share of", "after language", "after quality rules", "after deduplication", "at the end")
SHOWN_TOKENS = 120  # of the sample text
SHOWN_ANSWERS = 4  # of each outcome


@dataclass
class Table:
    """A table with a caption."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Section:
    """One part of the page. Everything but the figures is plain text, escaped by the template."""

    title: str
    says: str
    figures: list[tuple[str, Markup]] = field(default_factory=list)  # (caption, SVG)
    tables: list[Table] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)  # (label, text)
    chats: list[tuple[str, Sequence[Mapping[str, str]]]] = field(default_factory=list)  # (label, messages)
    pieces: list[str] = field(default_factory=list)  # a text cut into tokens


def manifest(folders: Folders, name: str) -> Manifest | None:
    """A stage's manifest, if the stage has run."""
    return Manifest.read(folders[name]) if name in folders else None


def records(folders: Folders, stage: str, file: str) -> list[dict[str, Any]]:
    """The records of a stage's JSON-lines file, if there is one."""
    path = folders[stage] / file if stage in folders else None
    return list(read_jsonl(path)) if path and path.exists() else []


def funnel(folders: Folders) -> Section | None:
    """From pages to documents: what was dropped, by which rule, and what remains from where."""
    rows: list[tuple[str, list[tuple[str, float]]]] = []
    dropped: list[tuple[str, list[tuple[str, float]]]] = []
    crawl = manifest(folders, "crawl")
    if crawl:
        rows = [(f"{name} (crawl)", [("", crawl.counts[name])]) for name in ("urls", "pages") if name in crawl.counts]
    last = None
    for stage in ("extract", "filter", "dedup", "redact", "decontaminate"):
        found = manifest(folders, stage)
        if found:
            last = stage
            rows.append((f"documents after {stage}", [("", found.counts.get("documents_out", 0))]))
            dropped += [(f"{stage}: {rule}", [("", count)]) for rule, count in found.dropped.items()]
    if last is None:
        return None
    hosts = count_hosts(folders[last])
    lines, shares = ledger.rows(folders)
    return Section(
        "From pages to documents",
        "Pages are fetched, their main text is taken out, and what is no good text, in another language or a copy is "
        "dropped. Every document that leaves is counted under the one rule that dropped it.",
        [
            ("What is left after each step", bar_chart(rows, "documents after each step")),
            ("Documents dropped, by rule", bar_chart(sorted(dropped, key=lambda row: -row[1][0][1]), "drops by rule")),
        ],
        [
            Table(
                "Where the text comes from", ("host", "documents"), [(h, number(n)) for h, n in hosts.most_common(12)]
            ),
            Table("The ledger, to the document and the byte", LEDGER, lines),
            Table("What is left, beside published corpora", SHARES, shares),
        ],
    )


def cleaning(folders: Folders) -> Section | None:
    """What was taken out of documents that stayed, and what the evaluation sets had in common with them."""
    filtered, redacted, tested = (manifest(folders, name) for name in ("filter", "redact", "decontaminate"))
    gone = [
        [kind, name.rpartition(".")[2], number(count)]
        for kind, made in (("line removed", filtered), ("replaced", redacted))
        for name, count in sorted((made.counts if made else {}).items())
        if name.startswith(("filter.lines_removed.", "redact."))
    ]
    sets: list[list[str]] = []
    if tested:
        found = json.loads((folders["decontaminate"] / "contamination.json").read_text(encoding="utf-8"))
        sets = [[one["set"], *(number(one[key]) for key in ("items", "too_short", "met"))] for one in found["sets"]]
    if not gone and not sets:
        return None
    return Section(
        "Inside the documents",
        "Lines that belong to sites and not to texts are removed, personal data and keys give way to their kind, and "
        "documents that hold an item of an evaluation set go, so that what is measured is no memory of the answers.",
        tables=[
            Table("Taken out of documents that stayed", ("what", "rule", "how often"), gone),
            Table("Evaluation sets", ("set", "items", "too short to look for", "met in documents, which went"), sets),
        ],
    )


def count_hosts(folder: Path) -> Counter[str]:
    """Documents by host, a row group at a time."""
    hosts: Counter[str] = Counter()
    for path in document_files(folder):
        for batch in pq.ParquetFile(path).iter_batches(columns=["host"]):
            hosts.update(host or "(file)" for host in batch.column(0).to_pylist())
    return hosts


def tokenizer(folders: Folders) -> Section | None:
    """The vocabulary and how it cuts a held-out text."""
    found = manifest(folders, "tokenizer")
    if not found:
        return None
    words = Tokenizer.load(folders["tokenizer"])
    longest = sorted(words.pieces, key=len, reverse=True)[:24]
    facts = [("vocabulary, tokens", number(words.vocab_size))]
    pieces: list[str] = []
    tokens = manifest(folders, "tokenize")
    if tokens:
        facts += [(name.replace("_", " "), number(value)) for name, value in tokens.metrics.items()]
        sample = open_split(folders["tokenize"], "heldout").tokens[:SHOWN_TOKENS]
        pieces = [words.decode([int(token)]) for token in sample]
    return Section(
        "The vocabulary",
        "Byte-pair encoding joins the commonest neighbours again and again, until words that are frequent here are one "
        "token each. Below, a text that the model never trains on, cut into its tokens.",
        tables=[Table("The tokenizer and the token shards", ("figure", "value"), facts)],
        texts=[("Longest tokens", " · ".join(piece.decode("utf-8", "replace").strip() for piece in longest))],
        pieces=pieces,
    )


def curve(log: Sequence[Mapping[str, Any]], name: str, x: str = "tokens") -> list[tuple[float, float]]:
    """The points of one figure of a training log."""
    return [(record[x], record[name]) for record in log if name in record and x in record]


def pretraining(folders: Folders) -> Section | None:
    """Loss curves and samples as training went."""
    log, found = records(folders, "pretrain", "log.jsonl"), manifest(folders, "pretrain")
    if not found:
        return None
    bits = [("training text", curve(log, "train_bpb")), ("held-out text", curve(log, "heldout_bpb"))]
    samples = records(folders, "pretrain", "samples.jsonl")
    return Section(
        "Learning to predict the next token",
        f"{number(found.metrics['parameters'])} parameters read {number(found.counts['tokens'])} tokens. Bits per byte "
        f"on text that the model never trained on ended at {found.metrics['heldout_bpb']:.3f}, on training text at "
        f"{found.metrics['train_bpb']:.3f}. {memorised(found.metrics)}",
        [
            ("Bits per byte, as training went", line_chart(bits, "tokens read", "bits per byte", log="y")),
            ("Loss of each batch", line_chart([("loss", curve(log, "loss"))], "tokens read", "nats per token")),
        ],
        texts=[(f"step {s['step']:,}, after “{s['prompt']}”", s["text"]) for s in spread(samples, 8)],
    )


def memorised(figures: Mapping[str, float]) -> str:
    """What the gap between training text and held-out text says."""
    told = f"Each text was read {figures['epochs']:.1f} times. " if "epochs" in figures else ""
    if "gap_growth" in figures:
        told += (
            f"Since it was smallest, the gap between the two has grown by {figures['gap_growth']:.1%} of the held-out "
            "figure: what grows there is learned by heart rather than in general."
        )
    for name, says in (("gap_opens", "it was opening"), ("heldout_rises", "held-out text was getting worse")):
        if step := figures.get(f"{name}_at_step"):
            told += f" At step {number(step)} a warning said that {says}."
    return told


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """First, last and evenly spread items between."""
    if len(items) <= count:
        return list(items)
    return [items[round(index * (len(items) - 1) / (count - 1))] for index in range(count)]


def posttraining(folders: Folders) -> Section | None:
    """The curves of fine-tuning, reward model and RL."""
    figures = []
    for stage, name, label in (
        ("sft", "loss", "loss of fine-tuning"),
        ("reward", "loss", "loss of the reward model"),
        ("rl", "reward", "mean reward in RL"),
        ("rl", "kl", "divergence from the fine-tuned model in RL"),
    ):
        points = curve(records(folders, stage, "log.jsonl"), name, "step")
        if points:
            figures.append((label.capitalize(), line_chart([(name, points)], "steps", label)))
    if not figures:
        return None
    reward = manifest(folders, "reward")
    told = ""
    if reward and "heldout_accuracy" in reward.metrics:
        share = percent(reward.metrics["heldout_accuracy"])
        told = f" On pairs it never saw, the reward model prefers the better answer {share} of the time."
    return Section(
        "From predictor to assistant",
        "Fine-tuning shows the model conversations and teaches it the assistant's turns alone. A reward model learns "
        f"from pairs which answer is better, and RL follows it without straying far from the fine-tuned model.{told}",
        figures,
    )


def percent(share: float) -> str:
    """`93.4%`."""
    return f"{share:.1%}"


def evaluation(folders: Folders) -> Section | None:
    """Scores on held-out questions, by how often the fact was stated, and conversations."""
    path = folders["evaluate"] / "results.json" if "evaluate" in folders else None
    if path is None or not path.exists():
        return None
    results = {name: splits["test"] for name, splits in json.loads(path.read_text()).items() if "test" in splits}
    section = Section(
        "What it knows, and what it admits not knowing",
        "The questions are about entities whose questions were never trained on. Right means that the answer holds the "
        "expected words; declined means that the model said it does not know.",
        chats=[("", record["messages"]) for record in records(folders, "evaluate", "conversations.jsonl")],
    )
    if results:
        final = list(results)[-1]
        outcomes = ("right", "wrong", "declined")
        bars = [
            (f"stated {span(row)} times", [(name, row[name]) for name in outcomes])
            for row in results[final]["by_stated"]
        ]
        section.figures.append(("Answers by how often the corpus states the fact", bar_chart(bars, "answers by count")))
        figures = {
            "answerable_accuracy": "right, of facts stated 50 times or more",
            "unanswerable_declined": "unanswerable: declined",
            "wrong_answer_rate": "unanswerable: answered all the same",
        }
        rows = [[label, *(percent(scores[name]) for scores in results.values())] for name, label in figures.items()]
        section.tables.append(Table("Held-out questions, by model", ("", *results), rows))
        answers = [r for r in records(folders, "evaluate", "answers.jsonl") if r["model"] == final]
        answers = [record for record in answers if record["split"] == "test"]
        for outcome in ("right", "declined", "wrong"):
            for record in spread([r for r in answers if r["outcome"] == outcome], SHOWN_ANSWERS):
                fact = f"the corpus says so {record['stated']} times" if record["answerable"] else "nothing says so"
                pair = (
                    {"role": "user", "content": record["question"]},
                    {"role": "assistant", "content": record["answer"]},
                )
                section.chats.append((f"{outcome}: {fact}", pair))
    return section


def audit(folders: Folders) -> Section | None:
    """What comes out word for word."""
    path = folders["audit"] / "audit.json" if "audit" in folders else None
    if path is None or not path.exists():
        return None
    found = json.loads(path.read_text())
    rows = [[f"trained on, copies: {span(row)}", *numbers(row)] for row in found["train"]]
    section = Section(
        "What was memorised",
        f"The model sees {found['prompt_tokens']} tokens of a text and completes it; counted is how often the next "
        f"{found['continuation_tokens']} come out word for word. Held-out text is the control: what is completed there "
        "can be guessed and need not have been memorised.",
        tables=[
            Table(
                "Passages completed word for word",
                ("text", "passages", "completed", "tokens matched on average"),
                [*rows, ["held out", *numbers(found["heldout"])]],
            )
        ],
    )
    if found["exposure"]:
        bars = [(f"planted {row['copies']} times", [("", row["mean"])]) for row in found["exposure"]]
        possible = number(found["exposure"][-1]["possible"])
        caption = f"Exposure of planted secrets in bits (0: as any other secret; {possible}: the model's first guess)"
        section.figures.append((caption, bar_chart(bars, "exposure by copies")))
    for example in found["examples"][:3]:
        section.texts.append((f"prompt, from {example['url']}", example["prompt"]))
        section.texts.append(("the model" + (", word for word" if example["exact"] else ""), example["model"]))
    return section


def span(row: Mapping[str, Any]) -> str:
    """The range of a bucket: `1`, `2–3`, `10 or more`."""
    if row["to"] >= 10**6:
        return f"{row['from']} or more"
    return str(row["from"]) if row["from"] == row["to"] else f"{row['from']}–{row['to']}"


def numbers(row: Mapping[str, Any]) -> list[str]:
    """The cells of one audit row."""
    return [number(row["passages"]), percent(row["fraction"]), number(row["matched_tokens"])]


def provenance(folders: Folders) -> Section | None:
    """What each stage took and made, for whoever wants to check or repeat it."""
    found = [(name, made) for name in folders if (made := manifest(folders, name))]
    if not found:
        return None
    rows = [
        [name, duration(made.seconds), f"{made.peak_rss_bytes / 2**20:,.0f} MiB", made.version, made.fingerprint[:12]]
        for name, made in found
    ]
    sums = [[f"{name}/{file}", digest[:16]] for name, made in found for file, digest in made.outputs.items()]
    settings = [[f"{name}.{key}", json.dumps(value)] for name, made in found for key, value in made.params.items()]
    return Section(
        "How it was made",
        "The same recipe and seed give the same bytes on the same machine.",
        tables=[
            Table("Stages", ("stage", "time", "peak memory", "version", "fingerprint"), rows),
            Table("Settings", ("setting", "value"), settings),
            Table("Files", ("file", "SHA-256, first 16 digits"), sums),
        ],
    )
