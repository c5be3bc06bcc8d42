"""Write FineWeb-2's figures by language into the package, from a checkout of https://github.com/huggingface/fineweb-2.

Of a language that is written in several scripts, or that ISO 639-3 counts as several, the stop words of all are taken
and of each figure the one that lets more through. Needs PyYAML.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from gristmill.settings.languages import LANGUAGES

OUT = Path(__file__).parents[1] / "src" / "gristmill" / "corpus" / "filter" / "fineweb2.json"
# languages of ISO 639-1 that are several in ISO 639-3: the one that most text is in
MEANT = dict(
    pair.split(":")
    for pair in (
        "ara:arb zho:cmn nor:nob msa:zsm aze:azj lav:lvs sqi:als est:ekk mon:khk uzb:uzn kur:kmr swa:swh nep:npi "
        "ori:ory pus:pbt mlg:plt orm:gaz que:quy ful:fuv tgl:fil"
    ).split()
)
LARGER = ("dup_line_frac", "max_avg_word_length", "new_line_ratio")  # the larger figure lets more through
SMALLER = ("min_avg_word_length", "line_punct_thr", "max_non_alpha_words_ratio")


def merged(found: list[dict[str, Any]]) -> dict[str, Any]:
    """One language's figures from those of its scripts."""
    one: dict[str, Any] = {key: max(each[key] for each in found) for key in LARGER}
    one |= {key: min(each[key] for each in found) for key in SMALLER}
    for key in ("top_n_grams", "dup_n_grams"):
        one[key] = [[n, max(dict(each[key])[n] for each in found)] for n, _ in found[0][key]]
    one["stopwords"] = sorted({word for each in found for word in each["stopwords"]})
    return one


def main() -> None:
    """Write `fineweb2.json`: language, as documents have it → figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    folder = parser.parse_args().checkout / "configs"
    table = {}
    for short, long, _ in LANGUAGES:
        paths = sorted(folder.glob(f"{MEANT.get(long, long)}_*.yml")) if short != "en" else []  # English is FineWeb's
        if paths:
            table[short] = merged([yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths])
    lines = ",\n".join(
        f"{json.dumps(code)}: {json.dumps(one, ensure_ascii=False)}" for code, one in sorted(table.items())
    )
    OUT.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    print(f"{len(table)} languages; none for {sorted({short for short, *_ in LANGUAGES} - table.keys())}")


if __name__ == "__main__":
    main()
