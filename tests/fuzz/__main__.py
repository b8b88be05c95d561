"""Campaigns: see the package's docstring for the commands."""

import sys
import traceback
from collections import Counter
from pathlib import Path

from .campaign import KINDS, attempt, hostile_code_ran


def campaign(kind: str, tries: int) -> int:
    """Try a kind of files, print the counts, and return the number of tracebacks."""
    counts: Counter[str] = Counter()
    for seed in range(tries):
        try:
            found = attempt(kind, seed)
        except Exception as error:
            found = _place(error)
            if found not in counts:
                print(f"    seed {seed}: {found}: {str(error)[:150]!a}", flush=True)
        counts[found] += 1
        if (seed + 1) % 1000 == 0:
            print(f"    after {seed + 1} files: {counts['read']} read, {counts['one line']} in one line", flush=True)
    bad = tries - counts["read"] - counts["one line"]
    print(f"{kind}: {tries} files: {counts['read']} read, {counts['one line']} refused in one line, {bad} tracebacks")
    for place, count in counts.most_common():
        if place not in ("read", "one line"):
            print(f"    {count:6d} {place}")
    sys.stdout.flush()
    return bad


def _place(error: Exception) -> str:
    """The error's type, and the last line of the library that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/datastill/" in frame.filename] or list(frames)
    return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"


def main(tries: int, kinds: list[str]) -> int:
    """Run the campaigns; the exit code is 1 after a traceback, or if code of a file was run."""
    bad = sum(campaign(kind, tries) for kind in kinds or KINDS)
    print(f"modules of files that were run: {int(hostile_code_ran())}")
    return int(bad > 0 or hostile_code_ran())


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, sys.argv[2:]))
