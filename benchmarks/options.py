"""What the benchmarks' command lines have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection


def counts(text: str) -> list[int]:
    """`1,10,50`."""
    return [int(part) for part in text.split(",")]


def some_of(parts: Collection[str]) -> Callable[[str], list[str]]:
    """Names out of `parts`, with commas between them."""

    def chosen(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in parts]:
            raise argparse.ArgumentTypeError(f"there is no part {unknown[0]!r}; there are {', '.join(parts)}")
        return names

    return chosen


def add_common(parser: argparse.ArgumentParser, parts: Collection[str]) -> None:
    """Add --only and --json."""
    parser.add_argument("--only", type=some_of(parts), default=list(parts), help=f"some parts only: {','.join(parts)}")
    parser.add_argument("--json", action="store_true", help="print JSON, with all samples")
