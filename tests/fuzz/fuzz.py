"""Feeds changed bytes to what reads bytes of others: `python tests/fuzz/fuzz.py html --seconds 60 --seed 1`.

Best with the library of `make sanitize`, which ends the process at the first byte read out of bounds (`make fuzz`). An
input that fails is written to a file, whose name is printed; `--repeat FILE` runs it again.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path

from targets import TARGETS, Target

PIECES = (
    b"<",
    b">",
    b"&",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xf4\x8f\xbf\xbf",
    b"\r\n\r\n",
    b"'",
    b'"',
    b"]]>",
    b"-->",
    b"{{",
    b"#" * 40,
)


def changed(data: bytes, draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Bytes with a few places changed, cut out, doubled or taken from another seed."""
    made = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        at = draw.randint(0, len(made))
        stop = min(len(made), at + draw.choice((1, 1, 2, 4, 16, 64)))
        match draw.randrange(6):
            case 0:
                made[at:stop] = draw.randbytes(stop - at)
            case 1:
                del made[at:stop]
            case 2:
                made[at:at] = made[at:stop] * draw.choice((1, 2, 50))
            case 3:
                made[at:at] = draw.choice(PIECES)
            case 4:
                other = draw.choice(seeds)
                start = draw.randint(0, len(other))
                made[at:stop] = other[start : start + draw.randint(0, 80)]
            case 5 if at < len(made):
                made[at] ^= 1 << draw.randrange(8)
    return bytes(made[: 1 << 16])


def fuzz(target: Target, seconds: float, seed: int, keep: Path) -> int:
    """Run inputs until the time is over; returns how many. `keep` always holds the input that is being read."""
    draw, started, count = random.Random(seed), time.monotonic(), 0
    pool = list(target.seeds)
    while time.monotonic() - started < seconds:
        data = changed(draw.choice(pool), draw, target.seeds)
        keep.write_bytes(data)
        target.read(data)
        if draw.random() < 0.02:  # go on from what was made, too
            pool[draw.randrange(len(pool)) if len(pool) > 50 else len(pool) - 1 :] = [data, *target.seeds]
        count += 1
    keep.unlink(missing_ok=True)
    return count


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=[], help=f"of {', '.join(TARGETS)}; all where none is named")
    parser.add_argument("--seconds", type=float, default=10, help="for each target")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--repeat", type=Path, help="a file that failed")
    given = parser.parse_args()
    for name in given.targets or TARGETS:
        if given.repeat:
            TARGETS[name].read(given.repeat.read_bytes())
            continue
        keep = Path(f"fuzz-{name}-{given.seed}.input")
        print(f"{name}: seed {given.seed}, input in {keep}", flush=True)
        print(f"{name}: {fuzz(TARGETS[name], given.seconds, given.seed, keep):,} inputs", flush=True)


if __name__ == "__main__":
    main()
