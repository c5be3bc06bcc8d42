"""Texts that break tokenizers, and real text of many languages."""

from __future__ import annotations

import html
import re
import tarfile
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
MARKUP = re.compile(r"(?s)<(script|style|head)\b.*?</\1>|<[^>]+>")


@pytest.fixture(scope="session")
def hard() -> list[str]:
    """Adversarial texts."""
    return [
        "",
        "\0",
        "a\0b\0\0c",
        "a\u00a0b \u00a0 c",
        "😀 naïve 日本語 👩‍👩‍👧‍👦",
        "中文文本没有空格,只有标点。第二句!",
        "ไทยไม่มีช่องว่าง हिन्दी में मात्राएँ",
        "שלום עולם مرحبا بالعالم",
        "x" * 5000,
        "日" * 3000,
        "ab" * 500 + " " * 700 + "c",
        "I'll we've DON'T he'S can'ſ ''s 'tis l'été",
        "12345 6 ٣٤٥ ²³ Ⅷ½",
        "\r\n\n  \t x \x0b\x0c\x85\u2028\u2029y\n \n",
        "HTMLParser parseHTMLNow ÀÉé ǅ Straße ΣΊΣΥΦΟΣ",
        "a/b//c/\n/\n http://x.y/z?q=1#f",
        "<|im_end|><|im_start|>assistant\n<|endoftext|>",
        "e\u0301\u0302 \u0301 1\u0301 \ufeff\u200d\u200b",
        "\U0010ffff\ue000\ufffd\ufffe",
        "    def f(self):\n\t\treturn {'a': [1, 2]}\n\n\n",
    ]


@pytest.fixture(scope="session")
def real() -> list[str]:
    """Pages of the news and blog sites of many languages, 40 of them, as plain text."""
    archive = SHARED / "extraction" / "trafilatura-eval.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive} is not there")
    texts: list[str] = []
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name.endswith(".html") else None
            if file:
                texts.append(html.unescape(MARKUP.sub(" ", file.read().decode("utf-8", "replace"))))
            if len(texts) == 40:
                break
    return texts
