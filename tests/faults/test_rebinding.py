"""Names that change their address between two look-ups (DNS rebinding) lead nowhere private."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

OWN = ["unshare", "--map-root-user", "--mount", "--net"]


def test_no_name_leads_to_a_private_address_whenever_it_changes(tmp_path: Path) -> None:
    try:
        subprocess.run([*OWN, "ip", "link"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no network of one's own can be had here")
    command = [*OWN, sys.executable, str(Path(__file__).with_name("rebinding.py")), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["given"]["private"] > 100 and found["given"]["public"] > 100, found
    assert set(found["asked"]) == {"public"} and not found["secrets"] and found["addresses"] == ["93.184.216.34"], found
    assert set(found["outcomes"]) <= {"page", "private_address", "no_sitemap"} and not found["left"], found
    assert found["outcomes"]["page"] > 50 and found["outcomes"]["private_address"] > 10, found
