"""What `gristmill why` says of one page."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Command

from gristmill.manifest import Manifest


def test_a_page_that_was_never_asked_for_has_no_status(tmp_path: Path, command: Command) -> None:
    (tmp_path / "crawl").mkdir()
    Manifest(stage="crawl", version="0.1.0").write(tmp_path / "crawl")
    outcomes = (("robots", 0, "Disallow: /a"), ("timeout", 0, ""), ("status_404", 404, ""))
    lines = [
        json.dumps({"url": f"http://a.test/{outcome}", "outcome": outcome, "status": status, "detail": detail})
        for outcome, status, detail in outcomes
    ]
    (tmp_path / "crawl" / "urls.jsonl").write_text("\n".join(lines) + "\n")
    told = {outcome: command("why", tmp_path, f"http://a.test/{outcome}").stdout for outcome, _, _ in outcomes}
    assert "no page: robots, which was never asked for, as robots.txt forbids it" in told["robots"]
    assert "Disallow: /a" in told["robots"] and "status 0" not in "".join(told.values())
    assert "never asked" not in told["timeout"] and "status 404" in told["status_404"]
