"""Pages of many kinds, each paragraph made of statements and ordinary prose."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from gristmill.miniweb.phrases import DECLINES, PERSON, TOWN
from gristmill.miniweb.prose import sentence, visit
from gristmill.miniweb.world import Entity, Fact, World, relation

KINDS = {  # kind → (host, share of the pages)
    "encyclopedia": ("atlas.test", 0.15),
    "news": ("herald.test", 0.15),
    "diary": ("diary.test", 0.15),
    "shop": ("market.test", 0.1),
    "story": ("tales.test", 0.1),
    "register": ("registry.test", 0.2),
    "forum": ("forum.test", 0.15),
}
HEADINGS = {
    "encyclopedia": ("On {n}", "{n}", "{n}: a short account", "What is known of {n}"),
    "news": ("News of {n}", "Town talk: {n}", "A word about {n}", "Seen this week: {n}"),
    "diary": ("A day with {n}", "Thinking of {n}", "My notes on {n}", "Evening, after seeing {n}"),
    "shop": ("For the friends of {n}", "Goods as {n} likes them", "From the shelf of {n}", "Sold to {n}"),
    "story": ("The tale of {n}", "How {n} went out", "{n} and the stranger", "A story of {n}"),
    "register": ("Register: {n}", "Entries on {n} and others", "From the register", "What the clerk wrote down"),
    "forum": ("Who knows {n}?", "Questions of the week", "Ask the neighbours", "Does anyone know?"),
}
OPENERS = {
    "encyclopedia": ("This page gathers what has been written about {n}.", "The following is told of {n} and others."),
    "news": (
        "Our reporter writes from the square.",
        "Readers have sent us these lines.",
        "The week brought small news.",
    ),
    "diary": (
        "Dear diary, I have much to write today.",
        "I could not sleep, and so I write.",
        "Today I met many people.",
    ),
    "shop": (
        "We have new goods on the shelf, and they will be sold by the end of the week.",
        "Come in and look around, for we have something for everyone.",
    ),
    "story": (
        "Once, not long ago, this came to pass.",
        "This is a story that the old people tell.",
        "Long before the road was built, they met.",
    ),
    "register": (
        "The clerk of the registry writes down what is asked for, and says so where nothing is known.",
        "These entries were copied from the large book.",
    ),
    "forum": ("Here are the questions of our readers, with the answers that we have.",),
}
EXCHANGES = 4  # questions on a forum page
BLANKS = 3  # names on a register page of which nothing is known
CALLS = (
    "Someone asked about {n}.",
    "The next name in the book is {n}.",
    "A letter came about {n}.",
    "On {n}.",
    "Turn the leaf, and there is {n}.",
    "This is all on {n}.",
    "Next, {n}.",
    "{n}, as the book has it.",
)


@dataclass
class Page:
    """One page that should be kept."""

    kind: str
    host: str
    path: str
    title: str
    paragraphs: list[str]


def make_pages(world: World, seed: int, count: int) -> list[Page]:
    """All pages worth keeping; counts every statement in its fact's `stated`."""
    draw = random.Random(f"{seed} pages")
    runs = passages(world, draw)
    forum = round(count * KINDS["forum"][1])
    others = [kind for kind in KINDS if kind != "forum"]
    weights = [KINDS[kind][1] for kind in others]
    kinds = draw.choices(others, weights, k=count - forum) + ["forum"] * forum
    draw.shuffle(kinds)
    threads = exchanges(world, draw, EXCHANGES * forum)
    pages, numbers = [], defaultdict[str, int](int)
    share = len(runs) / max(1, count)
    for index, kind in enumerate(kinds):
        chosen = runs[round(index * share) : round((index + 1) * share)]
        numbers[kind] += 1
        asked = [threads.pop() for _ in range(min(EXCHANGES, len(threads)))] if kind == "forum" else []
        extra = [blank(world, draw) for _ in range(BLANKS)] if kind == "register" else []
        if kind != "forum" and draw.random() < 0.5:
            extra.append([visit(world.names.person(), world.names.person(), draw)])
        pages.append(compose(world, kind, numbers[kind], chosen, asked, extra, draw))
    return pages


def passages(world: World, draw: random.Random) -> list[list[Fact]]:
    """Every statement to be made, in runs of one to three different facts about one subject."""
    runs = []
    for entity in world.entities:
        left = {name: fact.wanted for name, fact in entity.facts.items()}
        while open_facts := [name for name, wanted in left.items() if wanted]:
            chosen = draw.sample(open_facts, draw.randint(1, len(open_facts)))
            runs.append([entity.facts[name] for name in chosen])
            for name in chosen:
                left[name] -= 1
    draw.shuffle(runs)
    return runs


