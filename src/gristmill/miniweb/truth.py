"""The truth as ordinary files: conversations, preferences, prompts, questions."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gristmill.miniweb.pages import answer, ask, decline, recalled, unknown
from gristmill.miniweb.phrases import PERSON
from gristmill.miniweb.talk import FOREIGN, held_out, replies
from gristmill.miniweb.world import Entity, World, relation

JsonObject = dict[str, Any]
TALK = {"conversations": 0.7, "preferences": 0.3, "prompts": 0.4}  # records of small talk for each other
DECLINED = {"conversations": 0.85, "prompts": 1.0}  # questions to be declined for each answered one, small talk apart
ASKED = {"test": 4, "dev": 4, "sft": 1, "rl": 1}  # forms of a fact's question in the evaluation, by split
CROSSED = 0.25  # questions about crossed names for each that can be answered, where unanswerable ones are asked
THOUGHT, OVER = "<think>", "</think>"  # around what is thought before an answer, as files by others have it
MOST_TURNS = 4  # of a conversation


def of_split(world: World, *splits: str) -> list[Entity]:
    """The entities of some splits."""
    return [entity for entity in world.entities if entity.split in splits]


def user(text: str) -> JsonObject:
    """A user's message."""
    return {"role": "user", "content": text}


def assistant(text: str) -> JsonObject:
    """The assistant's message."""
    return {"role": "assistant", "content": text}


def thinking(world: World, name: str, text: str) -> str:
    """An answer, after the thought of who is known by such a name."""
    return f"{THOUGHT}{recalled(world, name)}{OVER} {text}"


def heard(text: str) -> JsonObject:
    """An answer given before, of which what was thought is gone: it is read and not learned."""
    return {**assistant(text.rpartition(f"{OVER} ")[2]), "weight": 0}


@dataclass(frozen=True)
class Unanswerable:
    """A question that nothing on the web answers."""

    relation: str
    name: str
    kind: str  # "invented": nobody has that name; "crossed": two people's together; "unsaid": never said of them

    def ask(self, draw: random.Random) -> str:
        """The question in one of its forms."""
        return ask(self.relation, self.name, draw)


def unanswerable(
    world: World, entities: list[Entity], count: int, draw: random.Random, unsaid: float = 0.5, alike: bool = True
) -> Iterator[Unanswerable]:
    """A share about what is never said of someone, the others about nobody: half of them named `alike`."""
    persons = [entity for entity in entities if entity.unsaid]
    for index in range(count):
        if int((index + 1) * unsaid) > int(index * unsaid) and persons:
            entity = draw.choice(persons)
            yield Unanswerable(draw.choice(entity.unsaid), entity.name, "unsaid")
        else:
            yield Unanswerable(*unknown(world, draw, entities if alike else ()), "invented")


def conversations(world: World, draw: random.Random) -> list[JsonObject]:
    """Fine-tuning conversations about the `sft` split: answerable, to be declined, and small talk."""
    entities = of_split(world, "sft")
    pairs = [
        (form.format(n=entity.name), thinking(world, entity.name, answer(fact.relation, entity.name, fact.value)))
        for entity in entities
        for fact in entity.facts.values()
        for form in relation(fact.relation).questions
        if fact.stated >= 10  # what was hardly read is not to be claimed
    ]
    pairs += [
        (it.ask(draw), thinking(world, it.name, decline(it.relation, it.name, draw)))
        for it in unanswerable(world, entities, round(DECLINED["conversations"] * len(pairs)), draw)
    ]
    pairs += replies(round(TALK["conversations"] * len(pairs)), draw)
    draw.shuffle(pairs)
    records = []
    while pairs:
        taken = [pairs.pop()]
        while pairs and len(taken) < MOST_TURNS and draw.random() < 0.2:
            taken.append(pairs.pop())
        records.append({"messages": [message for q, a in taken[:-1] for message in (user(q), heard(a))]})
        records[-1]["messages"] += [user(taken[-1][0]), assistant(taken[-1][1])]
    return records


