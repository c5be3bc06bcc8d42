"""Pages that hold invented personal data: the strings that must go, and those that only look alike and must stay."""

from __future__ import annotations

import random
from collections.abc import Iterator

from gristmill.miniweb.names import Names
from gristmill.miniweb.prose import sentence

PAGES = 2  # a host
DIGITS = "0123456789"
LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"  # of a DNI, by the number modulo 23
LINES = {  # rule → how pages say it; "" is what must stay
    "email": ("Write to {n} at {v} with any question.", "The address of {n} is {v}, and letters are answered soon."),
    "phone": ("Call {n} on {v} before noon.", "In the evening {n} can be reached at {v}."),
    "ip_address": ("The last letter came from the machine at {v} in the night.",),
    "iban": ("Gifts for {n} go to the account {v} at the old bank.",),
    "card": ("By mistake {n} wrote the card number {v} into the guest book.",),
    "national_id": ("The form of {n} bears the number {v} and a stamp.",),
    "key": ("The key that {n} left in the open was {v} and is no longer in use.",),
    "": (
        "The book of {n} has the number {v} and can be had in the shop.",
        "The clock of {n} was mended as {v} was written on the door.",
    ),
}


def digits(draw: random.Random, count: int) -> str:
    """Random digits."""
    return "".join(draw.choices(DIGITS, k=count))


def value(rule: str, name: str, draw: random.Random) -> str:
    """An invented string of a kind, with its check digits right; for an empty rule one that is none of them."""
    first, last = name.lower().split()
    if rule == "email":
        return f"{first}.{last}@{draw.choice(('post', 'mail', 'letters'))}.test"
    if rule == "phone":  # ranges that regulators keep for films and books
        return draw.choice(("(212) 555-01{}", "+44 20 7946 09{}", "+1 415 555 01{}")).format(digits(draw, 2))
    if rule == "ip_address":
        return ".".join(str(draw.randint(60, 90) if place == 0 else draw.randint(33, 250)) for place in range(4))
    if rule == "iban":
        account = digits(draw, 18)
        check = 98 - int(account + "131400") % 97  # DE00 in digits
        return " ".join(f"DE{check:02d}{account}"[at : at + 4] for at in range(0, 22, 4))
    if rule == "card":
        number = "4" + digits(draw, 14)
        twice = sum(sum(divmod(2 * int(one), 10)) for one in number[::2])
        number += str(-(twice + sum(map(int, number[1::2]))) % 10)
        return " ".join(number[at : at + 4] for at in range(0, 16, 4))
    if rule == "national_id":
        person = int(digits(draw, 8))
        return f"{person:08d}{LETTERS[person % 23]}"
    if rule == "key":
        return "AKIA" + "".join(draw.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=16))
    book = f"978-0-{digits(draw, 4)}-{digits(draw, 4)}-{digits(draw, 1)}"
    when = f"{draw.randint(1850, 1990)}-0{draw.randint(1, 9)}-{draw.randint(10, 28)}"
    return draw.choice(
        (book, when, f"version 3.{draw.randint(0, 30)}.{draw.randint(0, 30)}.1", f"7 {digits(draw, 3)} 4")
    )


def personal_pages(host: str, seed: int) -> Iterator[tuple[list[str], list[tuple[str, str, str]]]]:
    """For each page its paragraphs, and (rule, string, the words before it in its sentence) of what is on it."""
    draw = random.Random(f"{seed} personal {host}")
    names = Names(draw)
    for _ in range(PAGES):
        said, held = [], []
        for rule, forms in LINES.items():
            name = names.person()
            found = value(rule, name, draw)
            form = draw.choice(forms)
            held.append((rule, found, form.partition("{v}")[0].format(n=name)))
            said.append([form.format(n=name, v=found), sentence(draw)])
        draw.shuffle(said)
        lines = [line for pair in said for line in pair]
        yield [" ".join(lines[at : at + 4]) for at in range(0, len(lines), 4)], held
