"""FineWeb-2's rules by language: texts of a language pass its own bounds, and fail for the reason that is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gristmill.corpus.filter.candidate import Candidate
from gristmill.corpus.filter.stage import chain
from gristmill.document import Document
from gristmill.recipe import Filter
from gristmill.settings.languages import LANGUAGES

GERMAN = (
    "Am Rande des Dorfes steht eine alte Mühle, die von einem kleinen Fluss getrieben wird. Der Müller geht jeden "
    "Morgen ans Ufer und sieht nach dem Wasser. Wenn der Sommer trocken ist, bleibt das Rad stehen, und die Leute "
    "müssen mit ihrem Korn in den nächsten Ort fahren. Im Herbst aber ist er von früh bis spät bei der Arbeit, "
    "denn dann kommen sie alle zu ihm. Er sagt immer, gutes Mehl brauche seine Zeit, und er hat damit wohl recht."
)
FRENCH = (
    "À l’entrée du village, il y a un vieux moulin au bord de la rivière. Le meunier se lève avec le soleil et "
    "regarde si l’eau est assez haute. En été, la roue ne tourne pas toujours, et les gens vont dans le village "
    "voisin avec leur grain. À l’automne, tous viennent chez lui, et personne ne se plaint de l’attente, car la "
    "farine est bonne et le pain qu’on en fait l’est aussi."
)
CHINESE = (
    "村子旁边有一条小河，河上立着一座旧磨坊。磨坊主清晨就起床，到岸边去看水位。夏天雨少的时候，轮子转不动，大家只好去邻村。\n"
    "后来县里修了水库，水流终年不断，这里又热闹起来。孩子们放学以后常来玩耍，听老人讲过去的故事。"
)


def verdict(text: str, language: str) -> str | None:
    (check,) = chain(Filter(rules=["fineweb2"], languages=[], min_words=20))
    return check(Candidate(Document("1", text, language=language)))


@pytest.mark.parametrize(("text", "language"), [(GERMAN, "de"), (FRENCH, "fr"), (CHINESE, "zh")])
def test_texts_pass_the_rules_of_their_language_and_not_of_another(text: str, language: str) -> None:
    assert verdict(text, language) is None
    assert verdict(text, "ru") == "fineweb2_stop_words"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Mühle Fluss.", "fineweb2_too_short"),
        (" ".join(f"Wort{n}wort" for n in range(60)) + ".", "fineweb2_stop_words"),
        ("\n".join([GERMAN, *["Mehr lesen Sie hier in unserem Heft."] * 12]), "fineweb2_repeated_lines"),
        (GERMAN + " " + "der alte Müller und die Mühle " * 40, "fineweb2_top_2gram"),
        (GERMAN + "\n" + "\n".join(f"Nr {n}" for n in range(200)), "fineweb2_list"),
        (GERMAN + " " + " ".join(f"{n}.{n}," for n in range(300)), "fineweb2_no_letters"),
    ],
)
def test_what_fails_is_named(text: str, rule: str) -> None:
    assert verdict(text, "de") == rule


def test_a_language_without_bounds_is_asked_for_its_length_only() -> None:
    assert verdict("xyz " * 100, "zxx") is None and verdict("xyz", "zxx") == "fineweb2_too_short"


def test_english_is_asked_what_fineweb_asks() -> None:
    assert verdict("word " * 100, "en") == "gopher_top_2gram"


def test_every_language_of_fineweb2_has_plausible_bounds() -> None:
    import gristmill.corpus.filter.language_rules as rules

    table = json.loads((Path(rules.__file__).parent / "fineweb2.json").read_text())
    assert set(table) <= {short for short, *_ in LANGUAGES} and len(table) > 120
    for own in rules.bounds().values():
        assert len(own.stop_words) >= 2 and own.word_length[0] < own.word_length[1]
        assert own.repeated_lines > 0 and own.lines_a_word > 0 and own.terminal_lines < 1
        assert [name for name, _ in own.ngrams] == [
            *(f"top_{n}gram" for n in (2, 3, 4)),
            *(f"repeated_{n}grams" for n in range(5, 11)),
        ]
