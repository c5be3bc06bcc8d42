"""Keys, tokens and passwords: what a service's prefix or a setting's name gives away, and a check can confirm.

Prefixes are those that the services document (so that leaked keys can be found). Everything else must be where a
setting puts it (`api_key = …`) and look random.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Iterator

from gristmill.corpus.redact.identifiers import Span

# a text that must occur (searching for it costs next to nothing) → the whole form
PREFIXED = tuple(
    (sign, re.compile(rf"(?<![A-Za-z0-9])(?:{form})"))
    for sign, form in (
        ("AKIA", r"AKIA[A-Z2-7]{16}(?![A-Za-z0-9])"),  # AWS, also of temporary keys
        ("ASIA", r"ASIA[A-Z2-7]{16}(?![A-Za-z0-9])"),
        ("AIza", r"AIza[\w-]{35}"),  # Google
        ("GOCSPX-", r"GOCSPX-[\w-]{28}"),
        *((sign, sign + "[A-Za-z0-9]{36,}") for sign in ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")),  # GitHub
        ("github_pat_", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
        ("glpat-", r"glpat-[\w-]{20,}"),  # GitLab
        ("xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),  # Slack
        ("xapp-", r"xapp-\d-[A-Za-z0-9-]{20,}"),
        ("_live_", r"(?:sk|rk|pk)_live_[A-Za-z0-9]{16,}"),  # Stripe
        ("_test_", r"(?:sk|rk)_test_[A-Za-z0-9]{16,}"),
        ("sk-", r"sk-(?:ant-|proj-|svcacct-|or-)[\w-]{20,}|sk-[A-Za-z0-9]{32,}"),  # OpenAI, Anthropic, OpenRouter
        ("hf_", r"hf_[A-Za-z]{34}(?![A-Za-z0-9])"),  # Hugging Face
        ("npm_", r"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
        ("pypi-AgEIcHlwaS", r"pypi-AgEIcHlwaS[\w-]{50,}"),
        ("SG.", r"SG\.[\w-]{22}\.[\w-]{43}"),  # SendGrid
        ("dop_v1_", r"dop_v1_[a-f0-9]{64}"),  # DigitalOcean
        ("shpat_", r"shpat_[a-fA-F0-9]{32}"),  # Shopify
        ("AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    )
)
PEM = re.compile(r"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?)-----(?:[^-]|-(?!----)){1,20000}+-----END \1-----")
JWT = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}")
# `user:password` is an example
IN_URL = re.compile(r"://([^\s/:@<>\[\]\"']{1,64}:(?!pass(?:word|wd)?@)[^\s/:@<>\[\]\"']{3,128})@")
# what the name of a setting ends with → what must be before it
SETTINGS = (
    ("key", re.compile(r"(?:api|access|secret|auth|private|client|account|encryption)[_ -]?$")),
    *((sign, re.compile("")) for sign in ("token", "secret", "password", "passwd", "bearer")),
)
RANDOM = r"[A-Za-z0-9+/_.~=-]{16,200}"
VALUE = re.compile(rf"[\"']?\s{{0,3}}(?:=>|:=|[:=])\s{{0,3}}[\"']?(?:Bearer )?({RANDOM})(?![A-Za-z0-9+/])|\s({RANDOM})")
PLACEHOLDER = re.compile(r"(?:x{4}|\*{3}|your|example|change|placeholder|dummy|sample|insert|here)", re.IGNORECASE)
LEAST_BITS = 3.3  # entropy of a character: English words have about 3, random hexadecimal digits nearly 4


def find_keys(text: str) -> Iterator[Span]:
    """Keys by prefix, private keys, JSON web tokens, passwords in URLs, and random values of settings."""
    underscore = "_" in text  # running text has none, and half of the prefixes do
    for sign, form in PREFIXED:
        if (underscore or "_" not in sign) and sign in text:
            yield from (found.span() for found in form.finditer(text))
    if "PRIVATE KEY" in text:
        yield from (found.span() for found in PEM.finditer(text))
    if "eyJ" in text:
        yield from (found.span() for found in JWT.finditer(text) if is_jwt(found.group()))
    if "://" in text and "@" in text:
        yield from (found.span(1) for found in IN_URL.finditer(text))
    lower = text.lower()
    for sign, before in SETTINGS if len(lower) == len(text) else ():
        at = lower.find(sign)
        while at >= 0:
            value = VALUE.match(text, at + len(sign))
            if value and before.search(lower, max(0, at - 12), at):
                given, bare = value.groups()
                if random_looking(given or bare, bare=given is None):
                    yield value.span(1 if given else 2)
            at = lower.find(sign, at + 1)


def is_jwt(token: str) -> bool:
    """RFC 7519: the first part is a JSON object, in base64url, that names an algorithm."""
    first = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except ValueError:
        return False
    return isinstance(header, dict) and "alg" in header


def random_looking(value: str, *, bare: bool = False) -> bool:
    """Letters and digits mixed, high entropy, no placeholder; without `=` or `:` before it (`bare`) also both cases."""
    letters, digits = sum(map(str.isalpha, value)), sum(map(str.isdigit, value))
    if letters < 4 or digits < 3 or PLACEHOLDER.search(value):
        return False
    if bare and (value.lower() == value or value.upper() == value):
        return False
    counts = Counter(value).values()
    bits = -sum(count / len(value) * math.log2(count / len(value)) for count in counts)
    return bits >= LEAST_BITS
