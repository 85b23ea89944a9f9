"""The figures: samples by section and side, their median and 99th percentile, and how they are shown."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import sys
from typing import Any


@dataclasses.dataclass
class Section:
    """Figures of one kind, side by side. `base` is the side that the others are compared with."""

    title: str
    unit: str
    base: str = ""
    samples: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def add(self, side: str, value: float) -> None:
        """Keep one sample, and say it on stderr, because a whole run takes long."""
        self.samples.setdefault(side, []).append(value)
        print(f"  {self.title}, {side}: {shown(value)} {self.unit}", file=sys.stderr, flush=True)

    def median(self, side: str) -> float:
        return statistics.median(self.samples[side])

    def p99(self, side: str) -> float:
        """The 99th percentile; of fewer than a hundred samples it is between the two largest."""
        samples = self.samples[side]
        return statistics.quantiles(samples, n=100, method="inclusive")[98] if len(samples) > 1 else samples[0]

    def ratio(self, side: str, to: str) -> float:
        """How many times as much `side` takes as `to`, by the medians."""
        return self.median(side) / self.median(to)


@dataclasses.dataclass(frozen=True)
class Aim:
    """A figure that the project wants: at most `limit`, or at least."""

    words: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def held(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def table(sections: list[Section], aims: list[Aim]) -> str:
    """For people: medians, 99th percentiles, ratios; then the aims."""
    names = {name for section in sections for name in section.samples}
    width = max(map(len, names), default=0)
    lines = []
    for section in sections:
        lines += ["", f"{section.title} ({section.unit})"]
        lines.append(f"  {'':{width}}  {'median':>8}  {'p99':>8}" + (f"  to {section.base}" if section.base else ""))
        for side in section.samples:
            ratio = f"  {section.ratio(side, section.base):.2f}x" if section.base in section.samples else ""
            median, p99 = shown(section.median(side)), shown(section.p99(side))
            lines.append(f"  {side:{width}}  {median:>8}  {p99:>8}{ratio}")
    lines += ["", "Aims"] if aims else []
    for aim in aims:
        limit = f"{'at least' if aim.at_least else 'at most'} {aim.limit:g}"
        lines.append(f"  {'held  ' if aim.held else 'missed'}  {aim.words}: {shown(aim.value)} ({limit})")
    return "\n".join(lines).lstrip("\n")


def document(sections: list[Section], aims: list[Aim], settings: dict[str, Any]) -> str:
    """For programs: the same with all samples, and where they were taken."""
    machine = {"processors": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    listed = [
        {
            **dataclasses.asdict(section),
            "median": {side: section.median(side) for side in section.samples},
            "p99": {side: section.p99(side) for side in section.samples},
        }
        for section in sections
    ]
    wanted = [{**dataclasses.asdict(aim), "held": aim.held} for aim in aims]
    return json.dumps({"settings": settings, "machine": machine, "sections": listed, "aims": wanted}, indent=2)


def shown(value: float) -> str:
    """A figure with three digits that matter."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
