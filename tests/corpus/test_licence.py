"""Licence detection: the forms in which pages declare one, and pages that declare none."""

from __future__ import annotations

import pytest

from gristmill.corpus.extract.stage import extract_record
from gristmill.corpus.readers.licence import detect_licence
from gristmill.document import Document
from gristmill.record import Record

CC = "https://creativecommons.org/licenses/"


@pytest.mark.parametrize(
    ("href", "licence"),
    [
        (CC + "by/4.0/", "CC-BY-4.0"),
        ("http://creativecommons.org/licenses/by-sa/3.0/deed.de", "CC-BY-SA-3.0"),
        (CC + "by-sa/3.0/de/", "CC-BY-SA-3.0-DE"),
        (CC + "by-nc-nd/2.5/legalcode", "CC-BY-NC-ND-2.5"),
        (CC + "by-nd-nc/1.0", "CC-BY-NC-ND-1.0"),
        ("//CreativeCommons.org/licenses/BY-NC/4.0", "CC-BY-NC-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        (CC + "publicdomain/", "CC-PDDC"),
        (CC, ""),
        ("https://creativecommons.org/about/", ""),
        ("https://www.gnu.org/licenses/fdl-1.2.html", "GFDL-1.2"),
        ("https://www.gnu.org/copyleft/fdl.html", "GFDL-1.3"),
        ("http://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/", "OGL-UK-3.0"),
        ("https://www.apache.org/licenses/LICENSE-2.0", "Apache-2.0"),
        ("https://opensource.org/licenses/MIT", "MIT"),
        ("/terms", ""),
    ],
)
def test_links(href: str, licence: str) -> None:
    assert detect_licence([("license", href)], "") == licence


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (
            "Text is available under the Creative Commons Attribution-ShareAlike License 4.0; terms apply.",
            "CC-BY-SA-4.0",
        ),
        ("This work is licensed under a Creative Commons Attribution 4.0 International License.", "CC-BY-4.0"),
        ("Except where noted, content is released under CC BY-NC-SA 3.0.", "CC-BY-NC-SA-3.0"),
        ("Licensed under Creative Commons Attribution-NonCommercial-NoDerivatives 4.0.", "CC-BY-NC-ND-4.0"),
        ("All our data are published under CC0.", "CC0-1.0"),
        ("Creative Commons licences such as CC BY and CC BY-SA were first written in 2002.", ""),
        ("Photos are available under CC BY 2.0, the text is licensed under CC BY-SA 4.0.", ""),
        ("All rights reserved.", ""),
        ("The room is available. The CC list was long.", ""),
    ],
)
def test_sentences(text: str, licence: str) -> None:
    assert detect_licence([], text) == licence


def test_what_is_declared_outweighs_what_is_only_linked() -> None:
    links = [("", CC + "by/2.0/"), ("noopener license", CC + "by-sa/4.0/"), ("nofollow", CC + "by-nd/3.0/")]
    assert detect_licence(links, "licensed under CC BY 1.0") == "CC-BY-SA-4.0"
    assert detect_licence([("dc.rights", "CC BY-NC 4.0"), ("", CC + "by/2.0/")], "") == "CC-BY-NC-4.0"
    assert detect_licence([("copyright", "(c) Acme"), ("", CC + "by/2.0/")], "") == "CC-BY-2.0"


def test_a_page_that_links_to_several_licences_is_under_none_of_them() -> None:
    assert detect_licence([("", CC + "by/2.0/"), ("", CC + "by-sa/2.0/")], "") == ""
    assert detect_licence([("license", CC + "by/2.0/"), ("license", CC + "by/2.0/deed.en")], "") == "CC-BY-2.0"


def test_a_page_brings_its_licence_into_its_document() -> None:
    story = "<p>" + "The miller walked to the river and spoke with a girl who had lost her boat there. " * 5 + "</p>"
    footer = f'<footer><a rel="license" href="{CC}by-sa/4.0/">CC</a></footer>'
    for extra, licence in ((footer, "CC-BY-SA-4.0"), ("", "")):
        page = f"<html><head><title>x</title></head><body><main>{story}</main>{extra}</body></html>".encode()
        found = extract_record(Record(page, "text/html", "http://a.test/", "a:1"))
        assert isinstance(found, Document) and found.licence == licence
