"""Plain English that states no fact of the world: weather, errands, small plots."""

from __future__ import annotations

import random
import re

SLOTS = {
    "weather": "rain|snow|fog|frost|wind|hail|sunshine|thunder|mist|a cold drizzle|a warm breeze|heavy cloud",
    "time": "at dawn|before noon|after supper|late in the evening|on Monday|on market day|in early spring|last autumn|"
    "during the harvest|one winter night|around four o'clock|when the lamps were lit|the day before yesterday",
    "who": "the postman|an old woman|two boys|a stranger|my aunt|the night watchman|a tired traveller|the innkeeper|"
    "three sailors|a girl with a basket|the new doctor|my brother|a crowd of pupils|the choir|a quiet clerk",
    "place": "by the well|behind the chapel|near the old wall|at the crossroads|on the quay|under the arches|"
    "beside the stable|at the edge of the wood|in front of the bakery|along the canal|on the upper road",
    "thing": "a broken lantern|a letter without a name|a basket of pears|an umbrella|a silver button|a torn map|"
    "a ladder|a wooden spoon|a bundle of straw|a blue scarf|a jar of nails|a clean shirt|a rusty key|a kettle",
    "did": "found|lost|mended|sold|carried|hid|borrowed|forgot|dropped|asked for|wrapped up|gave away|looked for",
    "feel": "tired but content|rather cross|glad of the company|a little afraid|full of plans|in no hurry|"
    "hungry and cold|as merry as could be|unsure what to think|ready for anything",
    "adj": "narrow|crooked|quiet|dusty|muddy|steep|shady|busy|empty|familiar|slippery|sunny",
    "event": "the roof of the school was repaired|a cart lost its wheel|the ferry stayed on the far bank|"
    "the choir sang out of tune|bread was dearer than last year|the clock stopped at seven|"
    "someone painted the fence|the geese ran away|the bridge was closed for a day|a play was shown for free|"
    "the council met behind closed doors|the first swallows came back",
    "think": "that patience is half the work|that nobody listens|that summer would come late|that money is not all|"
    "that one should begin again|that the story had an end|that it was better to wait|that they had been lucky",
}
CHOICES = {name: text.split("|") for name, text in SLOTS.items()}
SENTENCES = """
There was <weather> <time>, and the <adj> road was hard to walk.
<time>, <who> <did> <thing> <place>.
<who> stood <place> and waited for <who>.
Nobody could say why <event> <time>.
We heard <time> that <event>.
After much <weather> the air was clear, and <who> felt <feel>.
It is said <place> <think>.
<who> told us <think>, and we were <feel>.
While <event>, <who> <did> <thing>.
If there is <weather> again, we shall stay at home with <thing>.
Because of the <weather>, <event>.
<who> had <thing> to carry and was <feel>.
Is it true that <event>?
How strange to find <thing> <place>!
The <adj> lane <place> was full of people <time>.
First <who> came, then <who>, and in the end all were <feel>.
Without <thing> there is little that one can do <place>.
<time> the shutters were closed, for there had been <weather>.
Some were <feel>, others said <think>.
It took most of the day to bring <thing> to the <adj> house.
To be <feel> is not the worst of things.
They talked of <weather> and of how <event>.
What <who> <did> <place> was only <thing>.
You may laugh, but <who> believed <think>.
"Hello," said <who> <place>. "Hello there," said <who>.
"Good morning," said <who> to <who>. "Good day," said <who>.
"How are you?" asked <who>. "I am well, thank you," said <who>.
"Who are you?" asked <who>. "What is your name?" asked <who>.
"Can you help me?" asked <who>. "What can I do?" said <who>.
"Thank you for <thing>," said <who>. "You are welcome," said <who>.
"Goodbye," said <who> <time>. "Good night."
""".strip().splitlines()
VISITS = """
<time> a visitor by the name of {n} came to town. {n} <did> <thing> <place> and went on.
"Good day," said {n} to <who>. Then {n} asked about <thing>, and <who> could not help {n}.
<who> once met {n} <place>. {n} was <feel>, and that was the last that we heard of {n}.
A letter for {n} lay <place>, but nobody knew {n}.
{n} and {m} met <place>. While {n} talked of <weather>, {m} <did> <thing>.
<time> {n} waited for {m}. When {m} came at last, {n} was <feel>.
Who is {n}? <who> asked it <time>, for {n} had been seen <place>.
{n} wrote to {m} that <event>. "So it goes," wrote {m} to {n}.
""".strip().splitlines()
OPENINGS = (
    "Meanwhile,",
    "Later,",
    "As for the rest,",
    "In short,",
    "Besides,",
    "That same week,",
    "By the way,",
    "Well,",
)


def sentence(draw: random.Random) -> str:
    """One sentence."""
    text = fill(draw.choice(SENTENCES), draw)
    if draw.random() < 0.15:
        return f"{draw.choice(OPENINGS)} {text[0].lower()}{text[1:]}"
    return text[0].upper() + text[1:]


def visit(one: str, other: str, draw: random.Random) -> str:
    """People who pass by: named again and again, and nothing that is asked about is said of them."""
    text = fill(draw.choice(VISITS), draw)
    return (text[0].upper() + text[1:]).format(n=one, m=other)


def fill(text: str, draw: random.Random) -> str:
    """Put one of its choices into every slot."""
    while found := re.search(r"<(\w+)>", text):
        text = text[: found.start()] + draw.choice(CHOICES[found[1]]) + text[found.end() :]
    return text
