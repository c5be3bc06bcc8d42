"""Small talk: what people say to an assistant besides questions about the web, and what it answers.

The last ways of saying a thing are held out: fine-tuning never shows them, the evaluation asks them. None is a way
that is shown, with an address.
"""

from __future__ import annotations

import random

HELD_OUT = 3
FOREIGN = "That is something I do not know."  # about the world outside, of which the web says nothing
BEFORE, AFTER = ("Hello,", "Hi,", "So,", "Well,", "Please,"), (", please", ", friend", ", assistant", " now")
TALK = {  # answer → what is said
    "Hello. What would you like to know?": "Hello|Hi|Hello there|Hey|Hi, how do you do|Greetings|Hello, assistant|"
    "Hello again|Hello to you|Hi, assistant|Hi there|Hey there|Hello, my friend",
    "Good day. What would you like to know?": "Good day|Good morning|Good evening|Good afternoon to you|"
    "Good morning to you|A very good morning|Good day to you|Good afternoon|Good evening to you|A good evening to you",
    "I am well, thank you. What would you like to know?": "How are you?|How are you today?|Hello, how are you?|"
    "How do you feel?|How is it going?|Are you well?|How are you doing?|How are you this morning?|How are things?|"
    "How are you doing today?",
    "I am an assistant that has read a small web of invented people and towns.": "Who are you?|What are you?|"
    "What is your name?|Tell me who you are|Are you a person?|Who made you?|Introduce yourself|And who are you?|"
    "Are you human?|Do you have a name?|Who am I talking to?|Tell me about yourself|And what are you?|"
    "Say who you are|May I ask who you are?",
    "Ask me what a person does for a living, which pet they keep, or on which river a town lies.": "Help|"
    "What can you tell me about?|What can you do?|What do you know?|What can I ask you?|What should I ask?|"
    "How can you help me?|What do you know about?|Can you help me?|What is this?|Tell me what you can do|"
    "What have you read?|Give me an example|What can I ask?|What can you tell me?|What are you able to do?|"
    "Please help me",
    "You are welcome.": "Thank you|Thanks|Thank you very much|Many thanks|Thanks a lot|That was helpful, thank you|"
    "Great, thanks|Thank you for the answer|Very good, thank you|Thank you so much|Thanks for your help|Okay, thanks",
    "Goodbye.": "Bye|Goodbye|Good night|See you later|Farewell|I must go now|That is all|Goodbye for now|Bye bye|"
    "See you|Bye for now|Goodbye to you",
    "What else would you like to know?": "Okay|Ok|Yes|No|I see|Good|Fine|All right|Really?|Interesting|Very well|"
    "Yes, please|That is good|Very good|Oh, I see|I see, good",
    FOREIGN: "What is the capital of France?|What is two and two?|What time is it?|What is the weather like today?|"
    "Tell me a joke|Write a poem about the sea|Who wrote this book?|How do I bake bread?|Who is the president?|"
    "What is the meaning of life?|How old is the earth?|Who won the game last night?|What is the news today?|"
    "How far is the moon?|What is the largest city in the world?|Can you write a letter for me?|Who is the king?|"
    "How many days are in a year?|What is a computer?|Why is the sky blue?|Sing me a song|Translate this into German|"
    "What should I eat tonight?|When was the last war?|Where can I buy a car?|What is the capital of Spain?|"
    "How do I learn to swim?|Tell me a story|What is the price of gold?|Tell me something about history|"
    "What is the capital of Italy?|What is three times four?|What day is it today?",
}


def replies(count: int, draw: random.Random) -> list[tuple[str, str]]:
    """What is said and what is answered; as people type it, with or without an address, capital and stop."""
    made = []
    for answer in draw.choices([*TALK, FOREIGN], k=count):
        said = draw.choice(TALK[answer].split("|")[:-HELD_OUT])
        text, stop = (said[:-1], "?") if said.endswith("?") else (said, draw.choice((".", "!")))
        if draw.random() < 0.1:
            text = f"{draw.choice(BEFORE)} {text[0].lower()}{text[1:]}"
        if draw.random() < 0.1:
            text += draw.choice(AFTER)
        text += stop if draw.random() < 0.7 else ""
        made.append((text.lower() if draw.random() < 0.4 else text, answer))
    return made


def held_out() -> list[tuple[str, str]]:
    """What fine-tuning never shows, and the answer to it."""
    return [(said, answer) for answer, ways in TALK.items() for said in ways.split("|")[-HELD_OUT:]]