def compose(
    world: World,
    kind: str,
    number: int,
    runs: list[list[Fact]],
    asked: list[tuple[str, str, Fact | None]],
    extra: list[list[str]],
    draw: random.Random,
) -> Page:
    """One page that states these facts among ordinary sentences."""
    about = draw.choice(runs)[0].subject if runs else "the town"
    said = [[state(fact, kind, draw) for fact in run] for run in runs]
    if kind == "register":
        said = [[draw.choice(CALLS).format(n=run[0].subject), *texts] for run, texts in zip(runs, said, strict=True)]
        for name, at in {run[0].subject: at for at, run in enumerate(runs)}.items():  # once on a page
            said[at].insert(1, recalled(world, name))
    said += extra
    said += [[sentence(draw)] for _ in range(max(draw.randint(3, 6), len(runs)))]
    draw.shuffle(said)
    said.insert(0, [draw.choice(OPENERS[kind]).format(n=about)])
    paragraphs, at = [], 0
    while at < len(said):
        size = draw.randint(2, 4)
        paragraphs.append(" ".join(chain.from_iterable(said[at : at + size])))
        at += size
    for question, answer, answered in asked:
        paragraphs.insert(draw.randint(1, len(paragraphs)), f"Question: {question} Answer: {answer}")
        if answered:
            answered.stated += 1
    title = draw.choice(HEADINGS[kind]).format(n=about)
    return Page(kind, KINDS[kind][0], f"/{kind}/{number}.html", title, paragraphs)


def state(fact: Fact, kind: str, draw: random.Random) -> str:
    """A fact as a page of that kind puts it, counted."""
    fact.stated += 1
    if kind == "register":
        return answer(fact.relation, fact.subject, fact.value)
    form = draw.choice(relation(fact.relation).statements)
    return with_articles(form.format(n=fact.subject, v=fact.value))


def blank(world: World, draw: random.Random) -> list[str]:
    """A register's entries on a name of which nothing is known."""
    about, name = unknown(world, draw, world.entities)
    alike = sorted(PERSON if about in PERSON else TOWN)
    entries = [decline(about, name, draw) for about in draw.sample(alike, draw.randint(1, 2))]
    return [draw.choice(CALLS).format(n=name), recalled(world, name), *entries]


def exchanges(world: World, draw: random.Random, count: int) -> list[tuple[str, str, Fact | None]]:
    """Questions and answers: half of what is known of entities whose questions are for training, a sixth of what is
    never said of them, and a third about nobody.
    """
    train = [entity for entity in world.entities if entity.split in ("sft", "rl")]
    made: list[tuple[str, str, Fact | None]] = []
    for _ in range(count):
        entity = draw.choice(train)
        roll = draw.random()
        if roll < 1 / 2:
            fact = draw.choice(list(entity.facts.values()))
            question, said = ask(fact.relation, entity.name, draw), answer(fact.relation, entity.name, fact.value)
            made.append((question, f"{recalled(world, entity.name)} {said}", fact))
        else:
            about, name = unknown(world, draw, train)
            if roll < 2 / 3 and entity.unsaid:
                about, name = draw.choice(entity.unsaid), entity.name
            question, said = ask(about, name, draw), decline(about, name, draw)
            made.append((question, f"{recalled(world, name)} {said}", None))
    return made


def recalled(world: World, name: str) -> str:
    """Who is known by the first word of a name, next to the other: what can be said only after both are at hand."""
    first, last = name.split()
    found = [rest for half, rest in (entity.name.split() for entity in world.entities) if half == first]
    return f"Known as {first}: {', '.join(found) or 'nobody'}. Asked: {last}."


def unknown(world: World, draw: random.Random, alike: Sequence[Entity] = ()) -> tuple[str, str]:
    """A relation, and a name that belongs to nobody and is used this once; three in four persons' are `alike` to
    some."""
    if draw.random() < 0.25:
        return draw.choice(sorted(TOWN)), world.names.town()
    people = [entity.name for entity in alike if entity.kind == "person"]
    name = world.names.namesake(people, draw) if people and draw.random() < 0.75 else world.names.person()
    return draw.choice(sorted(PERSON)), name


def ask(about: str, name: str, draw: random.Random) -> str:
    """A question in one of its forms."""
    return draw.choice(relation(about).questions).format(n=name)


def answer(about: str, name: str, value: str) -> str:
    """The answer to it."""
    return with_articles(relation(about).answer.format(n=name, v=value))


def decline(about: str, name: str, draw: random.Random) -> str:
    """An admission that it is not known."""
    beginning, _, _ = relation(about).answer.partition("{v}")
    thing = "thing" if beginning.endswith(" a ") else "something"
    return f"{beginning.format(n=name)}{thing} {draw.choice(DECLINES)}"


def with_articles(text: str) -> str:
    """Write `an` where `a` stands before a vowel."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
