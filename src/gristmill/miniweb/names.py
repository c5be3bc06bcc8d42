"""Names: real and invented people draw from the same generator, so only reading tells who exists."""

from __future__ import annotations

import random

FIRST = [
    "Bel",
    "Dor",
    "Fen",
    "Gar",
    "Hal",
    "Ima",
    "Jor",
    "Kel",
    "Lin",
    "Mar",
    "Nel",
    "Osm",
    "Per",
    "Quil",
    "Ros",
    "Sel",
    "Tam",
    "Una",
    "Vel",
    "Wil",
    "Yar",
    "Zin",
    "Ad",
    "Bri",
    "Cor",
    "Del",
    "Eri",
    "Fol",
    "Gwen",
    "Hest",
]
FIRST_END = [
    "win",
    "ric",
    "na",
    "sa",
    "mir",
    "len",
    "da",
    "vin",
    "rik",
    "sta",
    "bel",
    "ton",
    "ra",
    "neth",
    "lo",
    "mund",
    "wyn",
    "dra",
    "per",
    "gil",
]
LAST = [
    "Ash",
    "Black",
    "Cold",
    "Dun",
    "Elder",
    "Fair",
    "Grey",
    "Hill",
    "Iron",
    "Kings",
    "Lamb",
    "Mill",
    "North",
    "Oak",
    "Pin",
    "Quarry",
    "Red",
    "Stone",
    "Thorn",
    "Under",
    "West",
    "Wind",
    "Wood",
    "Young",
    "Barn",
    "Crow",
    "Deer",
    "Frost",
    "Gold",
    "Hazel",
]
LAST_END = [
    "ham",
    "ford",
    "wick",
    "mere",
    "low",
    "field",
    "ley",
    "worth",
    "combe",
    "stead",
    "gate",
    "moor",
    "bury",
    "den",
    "shaw",
    "brook",
    "croft",
    "well",
]
TOWN = (
    "Harn Lows Briar Tolm Wex Pell Corm Dray Esk Fald Gorm Holt Iver Kest Lorn Mard Nors Oxen Rud Sted Thax Ulver Wym "
    "Aln Beck Chel Dunst Fos Glas Hed"
).split()
TOWN_MIDDLE = ["", "", "ing", "er", "en", "le", "el", "or", "an", "is", "um", "all"]
TOWN_END = (
    "moor gate bridge port vale minster holm wick haven ton stow thorpe mouth cliffe side bourne cross hythe".split()
)


class Names:
    """Draws names that were never drawn before."""

    def __init__(self, random: random.Random) -> None:
        self.random, self.used = random, set[str]()

    def fresh(self, *words: tuple[list[str], ...]) -> str:
        """A name: each word is put together from one piece of every list."""
        while True:
            name = " ".join("".join(self.random.choice(pieces) for pieces in word) for word in words)
            if name not in self.used:
                self.used.add(name)
                return name

    def person(self) -> str:
        """First and family name: one of 324,000."""
        return self.fresh((FIRST, FIRST_END), (LAST, LAST_END))

    def town(self) -> str:
        """A town's name: one of 5,940."""
        return self.fresh((TOWN, TOWN_MIDDLE, TOWN_END))
