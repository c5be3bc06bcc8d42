"""Language of a text, offline: Resiliparse's n-gram profiles, checked by the commonest words."""

from __future__ import annotations

import re

from resiliparse.parse.lang import detect_fast

# The commonest function words decide before profiles do: text full of invented names misleads those, not these.
COMMON = {
    "en": "the of and to a in is was that it he she for on with as his her they at be this from had not by but have",
    "de": "der die das und ist nicht ein eine zu den mit von dem sich des auf im als auch es an werden aus er hat dass",
    "fr": "le la les de des et est un une dans que qui pour pas sur au avec ce il elle sont plus par ne se du en",
    "es": "el la los las de y que en un una es por con para no se del al lo como más pero sus le su ha este",
    "it": "il lo la gli le di che e un una in per non con del della sono si al come più ma da nel alla era",
    "nl": "de het een en van ik te dat die in is niet op zijn met voor er maar om aan ook als dan bij nog",
    "pt": "o os as de que e do da em um uma para com não se na por mais dos como mas ao ele das à seu",
}
WORDS = {language: frozenset(words.split()) for language, words in COMMON.items()}
WORST = 1200  # Resiliparse's distance from which a text is like no language
SURE = 0.15  # share of function words that settles the question


def detect(text: str) -> tuple[str, float]:
    """ISO 639-1 code and a score in 0..1; ("", 0.0) for a text without words."""
    words = re.findall(r"[^\W\d_]+", text[:4000].lower())
    if not words:
        return "", 0.0
    shares = {language: sum(word in common for word in words) / len(words) for language, common in WORDS.items()}
    best = max(shares, key=lambda language: shares[language])
    rest = max(share for language, share in shares.items() if language != best)
    if shares[best] >= SURE and shares[best] > 1.5 * rest:
        return best, round(min(1.0, 0.5 + shares[best]), 3)
    code, distance = detect_fast(text[:4000], cutoff=WORST)
    return (code, round(max(0.0, 1 - distance / WORST), 3)) if code != "unknown" else ("", 0.0)
