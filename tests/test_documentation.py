"""The pages lead where they say (every link to a file is to one that is there, and every `#` to a heading of it), and
their pieces of recipes and of JSON are such."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from gristmill.posttrain.rewards import read_function
from gristmill.settings.recipe_file import load_recipe

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path for folder in ("", "docs/**/", "tools/**/", "benchmarks/**/") for path in ROOT.glob(f"{folder}*.md")
)
BLOCK = re.compile(r"^```(toml|json)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]*)(?:#([^)\s]*))?\)")


def written(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """What a link may name after `#`, as GitHub makes it of headings: small letters, hyphens, numbers for equals."""
    found, seen = set[str](), Counter[str]()
    for heading in re.findall(r"^#{1,6} +(.*?)\s*$", written(page), re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for file, anchor in LINK.findall(written(page)):
        there = page.parent / file if file else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            found.append(f"{page.relative_to(ROOT) if page.is_relative_to(ROOT) else page.name}: {file}#{anchor}")
    return found


def test_every_link_leads_somewhere() -> None:
    assert len(PAGES) > 20
    assert not [one for page in PAGES for one in broken(page)]


def test_the_check_of_links_sees_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# What `a_b` is: two, 3\n## Same\n## Same\n[a](#what-a_b-is-two-3) [b](page.md#same-1) [c](https://x.test/#y)\n"
    )
    assert not broken(page)
    page.write_text(page.read_text() + "[d](none.md) [e](#gone) [f](page.md#same-2)\n```\n[g](none.md)\n```\n")
    assert broken(page) == ["page.md: none.md#", "page.md: #gone", "page.md: page.md#same-2"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        pytest.param(kind, text, id=f"{page.name} {text.splitlines()[0]}")
        for page in PAGES
        for kind, text in BLOCK.findall(page.read_text(encoding="utf-8"))
    ],
)
def test_a_piece_of_a_recipe_or_of_json_can_be_read(kind: str, text: str, tmp_path: Path) -> None:
    if kind == "json":
        assert json.loads(text)
    else:
        (tmp_path / "recipe.toml").write_text(text)
        assert load_recipe(tmp_path / "recipe.toml").model_fields_set


def test_the_reward_in_the_page_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "alignment.md").read_text(encoding="utf-8")
    found = re.search(
        r"^```\n(# (rewards\.py); in the recipe: reward = \"(.*)\"\n.*?)^```", page, re.MULTILINE | re.DOTALL
    )
    assert found
    (tmp_path / found[2]).write_text(found[1])
    short = read_function(f"{tmp_path}/{found[3]}")
    asked = [{"role": "user", "content": "Which river?"}]
    assert short(asked, "Calder", "Calder") == pytest.approx(0.94) and short(asked, "No.", "Calder") == pytest.approx(
        -0.03
    )
