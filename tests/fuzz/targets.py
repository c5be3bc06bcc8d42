"""What reads bytes of others: each target takes any bytes, and nothing but what it names may come of them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fastwarc.stream_io import ZstdWriter, zstd_train_dictionary_from_samples

from gristmill.chat.conversations import LEFT_OUT, LeftOut, read_conversations
from gristmill.chat.conversations import read_records as read_rows_of
from gristmill.chat.layouts import asked, judged, preference
from gristmill.chat.template import render
from gristmill.corpus.dedup.minhash import MinHash
from gristmill.corpus.extract.language import detect
from gristmill.corpus.extract.stage import extract_record
from gristmill.corpus.filter.statistics import measure
from gristmill.corpus.readers.warc_ranges import read_records
from gristmill.corpus.readers.wikitext import plain_text
from gristmill.corpus.text.ngrams import word_hashes
from gristmill.crawl import outlinks, robots
from gristmill.crawl.urls import normalise
from gristmill.document import Document, to_batch
from gristmill.errors import UserError
from gristmill.evaluation.questions import question_of
from gristmill.files import write_jsonl
from gristmill.generation.engine import Engine
from gristmill.html.charset import to_utf8
from gristmill.html.content.main_text import extract_html
from gristmill.html.links import page_tags
from gristmill.model.transformer import ModelConfig, Transformer
from gristmill.record import Record
from gristmill.serving.api_error import ApiError, as_api_error
from gristmill.serving.assistant import Assistant
from gristmill.serving.requests.begin import Beginner
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.patterns import PATTERNS, split

BASE = "http://example.org/folder/page"


class Target(NamedTuple):
    """A reader of bytes, and texts that lie near what it expects."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


@cache
def tokenizer() -> Tokenizer:
    """One of bytes and a few merges."""
    merges = (b"th", b"the", b"in", b"ing", b" a", b"\xc3\xa9")
    return Tokenizer([bytes([value]) for value in range(256)] + list(merges), "qwen2")


@cache
def assistant() -> Assistant:
    """One that is too small to say anything."""
    model = Transformer(ModelConfig(tokenizer().vocab_size, 1, 8, 1, 1, 8, 8, context=64))
    return Assistant(Engine(model, tokenizer()), "tiny")


def read_html(data: bytes) -> None:
    """Main text as it is, and all text."""
    extract_html(data)
    extract_html(data, whole=True)


def read_record(data: bytes) -> None:
    """A page of any kind, down to the row that is written."""
    for kind in ("text/html", "text/plain", "text/markdown"):
        found = extract_record(Record(data, kind, BASE, "a.warc:0"))
        if isinstance(found, Document):
            to_batch([found])


def read_links(data: bytes) -> None:
    """A page's links and directives, in its own charset."""
    for charset in ("utf-8", "utf-16-le"):
        outlinks.read_page(page_tags(data, charset), [], BASE, "gristmill")


def read_headers(data: bytes) -> None:
    """Headers that give links and directives."""
    value = data.decode("latin-1")
    headers = [("link", value), ("x-robots-tag", value), ("tdm-reservation", value), ("content-signal", value)]
    outlinks.read_page([], headers, BASE, "gristmill")


def read_sitemap(data: bytes) -> None:
    """A sitemap and a TDM policy file."""
    list(outlinks.read_sitemap(data, BASE))
    outlinks.read_tdmrep(data)


def read_feed(data: bytes) -> None:
    """A feed of any kind."""
    list(outlinks.read_feed(data, BASE))


def read_robots(data: bytes) -> None:
    """robots.txt, and a path judged by it."""
    robots.parse_robots(data.decode("utf-8", "replace"), "gristmill/0.1 (+http://example.org)")
    robots.normal_path(data)


def read_url(data: bytes) -> None:
    """A reference, resolved."""
    normalise(data.decode("utf-8", "replace"), BASE)


def read_warc(data: bytes) -> None:
    """A WARC file, packed or not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.warc"
        path.write_bytes(data)
        list(read_records([path]))


def read_rows(data: bytes) -> None:
    """Files of conversations, preferences, prompts and questions, down to the tokens; what is left out is written."""
    left_out: list[LeftOut] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(data)
        with suppress(UserError):  # no file of lines
            for messages in read_conversations(path, left_out):
                render(messages, tokenizer())
            for read in (preference, judged, asked, question_of):
                list(read_rows_of(path, read, left_out))
        write_jsonl(Path(folder) / LEFT_OUT, [asdict(one) for one in left_out])


def read_request(data: bytes) -> None:
    """The body of a request to each path of the API, down to the prompt; what is refused has OpenAI's shape."""
    beginner = Beginner(assistant())
    for begin in (beginner.chat, beginner.completion, beginner.response):
        try:
            begin(data, "local")
        except (ApiError, UserError) as error:
            as_api_error(error).response()


def read_text(data: bytes) -> None:
    """Text of any charset, its words, statistics, language, tokens."""
    to_utf8(data)
    to_utf8(data, data[:12].decode("latin-1"))
    text = data.decode("utf-8", "replace")
    word_hashes(text)
    measure(text)
    detect(text)
    for pattern in PATTERNS:
        assert b"".join(split(data, pattern)) == data
    tokens, counts = tokenizer().encode_bytes(np.frombuffer(data, np.uint8), np.array([0, len(data)]), None)
    assert tokenizer().decode_bytes(tokens.tolist()) == data and int(counts[0]) == len(tokens)


def read_wikitext(data: bytes) -> None:
    """A Wikipedia article's markup."""
    plain_text(data.decode("utf-8", "replace"))


