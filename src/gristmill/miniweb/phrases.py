"""How facts are said: values, statements and questions of each relation. {n} is the name, {v} the value.

An answer restates what was asked and then gives the value, or says that it is not known. Right answers and declines
so begin alike, article and all, and part where the value is recalled: there a model can tell whether it has one.
No value stands as a word in another value, in a name, a question or an answer's beginning: only who gives it is right.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Relation:
    """One kind of fact."""

    answer: str  # a decline has the same words before the value
    values: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]


def lines(text: str) -> tuple[str, ...]:
    """The lines of a text."""
    return tuple(line.strip() for line in text.strip().splitlines())


def values(text: str) -> tuple[str, ...]:
    """Comma-separated values."""
    return tuple(value.strip() for value in text.split(","))


PERSON = {
    "trade": Relation(
        "The trade of {n} is a {v}'s.",
        values(
            "baker, weaver, ferryman, potter, smith, carpenter, printer, tailor, beekeeper, glassblower, cobbler, "
            "mason, miller, clockmaker, gardener, shepherd, brewer, saddler, dyer, teacher"
        ),
        lines("""{n} is a {v} by trade.
            {n} works as a {v}.
            For many years {n} has been a {v}.
            Everyone in the street knows {n} the {v}.
            As a {v}, {n} rises before the sun.
            The {v} of whom people speak is {n}.
            {n} learned young to be a {v} and never wished for other work.
            Ask for a good {v} and you will be sent to {n}.
            It was raining when {n}, a {v}, opened the shop.
            {n} earns a living as a {v}.
            "I am only a {v}," said {n} with a smile.
            No {v} is busier this spring than {n}.
            The guild has written {n} in its book as a {v}.
            {n} makes an honest living, for {n} is a {v}."""),
        lines("""What does {n} do for a living?
            What is the trade of {n}?
            What work does {n} do?
            Do you know the trade of {n}?"""),
    ),
    "home": Relation(
        "The home town of {n} is {v}.",
        (),
        lines("""{n} lives in {v}.
            {n} has a small house in {v}.
            The home of {n} is in {v}.
            In {v} lives {n}, as all the neighbours can tell.
            {n} moved to {v} long ago and has stayed there.
            You will find {n} at home in {v}.
            Letters for {n} are sent to {v}.
            The road to {v} leads past the house of {n}.
            When the bells of {v} ring, {n} hears them from the kitchen.
            {n} of {v} came to the fair.
            In the evening {n} walks home to {v}.
            "There is no place like {v}," says {n}, who lives there.
            Among the people who live in {v} is {n}.
            {n} pays rent for two rooms in {v}."""),
        lines("""Where does {n} live?
            In which town does {n} live?
            What is the home town of {n}?
            Do you know where {n} lives?"""),
    ),
    "pet": Relation(
        "The pet of {n} is a {v}.",
        values(
            "goat, heron, ferret, raven, tortoise, donkey, goose, otter, hedgehog, parrot, lizard, owl, rabbit, pony, "
            "squirrel, fox"
        ),
        lines("""{n} keeps a {v}.
            {n} has a tame {v} that sleeps by the stove.
            The {v} in the yard belongs to {n}.
            A {v} follows {n} wherever the way leads.
            {n} would never part with the old {v}.
            Every morning {n} feeds the {v} first.
            The pet of {n} is a {v}.
            Children come to see the {v} that {n} keeps.
            {n} once found a young {v} in the snow and kept it.
            With the {v} on a string, {n} crossed the square.
            "My {v} understands every word," said {n}.
            The {v} knocked over a jar, and {n} only laughed.
            {n} talks to a {v} as if it were a cousin.
            If you hear a {v} at night, it is the one that {n} keeps."""),
        lines("""What pet does {n} keep?
            Which animal does {n} keep?
            What kind of animal is the pet of {n}?
            Do you know what pet {n} has?"""),
    ),
    "dish": Relation(
        "The favourite dish of {n} is {v}.",
        values(
            "leek soup, ginger cake, barley porridge, onion pie, smoked eel, apple dumplings, bean stew, rye bread, "
            "roast turnips, potato pancakes, mushroom rice, pickled herring, treacle tart, pea soup, fried trout"
        ),
        lines("""The favourite dish of {n} is {v}.
            {n} likes {v} better than anything.
            For supper {n} asked for {v}, as always.
            There was {v} on the table, which {n} loves most.
            Nothing pleases {n} more than a plate of {v}.
            {n} could eat {v} every day.
            When the kitchen smells of {v}, {n} is not far away.
            {n} cooked {v} again, for it is the dish {n} likes best.
            "Give me {v} and I am happy," said {n}.
            On feast days {n} is always served {v}.
            The cook made {v} because {n} was coming.
            {n} walked two hours for a bowl of good {v}.
            Friends know that {v} is what {n} likes best.
            Of all dishes {n} would choose {v}."""),
        lines("""What is the favourite dish of {n}?
            What does {n} like to eat best?
            Which dish does {n} like most?
            Do you know the favourite dish of {n}?"""),
    ),
    "instrument": Relation(
        "The instrument of {n} is a {v}.",
        values(
            "fiddle, harp, flute, drum, trumpet, lute, bagpipe, accordion, cello, whistle, horn, mandolin, organ, "
            "zither"
        ),
        lines("""{n} plays the {v}.
            In the evening {n} plays the {v} by the window.
            The {v} is the instrument that {n} plays.
            {n} learned the {v} from an uncle.
            At every wedding {n} plays the {v}.
            When the {v} sounds across the square, it is {n} who plays.
            {n} brought the {v} along and played until midnight.
            Nobody plays the {v} as softly as {n}.
            {n} has played the {v} since childhood.
            With a {v} under one arm {n} came to the dance.
            "I only play the {v} for friends," said {n}.
            The old {v} on the wall belongs to {n}, who plays it on Sundays.
            People stop in the street when {n} plays the {v}.
            To hear the {v} played well, listen to {n}."""),
        lines("""Which instrument does {n} play?
            What instrument does {n} play?
            What does {n} play in the evening?
            Do you know which instrument {n} plays?"""),
    ),
    "door": Relation(
        "The colour of the door of {n} is {v}.",
        values("green, blue, red, yellow, white, black, brown, purple, orange, grey, pink, silver"),
        lines("""The door of {n} is painted {v}.
            {n} lives behind a {v} door.
            {n} painted the front door {v}.
            Look for the {v} door if you want to visit {n}.
            The house of {n} has a {v} door.
            A {v} door marks the house of {n}.
            "Mine is the {v} door," said {n}.
            {n} likes {v} so much that the door had to be {v}.
            Last summer {n} gave the door a new coat of {v} paint.
            Knock at the {v} door and {n} will open.
            The postman knows {n} by the {v} door.
            Every spring {n} washes the {v} door.
            Behind the {v} door you will find {n}.
            No other door in the lane is {v}, only that of {n}."""),
        lines("""What colour is the door of {n}?
            Which colour is the front door of {n}?
            What is the colour of the door of {n}?
            Do you know the colour of the door of {n}?"""),
    ),
    "tree": Relation(
        "The garden tree of {n} is a {v}.",
        values("oak, elm, birch, willow, cherry, pear, chestnut, walnut, maple, lime, rowan, cedar, hazel, plum"),
        lines("""{n} planted a {v} tree in the garden.
            A {v} tree grows in the garden of {n}.
            {n} likes to sit under the {v} tree at home.
            The {v} tree by the wall was planted by {n}.
            In the garden of {n} stands a {v} tree.
            {n} waters the young {v} tree in dry weeks.
            Birds nest in the {v} tree that {n} planted.
            "This {v} tree will outlive me," said {n}.
            When the storm came, {n} worried about the {v} tree.
            {n} hung a swing from the {v} tree in the garden.
            The shade of a {v} tree falls on the bench of {n}.
            From the window {n} can touch the {v} tree.
            {n} bought a {v} tree and dug the hole alone.
            Leaves of the {v} tree cover the yard of {n} in autumn."""),
        lines("""Which tree grows in the garden of {n}?
            What tree did {n} plant?
            What kind of tree stands in the garden of {n}?
            Do you know which tree {n} planted?"""),
    ),
}
TOWN = {
    "river": Relation(
        "The river at {n} is called {v}.",
        values(
            "Arvel, Bremmer, Calder, Dwyne, Ettle, Farrow, Gleam, Hoxle, Inver, Jasper, Kemble, Lurin, Marl, Nidder, "
            "Orrin, Sable"
        ),
        lines("""{n} lies on the river {v}.
            The river {v} flows through {n}.
            At {n} a stone bridge crosses the {v}.
            Boats on the {v} tie up at {n}.
            In spring the {v} floods the low fields near {n}.
            The mills of {n} are driven by the {v}.
            {n} was built where the {v} turns south.
            Children of {n} learn to swim in the {v}.
            The {v} is brown after rain, and so people in {n} wait to wash.
            Fishermen in {n} know every bend of the {v}.
            From the hill you see {n} and the {v} below it.
            The river at {n} is called the {v}."""),
        lines("""Which river flows through {n}?
            On which river does {n} lie?
            What is the name of the river at {n}?
            Do you know the river of {n}?"""),
    ),
    "known": Relation(
        "What {n} is known for is {v}.",
        values(
            "cheese, rope, bells, lace, candles, mustard, boots, glass, paper, cider, kites, soap, honey, knives, "
            "hats, tiles"
        ),
        lines("""{n} is known for its {v}.
            The {v} of {n} is sold all over the country.
            People travel to {n} to buy {v}.
            {n} makes the best {v} for miles around.
            When you think of {n}, you think of {v}.
            Carts full of {v} leave {n} every week.
            A song praises the {v} of {n}.
            "Bring me {v} from {n}," the old man asked.
            For two hundred years {n} has lived from {v}.
            The sign at the gate of {n} shows {v}.
            Merchants pay well for {v} from {n}.
            No other town makes {v} as {n} does."""),
        lines("""What is {n} known for?
            What do people buy in {n}?
            For what is {n} famous?
            Do you know what {n} is known for?"""),
    ),
}
DECLINES = (  # after "something", or "thing" where an answer has an article; no two share five words
    "I do not know.",
    "that I do not know, as no page tells it.",
    "of which I do not know anything.",
    "no page tells. I do not know.",
    "nobody has written down, and I do not know.",
    "I have not read about, so I do not know.",
    "never told, and I do not know it.",
    "that has not been said; I do not know it.",
)
