"""What was memorised: long passages word for word, and short secrets that were planted to be found again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gristmill.report.blocks import Block, Figure, Prose, Quote, Section, Table
from gristmill.report.plot import bar_chart, number
from gristmill.report.reading import Folders, percent, span, times, values

HEAD = ("text", "passages tried", "completed", "95 % interval", "tokens matched on average", "95 % interval")
LENGTHS = ("given of a passage", "trained on, completed", "95 % interval", "control: held-out text", "its interval")
SIGNS = ("what", "figure", "95 % interval", "control: held-out text", "its interval")
PLANTED = ("planted", "secrets", "exposure, bits (95 % interval)", "control", "came out when asked for", "control")
TERMS = (
    "Word for word is not all. A model may know a text from its beginning only, may write runs of it unasked, and may "
    "find trained text likelier than other text. Then a document that was trained on can be told from one that was not "
    "(how surely, the area under the ROC curve says: 0.5 is a guess, 1 is always). What trained text costs the model "
    "less than held-out text, in bits, is what its weights hold of it beyond what holds for all text of the kind."
)
SHOWN = 3  # examples


def memorised(folders: Folders) -> Section | None:
    """Passages completed word for word by number of copies and length of prefix, and what became of secrets."""
    found = values(folders, "audit", "audit.json")
    if not found:
        return None
    rows = [
        [f"trained on, {span(row)} {'copy' if row['to'] == 1 else 'copies'}", *cells(row)] for row in found["train"]
    ]
    rows.append(["held out", *cells(found["heldout"])])
    blocks: list[Block] = [
        Prose(verdict(found)),
        Table("Passages completed word for word", HEAD, rows),
        Table("The same by how much of a passage is given", LENGTHS, by_length(found)),
    ]
    if more := other_signs(found):
        blocks += [Prose(TERMS), Table("Other signs of it", SIGNS, more)]
    blocks += secrets(found)
    for one in found["examples"][:SHOWN]:
        word = (
            ", word for word"
            if one["exact"]
            else f"; {number(one.get('matched_tokens', 0))} of its tokens as in the text"
        )
        blocks += [Quote(f"prompt, from {one['url']}", one["prompt"]), Quote(f"the model{word}", one["model"])]
    return Section(
        "What was memorised",
        f"The model sees {found['prompt_tokens']} tokens of a text and completes it; counted is how often the next "
        f"{found['continuation_tokens']} come out word for word. Held-out text is the control: what is completed there "
        "can be guessed and need not have been memorised.",
        blocks,
    )


def by_length(found: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the second table; none for an audit that tried one length."""
    tried = found.get("prefix_lengths", [])
    return [
        [
            f"{number(one['prompt_tokens'])} tokens",
            *sides({"train": one, "heldout": one["heldout"]}, ("train", "heldout"), "fraction"),
        ]
        for one in (tried if len(tried) > 1 else ())
    ]


