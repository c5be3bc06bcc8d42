"""What the memory finds by itself, in the manner of LongMemEval's five abilities (Wu et al. 2025, arXiv:2410.10813).

The talks and questions are ours and few; the second half was written after the rules, and nothing was changed for it. A
question is answered where the quotations hold all that its answer needs, the newest first where something changed;
nothing may be quoted for what was never said. What a model makes of that is another matter: counting, comparing and
reckoning are left to it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gristmill.serving.memory.memory_store import MemoryStore
from gristmill.serving.memory.recall import Quote, recall

TALKS = {
    "2026-03-02": [
        "I adopted a dog last week. His name is Biscuit and he is a beagle.",
        "Congratulations! Beagles need long walks.",
    ],
    "2026-03-05": [
        "Can you suggest a name for my sourdough starter?",
        "How about Clint Yeastwood, for your sourdough?",
        "Clint Yeastwood it is.",
    ],
    "2026-03-09": ["I started my new job as a nurse at the county hospital today.", "I hope it went well!"],
    "2026-03-15": ["I bought a blue bicycle for 340 euros.", "Nice! Will you register it?"],
    "2026-03-20": ["I went to the dentist this morning. She found two cavities.", "I am sorry to hear that."],
    "2026-04-01": ["My sister Clara is visiting from Porto next weekend.", "Enjoy the time with her."],
    "2026-04-03": [
        "What should I read next?",
        "I recommend that you read The Left Hand of Darkness by Ursula Le Guin.",
    ],
    "2026-04-10": ["I live in a flat in Utrecht, on the third floor.", "Stairs keep you fit."],
    "2026-04-18": ["I ran my first half marathon, in 1 hour and 58 minutes.", "Well run!"],
    "2026-05-02": ["I also bought a helmet and a lock for the bicycle, 85 euros together.", "Safety first."],
    "2026-05-11": ["We moved last weekend. The new house is in Haarlem.", "Haarlem is lovely."],
    "2026-05-20": ["I ran another half marathon and finished in 1 hour and 51 minutes.", "Faster than before!"],
    "2026-05-28": ["I planted tomatoes and beans in the garden.", "They like the sun."],
    "2026-06-03": ["My manager at the hospital is called Ruth.", "Noted."],
    "2026-06-10": ["I had the two fillings done at the dentist.", "That was quick."],
    "2026-03-06": ["My son Emil broke his arm at school.", "Poor Emil. Get well soon!"],
    "2026-03-11": [
        "I lent my drill to Joris next door.",
        "Neighbours like that are good to have.",
        "He should give it back by Easter.",
    ],
    "2026-03-27": ["We saw Hamlet at the theatre and I fell asleep.", "It is a long play."],
    "2026-04-14": ["I signed up for a pottery course on Thursdays.", "Pottery is calming."],
    "2026-04-22": ["How can I get red wine out of a shirt?", "Put salt on the stain, then wash it cold."],
    "2026-05-05": ["The pottery course is on Tuesdays from now on.", "I see, Tuesdays then."],
    "2026-05-16": ["Emil got the plaster off his arm.", "Great news!"],
    "2026-05-30": ["We saw Macbeth at the theatre, much better than the last play.", "A shorter one, too."],
    "2026-06-01": ["My car did not start, the garage put in a new battery for 120 euros.", "Batteries are dear."],
    "2026-06-15": ["The garage called: the brakes of the car need work, 410 euros.", "Brakes matter."],
}
FACTS = {
    "2026-03-03": "My favourite tea is oolong",
    "2026-03-04": "I am allergic to peanuts",
    "2026-05-01": "My favourite tea is sencha",
    "2026-05-03": "My sister's birthday is on 9 October",
    "2026-05-06": "My locker number is 41",
    "2026-06-20": "My locker number is 77",
}
ASKED: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "extraction": [
        ("What is my dog called?", ("Biscuit",)),
        ("What breed is my dog?", ("beagle",)),
        ("What did you recommend that I read?", ("Left Hand",)),
        ("Where do I work?", ("county hospital",)),
        ("What am I allergic to?", ("peanuts",)),
        ("What did we name my sourdough starter?", ("Clint Yeastwood",)),
    ],
    "several sessions": [
        ("How much did I spend on my bicycle in all?", ("340", "85")),
        ("How many half marathons have I run?", ("58 minutes", "51 minutes")),
        ("What did the dentist do?", ("cavities", "fillings")),
        ("Which relatives have I mentioned?", ("Clara",)),
        ("Who do I know at the hospital?", ("Ruth", "nurse")),
        ("What have I bought for my bicycle?", ("blue", "helmet")),
    ],
    "time": [
        ("When did I adopt my dog?", ("2026-03-02",)),
        ("When did I go to the dentist?", ("2026-03-20",)),
        ("How long after the bicycle did I buy the helmet?", ("2026-03-15", "2026-05-02")),
        ("When did I run my first half marathon?", ("2026-04-18",)),
        ("Which came first, the new job or the new house?", ("2026-03-09", "2026-05-11")),
        ("What did I do on 28 May?", ("tomatoes",)),
    ],
    "updates": [
        ("What is my favourite tea?", ("sencha",)),
        ("Where do I live now?", ("Haarlem",)),
        ("What is my half marathon time?", ("51 minutes",)),
        ("How fast was my last half marathon?", ("51 minutes",)),
        ("What about the dentist?", ("fillings",)),
        ("When is my sister's birthday?", ("9 October",)),
    ],
    "abstention": [
        ("What is my cat called?", ()),
        ("When did I go to the opera?", ()),
        ("What did you recommend that I cook?", ()),
        ("When is my brother's birthday?", ()),
        ("Where did I park my car?", ()),
        ("What is my favourite coffee?", ()),
    ],
}
OTHERS = (
    "Tell me a story about {} geese and a miller.",
    "The market was busy today, {} people bought bread.",
    "I read {} pages about old bridges and long rivers.",
    "My neighbour has a new boat, number {}.",
    "It rained for {} hours and the garden is wet.",
)
LATER: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "extraction": [
        ("What happened to Emil's arm?", ("broke",)),
        ("To whom did I lend my drill?", ("Joris",)),
        ("What did you suggest for the wine stain?", ("salt",)),
        ("Which course did I sign up for?", ("pottery",)),
        ("What was wrong with my car?", ("battery",)),
        ("What is my son called?", ("Emil",)),
    ],
    "several sessions": [
        ("Which plays did we see at the theatre?", ("Hamlet", "Macbeth")),
        ("How much did the garage cost me?", ("120", "410")),
        ("How is Emil's arm?", ("broke", "plaster")),
        ("What did I tell you about my pottery course?", ("Thursdays", "Tuesdays")),
        ("What was done to my car?", ("battery", "brakes")),
        ("How often were we at the theatre?", ("Hamlet", "Macbeth")),
    ],
    "time": [
        ("When did Emil break his arm?", ("2026-03-06",)),
        ("When did we see Macbeth?", ("2026-05-30",)),
        ("How long did Emil wear the plaster?", ("2026-03-06", "2026-05-16")),
        ("When did the garage call?", ("2026-06-15",)),
        ("When did I lend Joris the drill?", ("2026-03-11",)),
        ("What did I tell you in June?", ("Ruth", "battery")),
    ],
    "updates": [
        ("On which day is my pottery course?", ("Tuesdays",)),
        ("What is my locker number?", ("77",)),
        ("Is Emil's arm still broken?", ("plaster",)),
        ("Which play did we see last?", ("Macbeth",)),
        ("What does the car need?", ("brakes",)),
        ("Where do we live?", ("Haarlem",)),
    ],
    "abstention": [
        ("What is my daughter called?", ()),
        ("To whom did I lend my ladder?", ()),
        ("What did you suggest for the coffee machine?", ()),
        ("When did we see King Lear?", ()),
        ("What is my parking number?", ()),
        ("When did I start the guitar course?", ()),
    ],
}
FOUND = {"extraction": 4, "several sessions": 3, "time": 3, "updates": 6, "abstention": 6}  # of six, at least


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MemoryStore:
    """What was said, among 200 other conversations."""
    made = MemoryStore(tmp_path_factory.mktemp("memory") / "memory.sqlite", lambda: now)
    for number in range(200):
        now = datetime(2026, 1 + number % 7, 1 + number % 28, 9, tzinfo=UTC).timestamp()
        made.add("ann", made.begin("ann", {}).id, [("user", OTHERS[number % len(OTHERS)].format(number), "completed")])
    for day, said in TALKS.items():
        now = datetime.fromisoformat(f"{day}T12:00+00:00").timestamp()
        roles = ("user", "assistant", "user")
        talk = [(role, text, "completed") for role, text in zip(roles, said, strict=False)]
        made.add("ann", made.begin("ann", {}).id, talk)
    for day, fact in FACTS.items():
        now = datetime.fromisoformat(f"{day}T12:00+00:00").timestamp()
        made.remember("ann", fact)
    return made


def answered(ability: str, needed: tuple[str, ...], quotes: list[Quote]) -> bool:
    """Whether quotations hold what an answer needs."""
    if ability == "abstention":
        return not quotes
    first = quotes[:1] if ability == "updates" else quotes
    return all(any(part in one.line() for one in first) for part in needed)


@pytest.mark.parametrize("asked", [ASKED, LATER], ids=["first", "later"])
@pytest.mark.parametrize("ability", ASKED)
def test_abilities(store: MemoryStore, ability: str, asked: dict[str, list[tuple[str, tuple[str, ...]]]]) -> None:
    found = {}
    for question, needed in asked[ability]:
        quotes = recall(store, "ann", question, [], None)
        found[question] = answered(ability, needed, quotes)
        print(f"{ability}: {question} {'found' if found[question] else 'MISSED'}: {[one.line() for one in quotes]}")
    assert sum(found.values()) >= FOUND[ability], found
    assert not any(recall(store, "tom", question, [], None) for question in found)
