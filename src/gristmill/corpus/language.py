"""Which language a text is in: Resiliparse's letter profiles, checked against the words that only grammar uses.

Profiles alone waver on short texts and have no natural score. Function words settle both: texts full of invented
names still hold them, and lists of products, keywords or code do not.
"""

from __future__ import annotations

import re
from collections import Counter

from resiliparse.parse.lang import detect_fast

FUNCTION_WORDS = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the of and to a in is was that it he she they his her for with as on at by from this but not are were "
        "be had has have i you we or an when who which there their its my your one all so if will would what where "
        "how do does did no him them our me then than into out up about been can could said near every after before",
        "de": "der die das und ist in zu den von mit sich des dem nicht ein eine einen einem einer auf für im auch als "
        "war er sie es wie an aus nach bei wir ich noch nur oder aber vor zur zum bis hat wird sind wurde dass am",
        "fr": "le la les de des du et un une est en que qui dans pour pas au aux sur ce il elle ne se plus par avec "
        "son sa ses je nous vous ils cette ou mais comme sont était a été à où leur leurs y si",
        "es": "el la los las de que y en un una es se no por con para su al lo como más pero sus le ya o este sí "
        "porque esta son entre cuando muy sin sobre también me hasta hay donde del fue era ha",
        "it": "il lo la i gli le di che e un una è in non per con si da come più ma del della dei delle al alla nel "
        "nella sono era anche questo questa ha io lui lei o se su dal dalla",
        "pt": "o a os as de que e em um uma é não por com para se do da dos das no na nos nas ao mais como mas foi "
        "ele ela seu sua ou quando muito já eu também só pelo pela até isso são",
        "nl": "de het een en van in is dat op te zijn met voor niet aan er om dan ook als bij maar uit nog naar door "
        "over hij zij ze wij ik je heeft had werd worden deze die was of tot elke",
        "sv": "och att det i en som på är av för med till den har de inte om ett han hon men var jag sig från vi så "
        "kan när",
        "da": "og at det i en som på er af for med til den har de ikke om et han hun men var jeg sig fra vi så kan når",
        "pl": "i w na z do nie się że to jest o jak po co ale od za przez ten dla był jego ich tak już tylko czy są",
    }.items()
}
WORD = re.compile(r"[^\W\d_]+")
LETTERS = 5_000  # characters looked at: more changes nothing
USUAL_SHARE = 0.35  # of running text's words are function words: full score
WORST_RANK = 1_200  # Resiliparse: values above are usually false
SURE = 0.15  # share of function words that overrules the letter profile
FEW_WORDS = 8


def detect(text: str) -> tuple[str, float]:
    """ISO 639-1 code and a score from 0 to 1; ("", 0.0) for text without words.

    The score is the better of two: how near the letter profile is, and how many function words there are.
    """
    text = text[:LETTERS]
    words = Counter(word.lower() for word in WORD.findall(text))
    total = words.total()
    if not total:
        return "", 0.0
    found = detect_fast(text, cutoff=2 * WORST_RANK, n_results=101)
    ranks = dict(found if isinstance(found, list) else [found])
    best = min(ranks, key=lambda code: ranks[code], default="")
    shares = {
        language: sum(words[word] for word in known) / total
        for language, known in FUNCTION_WORDS.items()
        if total >= FEW_WORDS
    }
    grammar = max(shares, key=lambda code: shares[code], default="")
    overruled = grammar and shares[grammar] >= SURE and shares[grammar] > 1.2 * shares.get(best, 0.0)
    # in languages without a list the letter profile stands unless it is far behind
    if overruled and (best in FUNCTION_WORDS or ranks[grammar] < 1.15 * ranks[best]):
        best = grammar
    near = max(0.0, 1 - ranks.get(best, WORST_RANK) / WORST_RANK)
    return best, round(max(near, min(1.0, shares.get(best, 0.0) / USUAL_SHARE)), 4)
