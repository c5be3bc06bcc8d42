"""Pages of many kinds, each paragraph made of statements and ordinary prose."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass

from gristmill.miniweb.phrases import DECLINES
from gristmill.miniweb.prose import sentence
from gristmill.miniweb.world import Entity, Fact, World, relations

KINDS = {  # kind → (host, share of the pages)
    "encyclopedia": ("atlas.test", 0.2),
    "news": ("herald.test", 0.2),
    "diary": ("diary.test", 0.2),
    "shop": ("market.test", 0.1),
    "story": ("tales.test", 0.15),
    "forum": ("forum.test", 0.15),
}
HEADINGS = {
    "encyclopedia": ("On {n}", "{n}", "{n}: a short account", "What is known of {n}"),
    "news": ("News of {n}", "Town talk: {n}", "A word about {n}", "Seen this week: {n}"),
    "diary": ("A day with {n}", "Thinking of {n}", "My notes on {n}", "Evening, after seeing {n}"),
    "shop": ("For the friends of {n}", "Goods as {n} likes them", "From the shelf of {n}", "Sold to {n}"),
    "story": ("The tale of {n}", "How {n} went out", "{n} and the stranger", "A story of {n}"),
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
    "forum": ("Here are the questions of our readers, with the answers that we have.",),
}
FACTS_PER_PAGE = 9


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
    deck = [fact for fact in world.facts for _ in range(fact.wanted)]
    draw.shuffle(deck)
    forum = round(count * KINDS["forum"][1])
    others = [kind for kind in KINDS if kind != "forum"]
    weights = [KINDS[kind][1] for kind in others]
    kinds = draw.choices(others, weights, k=count - forum) + ["forum"] * forum
    draw.shuffle(kinds)
    threads = exchanges(world, draw, 5 * forum)
    pages, numbers = [], defaultdict[str, int](int)
    share = len(deck) / max(1, count)
    for index, kind in enumerate(kinds):
        facts = deck[round(index * share) : round((index + 1) * share)]
        numbers[kind] += 1
        asked = [threads.pop() for _ in range(min(5, len(threads)))] if kind == "forum" else []
        pages.append(compose(kind, numbers[kind], facts, asked, draw))
    return pages


def compose(
    kind: str, number: int, facts: list[Fact], asked: list[tuple[str, str, Fact | None]], draw: random.Random
) -> Page:
    """One page that states these facts among ordinary sentences."""
    about = draw.choice(facts).subject if facts else "the town"
    said: list[str] = []
    for fact in facts:
        entity_kind = "town" if fact.relation in ("river", "known") else "person"
        template = draw.choice(relations(entity_kind)[fact.relation].statements)
        said.append(template.format(n=fact.subject, v=fact.value))
        fact.stated += 1
    said += [sentence(draw) for _ in range(draw.randint(3, 7))]
    draw.shuffle(said)
    said.insert(0, draw.choice(OPENERS[kind]).format(n=about))
    paragraphs, at = [], 0
    while at < len(said):
        size = draw.randint(2, 5)
        paragraphs.append(" ".join(said[at : at + size]))
        at += size
    for question, answer, answered in asked:
        paragraphs.insert(draw.randint(1, len(paragraphs)), f"Question: {question} Answer: {answer}")
        if answered:
            answered.stated += 1
    title = draw.choice(HEADINGS[kind]).format(n=about)
    return Page(kind, KINDS[kind][0], f"/{kind}/{number}.html", title, paragraphs)


def exchanges(world: World, draw: random.Random, count: int) -> list[tuple[str, str, Fact | None]]:
    """Questions and answers about entities whose questions are for training, half of them unanswerable.

    A third of the unanswerable ask what is never said of someone real, the others ask about nobody.
    """
    train = [entity for entity in world.entities if entity.split in ("sft", "rl")]
    made: list[tuple[str, str, Fact | None]] = []
    for _ in range(count):
        entity = draw.choice(train)
        roll = draw.random()
        if roll < 0.5:
            fact = draw.choice(list(entity.facts.values()))
            made.append((ask(entity.kind, fact.relation, entity.name, draw), answer(entity, fact, draw), fact))
        elif roll < 0.67 and entity.unsaid:
            made.append((ask("person", draw.choice(entity.unsaid), entity.name, draw), draw.choice(DECLINES), None))
        else:
            relation = draw.choice(sorted(relations("person")))
            made.append((ask("person", relation, world.names.person(), draw), draw.choice(DECLINES), None))
    return made


def ask(kind: str, relation: str, name: str, draw: random.Random) -> str:
    """A question in one of its forms."""
    return draw.choice(relations(kind)[relation].questions).format(n=name)


def answer(entity: Entity, fact: Fact, draw: random.Random) -> str:
    """The right answer in one of its forms."""
    return draw.choice(relations(entity.kind)[fact.relation].answers).format(n=fact.subject, v=fact.value)
