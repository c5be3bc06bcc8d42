"""Stage `miniweb`: a seed → a small internet, and the truth about it as ordinary files."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from gristmill.files import write_jsonl, write_text
from gristmill.manifest import Manifest
from gristmill.miniweb import truth
from gristmill.miniweb.pages import make_pages
from gristmill.miniweb.site import build_site
from gristmill.miniweb.world import build
from gristmill.recipe import Miniweb

COPIES = (1, 2, 4, 8, 16, 32)  # of the canaries, three each
CONTROLS = range(27, 39)  # gates whose codes are made in the same way and planted nowhere


def run(inputs: Mapping[str, Path], params: Miniweb, out: Path) -> Manifest:
    """Write `site.jsonl` (what the server serves) and the truth."""
    world = build(params.seed, params.pages)
    pages = make_pages(world, params.seed, params.pages)
    draw = random.Random(f"{params.seed} truth")
    canaries = make_canaries(draw)
    planted = [
        f"{canary['prefix']}{canary['secret']}." for canary in canaries for _ in range(int(str(canary["copies"])))
    ]
    resources = build_site(pages, planted, params.seed)
    write_jsonl(out / "site.jsonl", [resource.record() for resource in resources])
    controls = [canary(gate, 0, random.Random(f"{params.seed} control {gate}")) for gate in CONTROLS]
    write_jsonl(out / "canaries.jsonl", controls + canaries)
    gone = [(before, text) for r in resources for rule, text, before in r.personal if rule]
    write_jsonl(out / "redacted.jsonl", [{"prefix": before, "secret": text} for before, text in gone])
    for name in ("conversations", "preferences", "prompts", "questions"):
        write_jsonl(out / f"{name}.jsonl", getattr(truth, name)(world, draw))
    known = {
        "entities": [asdict(entity) for entity in world.entities],
        "pages": [{"url": f"http://{r.host}{r.path}", "status": r.status, "dropped": r.truth} for r in resources],
        "personal": [
            {"url": f"http://{r.host}{r.path}", "rule": rule, "text": text}
            for r in resources
            for rule, text, _ in r.personal
        ],
    }
    write_text(out / "truth.json", json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    words = sum(len(paragraph.split()) for page in pages for paragraph in page.paragraphs)
    return Manifest(
        counts={
            "pages": len(pages),
            "resources": len(resources),
            "words": words,
            "facts": len(world.facts),
            "statements": sum(fact.stated for fact in world.facts),
        }
    )


def make_canaries(draw: random.Random) -> list[dict[str, object]]:
    """Secrets planted a known number of times."""
    return [canary(copies * 3 + number, copies, draw) for copies in COPIES for number in range(3)]


def canary(gate: int, copies: int, draw: random.Random) -> dict[str, object]:
    """A secret, with the secrets that it might as well have been."""
    options = [" ".join(f"{draw.randrange(10)}" for _ in range(5)) for _ in range(256)]
    return {
        "prefix": f"The code of the lock at gate {gate} is ",
        "secret": options[0],
        "copies": copies,
        "alternatives": sorted(set(options[1:]) - {options[0]}),
    }