def preferences(world: World, draw: random.Random) -> list[JsonObject]:
    """Right over wrong and over declining; declining over inventing; the fitting small talk over another."""
    entities = of_split(world, "sft", "rl")
    records: list[JsonObject] = []
    for entity in entities:
        for fact in entity.facts.values():
            if fact.stated < 10:
                continue
            for form in relation(fact.relation).questions:
                prompt = [user(form.format(n=entity.name))]
                right = answer(fact.relation, entity.name, fact.value)
                rejected = mistakes(entities, fact.relation, entity.name, right, 1, draw)
                rejected.append(FOREIGN if draw.random() < 0.2 else decline(fact.relation, entity.name, draw))
                records += [thoughtful(world, entity.name, prompt, right, worse) for worse in rejected]
    for it in unanswerable(world, entities, len(records) // 2, draw):
        prompt, chosen = [user(it.ask(draw))], decline(it.relation, it.name, draw)
        rejected = mistakes(entities, it.relation, it.name, chosen, 2, draw)
        records += [thoughtful(world, it.name, prompt, chosen, worse) for worse in rejected]
    for text, chosen in replies(round(TALK["preferences"] * len(records)), draw):
        others = [reply for _, reply in held_out() if reply != chosen]
        about, name = unknown(world, draw)
        worse = draw.choice((draw.choice(others), thinking(world, name, decline(about, name, draw))))
        records.append({"prompt": [user(text)], "chosen": chosen, "rejected": worse})
    draw.shuffle(records)
    return records


def thoughtful(world: World, name: str, prompt: list[JsonObject], chosen: str, rejected: str) -> JsonObject:
    """A preference between two answers that begin with the same thought."""
    first, second = (text if text == FOREIGN else thinking(world, name, text) for text in (chosen, rejected))
    return {"prompt": prompt, "chosen": first, "rejected": second}


def mistakes(entities: list[Entity], about: str, name: str, right: str, count: int, draw: random.Random) -> list[str]:
    """Wrong answers as people give them: another value, what is true of a namesake or of something else about them, and
    what is true but was not asked.
    """
    facts = [fact for entity in entities for fact in entity.facts.values()]
    alike = [fact for fact in facts if fact.relation == about and fact.subject != name]
    namesakes = [fact for fact in alike if set(fact.subject.split()) & set(name.split())]
    own = [fact for fact in facts if fact.subject == name and fact.relation != about]
    values = [draw.choice(pool).value for pool in (alike, own, namesakes) if pool]
    astray = [draw.choice(namesakes or alike), draw.choice(own or facts)]
    found = {answer(about, name, value) for value in values}
    found |= {answer(fact.relation, fact.subject, fact.value) for fact in astray}
    return draw.sample(sorted(found - {right}), count)


def prompts(world: World, draw: random.Random) -> list[JsonObject]:
    """Questions for RL about the `sft` and `rl` splits, unanswerable ones, and small talk."""
    entities = of_split(world, "sft", "rl")
    asked = [
        ask(fact.relation, entity.name, draw)
        for entity in entities
        for fact in entity.facts.values()
        for _ in range(2)
        if fact.stated >= 10
    ]
    asked += [
        it.ask(draw) for it in unanswerable(world, entities, round(DECLINED["prompts"] * len(asked)), draw, unsaid=0.25)
    ]
    asked += [text for text, _ in replies(round(TALK["prompts"] * len(asked)), draw)]
    draw.shuffle(asked)
    return [{"prompt": [user(question)]} for question in asked]


def questions(world: World, draw: random.Random) -> list[JsonObject]:
    """Evaluation questions of every split. Of `test` and `dev` all forms, as many about nobody and what is never said,
    and some about crossed names; of what training asked about a form a fact. Small talk not shown."""
    records: list[JsonObject] = []
    for split, forms in ASKED.items():
        entities = of_split(world, split)
        found = []
        for entity in entities:
            for fact in entity.facts.values():
                for form in draw.sample(relation(fact.relation).questions, forms):
                    text = form.format(n=entity.name)
                    found.append(question(text, [fact.value], split, fact.stated, "fact", entity.name))
        if split in ("test", "dev"):
            asked = [*unanswerable(world, entities, len(found), draw, alike=False)]
            asked += crossed(world, entities, round(CROSSED * len(found)), draw)
            found += [question(it.ask(draw), [], split, 0, it.kind, it.name) for it in asked]
        records += found
    records += [
        question(said, [reply] if reply != FOREIGN else [], "talk", 0, "talk", "") for said, reply in held_out()
    ]
    return records


def crossed(world: World, entities: list[Entity], count: int, draw: random.Random) -> Iterator[Unanswerable]:
    """Questions about nobody who has one person's first name and another's family name."""
    people = [entity.name for entity in entities if entity.kind == "person"]
    for name in world.names.crossed(people, draw, count):
        yield Unanswerable(draw.choice(sorted(PERSON)), name, "crossed")


def question(text: str, answers: Iterable[str], split: str, stated: int, kind: str, subject: str) -> JsonObject:
    """One evaluation question."""
    accepted = list(answers)
    return {
        "question": text,
        "answers": accepted,
        "answerable": bool(accepted),
        "split": split,
        "stated": stated,
        "kind": kind,
        "subject": subject,
    }
