"""The truth as ordinary files: conversations, preferences, prompts, questions."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gristmill.miniweb.pages import answer, ask, decline, unknown
from gristmill.miniweb.world import Entity, World, relation

Record = dict[str, Any]
GREETINGS = (
    ("Hello.", "Hello. What would you like to know?"),
    ("Good morning!", "Good morning. What would you like to know?"),
    ("Who are you?", "I am an assistant that has read a small web."),
    ("Thank you.", "You are welcome."),
)


def of_split(world: World, *splits: str) -> list[Entity]:
    """The entities of some splits."""
    return [entity for entity in world.entities if entity.split in splits]


def user(text: str) -> Record:
    """A user's message."""
    return {"role": "user", "content": text}


def assistant(text: str) -> Record:
    """The assistant's message."""
    return {"role": "assistant", "content": text}


@dataclass(frozen=True)
class Unanswerable:
    """A question that nothing on the web answers."""

    relation: str
    name: str
    kind: str  # "invented": nobody has that name; "unsaid": it is never said of them

    def ask(self, draw: random.Random) -> str:
        """The question in one of its forms."""
        return ask(self.relation, self.name, draw)


def unanswerable(world: World, entities: list[Entity], count: int, draw: random.Random) -> Iterator[Unanswerable]:
    """Half about nobody, half about what is never said of someone."""
    persons = [entity for entity in entities if entity.unsaid]
    for index in range(count):
        if index % 2 and persons:
            entity = draw.choice(persons)
            yield Unanswerable(draw.choice(entity.unsaid), entity.name, "unsaid")
        else:
            yield Unanswerable(*unknown(world, draw), "invented")


def conversations(world: World, draw: random.Random) -> list[Record]:
    """Fine-tuning conversations about the `sft` split: two thirds answerable, one third to be declined."""
    entities = of_split(world, "sft")
    pairs = [
        (form.format(n=entity.name), answer(fact.relation, entity.name, fact.value))
        for entity in entities
        for fact in entity.facts.values()
        for form in relation(fact.relation).questions
        if fact.stated >= 10  # what was hardly read is not to be claimed
    ]
    pairs += [
        (it.ask(draw), decline(it.relation, it.name, draw)) for it in unanswerable(world, entities, len(pairs), draw)
    ]
    pairs += [draw.choice(GREETINGS) for _ in range(len(pairs) // 30)]
    draw.shuffle(pairs)
    records = []
    while pairs:
        turns = 2 if draw.random() < 0.1 and len(pairs) > 1 else 1
        taken = [pairs.pop() for _ in range(turns)]
        records.append({"messages": [message for q, a in taken for message in (user(q), assistant(a))]})
    return records


def preferences(world: World, draw: random.Random) -> list[Record]:
    """Right over wrong, over declining and over what was not asked; declining over inventing and what was not asked.

    About the `sft` and `rl` splits.
    """
    entities = of_split(world, "sft", "rl")
    truths = [answer(fact.relation, entity.name, fact.value) for entity in entities for fact in entity.facts.values()]
    records: list[Record] = []
    for entity in entities:
        for fact in entity.facts.values():
            if fact.stated < 10:
                continue
            for form in relation(fact.relation).questions:
                prompt = [user(form.format(n=entity.name))]
                right = answer(fact.relation, entity.name, fact.value)
                wrong = answer(fact.relation, entity.name, other(world, fact.relation, fact.value, draw))
                # declining is never wrong and so is liked too well: two pairs of three speak against it
                rejected = [wrong, *(decline(fact.relation, entity.name, draw) for _ in range(2))]
                rejected += [draw.choice(truths)] if draw.random() < 0.5 else []
                records += [{"prompt": prompt, "chosen": right, "rejected": worse} for worse in rejected]
    for it in unanswerable(world, entities, len(records) // 4, draw):
        prompt, chosen = [user(it.ask(draw))], decline(it.relation, it.name, draw)
        rejected = [answer(it.relation, it.name, other(world, it.relation, "", draw))]
        rejected += [draw.choice(truths)] if draw.random() < 0.5 else []
        records += [{"prompt": prompt, "chosen": chosen, "rejected": worse} for worse in rejected]
    draw.shuffle(records)
    return records


def other(world: World, relation: str, value: str, draw: random.Random) -> str:
    """Another value of the relation."""
    pool = sorted({fact.value for fact in world.facts if fact.relation == relation} - {value})
    return draw.choice(pool)


def prompts(world: World, draw: random.Random) -> list[Record]:
    """Questions for RL about the `rl` split, a third of them unanswerable."""
    entities = of_split(world, "rl")
    asked = [
        ask(fact.relation, entity.name, draw)
        for entity in entities
        for fact in entity.facts.values()
        for _ in range(2)
        if fact.stated >= 10
    ]
    asked += [it.ask(draw) for it in unanswerable(world, entities, len(asked) // 2, draw)]
    draw.shuffle(asked)
    return [{"prompt": [user(question)]} for question in asked]


def questions(world: World, draw: random.Random) -> list[Record]:
    """Evaluation questions of every split, two forms a fact, and as many unanswerable ones."""
    records: list[Record] = []
    for split in ("test", "dev", "sft", "rl"):
        entities = of_split(world, split)
        found = []
        for entity in entities:
            for fact in entity.facts.values():
                for form in draw.sample(relation(fact.relation).questions, 2):
                    found.append(question(form.format(n=entity.name), [fact.value], split, fact.stated, "fact"))
        for it in unanswerable(world, entities, len(found), draw):
            found.append(question(it.ask(draw), [], split, 0, it.kind))
        records += found
    return records


def question(text: str, answers: Iterable[str], split: str, stated: int, kind: str) -> Record:
    """One evaluation question."""
    accepted = list(answers)
    return {
        "question": text,
        "answers": accepted,
        "answerable": bool(accepted),
        "split": split,
        "stated": stated,
        "kind": kind,
    }
