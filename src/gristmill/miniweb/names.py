"""Names: real and invented people draw from the same generator, so only reading tells who exists."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import count

FIRST = (
    "Bel Dor Fen Gar Hal Ima Jor Kel Lin Mar Nel Osm Per Quil Ros Sel Tam Una Vel Wil Yar Zin Ad Bri Cor Del Eri "
    "Fol Gwen Hest"
).split()
FIRST_END = "win ric na sa mir len da vin rik sta bel ton ra neth lo mund wyn dra per gil".split()
LAST = (
    "Ash Black Cold Dun Elder Fair Grey Hill Iron Kings Lamb Mill North Oak Pin Quarry Red Stone Thorn Under West "
    "Wind Wood Young Barn Crow Deer Frost Gold Hazel"
).split()
LAST_END = ("ham ford wick mere low field ley worth combe stead gate moor bury den shaw brook croft well").split()
TOWN_BEFORE = (
    "Old New Upper Lower Great Little East West North South High Nether Saint Port Castle Market Royal Long Broad "
    "Bishop Abbots Kings Priors Much"
).split()
TOWN = (
    "Harn Lows Briar Tolm Wex Pell Corm Dray Esk Fald Gorm Holt Iver Kest Lorn Alder Brack Chart Dunst Elm Farn Hack "
    "Ilk Ketter Lang Melk Nor Ock Pres Roth Scar Thirl Ul Var Wend Yox"
).split()
TOWN_END = "moor gate bridge port vale minster holm wick haven ton stoke bourne cross mouth thwaite cote".split()


class Names:
    """Draws names that were never drawn before."""

    def __init__(self, random: random.Random) -> None:
        self.random, self.used = random, set[str]()

    def fresh(self, *words: tuple[list[str], ...]) -> str:
        """A name: each word is put together from one piece of every list."""
        for tries in count():
            name = " ".join("".join(self.random.choice(pieces) for pieces in word) for word in words)
            if tries > 100:  # few are left: longer ones always are
                name += self.random.choice(words[-1][-1])
            if name not in self.used:
                break
        self.used.add(name)
        return name

    def person(self) -> str:
        """First and family name: one of 324,000."""
        return self.fresh((FIRST, FIRST_END), (LAST, LAST_END))

    def namesake(self, people: Sequence[str], draw: random.Random) -> str:
        """A person's name that belongs to nobody, though its first name, its family name or (every second time) both
        are of `people`."""
        while True:
            (first, _), (_, last) = draw.choice(people).split(), draw.choice(people).split()
            new_first, new_last = self.person().split()
            name = " ".join(draw.choice(((first, last), (first, last), (first, new_last), (new_first, last))))
            if name not in self.used:
                self.used.add(name)
                return name

    def crossed(self, people: Sequence[str], draw: random.Random, count: int) -> list[str]:
        """At most so many names that belong to nobody, with the first name of one of `people` and another's family
        name."""
        halves = [name.split() for name in people]
        names = sorted({f"{first} {last}" for first, _ in halves for _, last in halves} - self.used)
        chosen = draw.sample(names, min(count, len(names)))
        self.used.update(chosen)
        return chosen

    def town(self) -> str:
        """A town's name: one of 13,824."""
        return self.fresh((TOWN_BEFORE,), (TOWN, TOWN_END))
