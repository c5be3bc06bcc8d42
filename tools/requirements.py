"""Print what `pip install '.[test]'` would install but for some packages, for an environment without them."""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path


def main() -> None:
    """Print the names with their bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", nargs="+", default=[])
    left_out = set(parser.parse_args().without)
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    own = re.compile(r"gristmill\[(.*)\]")
    wanted = [*project["dependencies"], *extras["test"]]
    for one in extras["test"]:
        if found := own.fullmatch(one):
            wanted += [package for name in found[1].split(",") for package in extras[name]]
    print(*(one for one in wanted if not own.fullmatch(one) and re.split(r"[<>=\[]", one)[0] not in left_out), sep="\n")


if __name__ == "__main__":
    main()