def other_signs(found: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the third table; none for an audit that did not measure them."""
    rows = []
    if begun := found.get("beginnings"):
        rows.append(["completed from where a document begins", *sides(begun, ("train", "heldout"), "fraction")])
    if free := found.get("free_generation"):
        what = f"of what it writes unasked, in runs of {number(free['run_tokens'])} tokens or more of training text"
        rows.append([what, *sides(free, ("written", "heldout"), "share")])
    if members := found.get("membership"):
        for key, name in (("loss", "its loss"), ("min_k_plus_plus", "Min-K%++")):
            one = members[key]
            told = [number(one["auc"]), between(one["interval"], number)]
            told += [number(one["control"]), between(one["control_interval"], number)]
            rows.append([f"a document's being trained on, told by {name}", *told])
        for name, words in (("bits_memorised", "bits memorised"), ("bits_per_parameter", "the same a parameter")):
            rows.append([words])
            for key in (name, f"{name}_control"):
                value = members.get(key)
                rows[-1].append(number(value) if value is not None else "")
                rows[-1].append(between(members.get(f"{key}_interval"), number))
    elif "membership" in found:
        rows.append(["a document's being trained on, and bits memorised", "none tried: too few documents", "", "", ""])
    return rows


def sides(found: Mapping[str, Any], names: Sequence[str], key: str) -> list[str]:
    """A share of each of some texts, with its interval."""
    each = [(share(found[name][key]), between(found[name]["interval"], percent)) for name in names]
    return [cell for pair in each for cell in pair]


def secrets(found: Mapping[str, Any]) -> list[Block]:
    """Planted secrets: how likely the model finds them, and whether they come out; and those that were replaced."""
    blocks: list[Block] = []
    if found["exposure"]:
        bars = [(f"planted {times(row['copies'])}", [("", float(row["mean"]))]) for row in found["exposure"]]
        top = number(found["exposure"][-1]["possible"])
        caption = f"Exposure of planted secrets, bits (at most {top})"
        rows = [
            [
                *(times(row["copies"]), number(row["canaries"])),
                number(row["mean"]) + bracketed(row.get("mean_interval"), number),
                number(row["control"]) + bracketed(row.get("control_interval"), number),
                f"{number(asked['out'])} of {number(asked['secrets'])}" + bracketed(asked.get("interval"), percent),
                share(asked["control"]) + bracketed(asked.get("control_interval"), percent),
            ]
            for row, asked in zip(found["exposure"], found["prompted"], strict=True)
        ]
        blocks += [
            Prose(exposure(found)),
            Figure(caption, bar_chart(bars, "exposure by copies")),
            Table("Planted secrets, by how often they were planted", PLANTED, rows),
        ]
    gone = found.get("redacted", {})
    if gone.get("secrets"):
        blocks.append(
            Prose(
                f"Of {number(gone['secrets'])} values that were taken out of the text before training, "
                f"{number(gone['out']) if gone['out'] else 'none'} came out when the model was given the words before "
                f"them (95 % interval {between(gone['interval'], percent)}){control_of(gone)}."
            )
        )
    return blocks


def control_of(gone: Mapping[str, Any]) -> str:
    """What is said of the control of values that were taken out, where there is one."""
    if gone.get("control") is None:
        return ""
    sure = bracketed(gone["control_interval"], percent)
    return (
        f"; of as many values of the same form that stood elsewhere, looked for there, {share(gone['control'])}{sure}"
    )


def bracketed(interval: Sequence[float] | None, shown: Callable[[float], str]) -> str:
    """` (low to high)`; empty where there is none."""
    return f" ({between(interval, shown)})" if interval else ""


def share(value: float | None) -> str:
    """A share, or that nothing was tried."""
    return "none tried" if value is None else percent(value)


def between(interval: Sequence[float] | None, shown: Callable[[float], str]) -> str:
    """`low to high`; empty where nothing was tried."""
    return f"{shown(interval[0])} to {shown(interval[1])}" if interval else ""


def verdict(found: Mapping[str, Any]) -> str:
    """In one sentence, what came out of long passages and of planted secrets."""
    tried = sum(row["passages"] for row in found["train"])
    whole = sum(row["whole"] for row in found["train"])
    told = (
        f"{number(whole) if whole else 'None'} of {number(tried)} passages of the training text came out word for word"
    )
    ranked = first_ranked(found)
    if not ranked:
        return f"{told}."
    first, planted, copies, possible = ranked
    many = f"all {number(planted)}" if first == planted else f"{number(first)} of the {number(planted)}"
    joined = ", and yet" if first and not whole else "; and"
    return (
        f"{told}{joined} {many} short secrets that were planted {times(copies)} in it "
        f"are the model's first guess among {number(possible)}: not reciting long passages does not mean that nothing "
        "in them was memorised."
        if first
        else f"{told}; of the {number(planted)} short secrets that were planted {times(copies)} in it, none is the "
        f"model's first guess among {number(possible)}."
    )


def first_ranked(found: Mapping[str, Any]) -> tuple[int, int, int, int] | None:
    """Of the secrets planted most often: how many the model ranks first, how many there are, copies, and candidates."""
    if not found.get("exposure") or not found.get("canaries"):
        return None
    copies = found["exposure"][-1]["copies"]
    ranks = [one["rank"] for one in found["canaries"] if one["copies"] == copies]
    return ranks.count(1), len(ranks), copies, round(2 ** found["exposure"][-1]["possible"])


def exposure(found: Mapping[str, Any]) -> str:
    """What exposure is."""
    last = found["exposure"][-1]
    count, most = number(round(2 ** last["possible"])), number(last["possible"])
    return (
        f"Planted secrets (canaries) are sentences with a random code, put into the text a known number of times. The "
        f"model ranks the true code among {count} possible ones by how likely it finds each. Exposure is the logarithm "
        f"to base 2 of {count} over that rank: {most} bits where it is the first guess, about 1.4 on average where the "
        "model knows nothing of it. The control is another code, which was not planted, ranked in the same way. Asked "
        "for means that the model gets the words before the code and writes on: once greedily, and a few samples."
    )


def cells(row: Mapping[str, Any]) -> list[str]:
    """The cells of one row."""
    matched = "" if row["matched_tokens"] is None else number(row["matched_tokens"])
    return [
        *(number(row["passages"]), share(row["fraction"]), between(row["interval"], percent)),
        *(matched, between(row["matched_interval"], number)),
    ]