def read_shingles(data: bytes) -> None:
    """Signatures of texts."""
    import pyarrow as pa

    texts = [part.decode("utf-8", "replace") for part in data.split(b"\n")]
    MinHash(3, 4, 2, 0)(pa.array(texts, pa.large_string()))


HTML = (
    b"<!doctype html><html lang=en><head><title>A &amp; b</title><meta charset=utf-8><link rel=canonical href=/x>"
    b"<body class='page'><nav><a href=/>Home</a></nav><article><h1>Title</h1><p>Some text, <b>bold</b> and"
    b" <a href='http://a.example/?a=1&copy=2'>a link</a>.</p><ul><li>one<li>two</ul><table><tr><th>a<th>b<tr><td>1"
    b"<td>2</table><pre>x  = 1\n</pre><svg><title>t</title></svg><math><mi>x</mi></math></article><!-- end --></html>",
    b"<script>if (a < b) '</scr'</script><style>p{}</style><textarea></p></textarea><select><option>a</select>"
    b"&#x41;&#65;",
)
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 8\r\n\r\n<p>a</p>"
RECORD = (
    b"WARC/1.1\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000001>\r\n"
    b"WARC-Date: 2024-01-01T00:00:00Z\r\nWARC-Target-URI: http://example.org/\r\n"
    b"Content-Type: application/http; msgtype=response\r\nContent-Length: %d\r\n\r\n%s\r\n\r\n" % (len(PAGE), PAGE)
)


def zstandard() -> list[bytes]:
    """Three records in frames, without a dictionary and with one."""
    made = []
    for dictionary in (None, zstd_train_dictionary_from_samples([b"%d %s" % (n, RECORD) for n in range(300)], 400)):
        sink = io.BytesIO()
        writer = ZstdWriter(sink, dictionary=dictionary)
        for _ in range(3):
            writer.write(RECORD)
            writer.finish()
        writer.flush()
        made.append(sink.getvalue())
    return made


TARGETS = {
    "html": Target(read_html, HTML),
    "record": Target(
        read_record, (*HTML, b"<html lang='&#xd800;'><title>&#xdfff; \xed\xa0\x80</title><p>" + b"A word. " * 40)
    ),
    "links": Target(read_links, HTML),
    "headers": Target(
        read_headers, (b'<http://a.example/>; rel="license"; type="x", <b>; rel=next', b"max-snippet: 5, noai")
    ),
    "sitemap": Target(
        read_sitemap,
        (
            b'<?xml version="1.0"?><urlset><url><loc>http://a.example/?a=1&amp;b</loc></url></urlset>',
            b'[{"location": "/a/*", "tdm-reservation": 1, "tdm-policy": "http://a.example/"}]',
        ),
    ),
    "feed": Target(
        read_feed,
        (
            b'<rss><channel><item><link>http://a.example/</link></item></channel></rss><link href="/b"/>',
            b'<feed xmlns="http://www.w3.org/2005/Atom"><entry><link rel="alternate" href="/c"/></entry></feed>',
            b'{"version": "https://jsonfeed.org/version/1.1", "items": [{"url": "/d", "id": 1}], "next_url": "/e"}',
        ),
    ),
    "robots": Target(read_robots, (b"User-agent: *\nDisallow: /a*b$\nAllow: /\nCrawl-delay: 3\n# c\nSitemap: /s.xml",)),
    "url": Target(read_url, (b"http://user:pass@xn--a.example:80/a/../b;c?d=e#f", b"//a/%zz%41?\xc3\xa9", b"../x\\y")),
    "warc": Target(read_warc, (RECORD * 3, *zstandard())),
    "rows": Target(
        read_rows,
        (
            b'{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Anna."}]}\n'
            b'{"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "\\ud800"}]}\n',
            b'{"prompt": [{"role": "user", "content": "Who?"}], "chosen": "Anna.", "rejected": "Tom."}\n[1e999]\n',
            b'{"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "{\\"name\\": 3}"}'
            b', {"from": "tool", "value": "r"}, {"from": "gpt", "value": "b"}], "tools": "[{\\"name\\": 3}]"}\n',
            b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "reasoning": "h", "tool_calls": ['
            b'{"id": "1", "function": {"name": "f", "arguments": {"a": [1]}}}]}, {"role": "tool", "content": "r",'
            b' "name": "f"}, {"role": "assistant", "content": "b"}], "Tools": [{"type": "function", "function": {'
            b'"name": "f"}}]}\n',
            b'{"question": "Who?", "answers": ["Anna", 3], "answerable": true, "split": "test", "stated": 4}\n',
        ),
    ),
    "api": Target(
        read_request,
        (
            b'{"model": "tiny", "messages": [{"role": "user", "content": "Who?"}], "temperature": 0.5, "top_p": 1e-300,'
            b' "seed": 7, "max_tokens": 3, "stop": ["."], "stream": true, "stream_options": {"include_usage": true}}',
            b'{"messages": [{"role": "developer", "content": [{"type": "text", "text": "\\ud83d"}]}, {"role": "user",'
            b' "content": ""}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}], "n": 1}',
        ),
    ),
    "text": Target(read_text, ("The mill's 42 wheels — 水车 été ﬁn\r\n\t٣".encode(), "日本語".encode("euc_jp"))),
    "wikitext": Target(
        read_wikitext, (b"'''A''' {{x|y={{z}}}} [[File:a.jpg|thumb|[[b]]]] {| class=x\n|-\n| a\n|}\n<ref>r</ref>",)
    ),
    "shingles": Target(read_shingles, (b"one two three four five\nsix seven eight one two three",)),
}
