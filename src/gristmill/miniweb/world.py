"""The invented world: who exists, what is true of them, how often it is stated, and which split they belong to."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from gristmill.miniweb.names import Names
from gristmill.miniweb.phrases import PERSON, TOWN, Relation

# tier → (persons, facts stated of each, least and most statements a fact) for a web of 4,000 pages
TIERS = {"famous": (120, 3, 54, 94), "known": (48, 3, 10, 20), "rare": (48, 3, 1, 3)}
TOWNS, TOWN_STATEMENTS = 24, (60, 100)
SPLITS = tuple("test sft test rl sft test dev sft test sft".split())
FULL_SIZE = 4000


@dataclass
class Fact:
    """One true thing."""

    subject: str
    relation: str
    value: str
    wanted: int  # statements to be made
    stated: int = 0  # statements made on pages that should be kept


@dataclass
class Entity:
    """A person or town."""

    name: str
    kind: str  # "person" or "town"
    tier: str
    split: str
    facts: dict[str, Fact] = field(default_factory=dict)
    unsaid: list[str] = field(default_factory=list)  # relations never stated of it


@dataclass
class World:
    """All entities, and the generator of names that belong to nobody."""

    entities: list[Entity]
    names: Names

    @property
    def facts(self) -> list[Fact]:
        """Every fact."""
        return [fact for entity in self.entities for fact in entity.facts.values()]

    def entity(self, name: str) -> Entity:
        """An entity by name."""
        return next(entity for entity in self.entities if entity.name == name)


def relation(name: str) -> Relation:
    """A relation by its name."""
    return PERSON[name] if name in PERSON else TOWN[name]


def build(seed: int, pages: int) -> World:
    """Make the world. Fewer pages mean fewer entities, stated as often."""
    draw = random.Random(f"{seed} world")
    names, scale = Names(draw), pages / FULL_SIZE
    entities: list[Entity] = []
    towns = [names.town() for _ in range(max(12, round(TOWNS * scale)))]
    for index, name in enumerate(towns):
        town = Entity(name, "town", "town", SPLITS[index % len(SPLITS)])
        add_facts(town, list(TOWN), towns, TOWN_STATEMENTS, index, draw)
        entities.append(town)
    for tier, (count, stated, least, most) in TIERS.items():
        for index in range(max(10, round(count * scale))):
            person = Entity(names.person(), "person", tier, SPLITS[index % len(SPLITS)])
            chosen = draw.sample(sorted(PERSON), stated)
            add_facts(person, chosen, towns, (least, most), index, draw)
            person.unsaid = [name for name in PERSON if name not in chosen]
            entities.append(person)
    return World(entities, names)


def add_facts(
    entity: Entity, chosen: list[str], towns: list[str], statements: tuple[int, int], index: int, draw: random.Random
) -> None:
    """Give an entity its facts; values go round the list, so that none is likelier than another."""
    for name in chosen:
        options = relation(name).values or tuple(towns)
        value = options[(index * 7 + draw.randrange(len(options))) % len(options)]
        entity.facts[name] = Fact(entity.name, name, value, draw.randint(*statements))
