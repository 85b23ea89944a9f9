"""The figures: samples of both sides under one title, their medians, and how they are shown."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import sys
from collections import defaultdict
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the answer. A side without samples cannot do this, or did not have to."""

    section: str
    title: str
    unit: str
    reference: float | None
    ours: float | None
    samples: dict[str, list[float]]

    @property
    def ratio(self) -> float | None:
        """How many times as much the reference takes."""
        return self.reference / self.ours if self.reference is not None and self.ours else None


class Figures:
    """Collects samples; the rows are in the order in which their first sample came."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str, str], dict[str, list[float]]] = {}

    def add(self, section: str, title: str, unit: str, side: str, value: float) -> None:
        """Keep one sample, and say it on stderr, because a whole run takes long."""
        self._samples.setdefault((section, title, unit), defaultdict(list))[side].append(value)
        print(f"  {side:9}  {title}: {shown(value)} {unit}", file=sys.stderr, flush=True)

    def rows(self) -> list[Row]:
        """The medians, section by section."""
        sections = list(dict.fromkeys(section for section, _, _ in self._samples))
        return [
            Row(*key, _median(samples["reference"]), _median(samples["ours"]), dict(samples))
            for key, samples in sorted(self._samples.items(), key=lambda item: sections.index(item[0][0]))
        ]


def table(rows: list[Row]) -> str:
    """For people: the medians of both sides, and the ratio."""
    width = max((len(row.title) for row in rows), default=0)
    lines = []
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            lines += ["", section, f"  {'':{width}}  {'reference':>10}  {'ours':>10}  {'ratio':>8}"]
        ratio = f"{shown(row.ratio)}x" if row.ratio is not None else "-"
        figures = f"{shown(row.reference):>10}  {shown(row.ours):>10}  {ratio:>8}"
        lines.append(f"  {row.title:{width}}  {figures}  {row.unit}")
    return "\n".join(lines).lstrip("\n")


def document(rows: list[Row], settings: dict[str, Any]) -> str:
    """For programs: the same with all samples, and where they were taken."""
    machine = {"processors": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    listed = [{**dataclasses.asdict(row), "ratio": row.ratio} for row in rows]
    return json.dumps({"settings": settings, "machine": machine, "rows": listed}, indent=2)


def shown(value: float | None) -> str:
    """A figure with three digits that matter."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _median(samples: list[float]) -> float | None:
    return statistics.median(samples) if samples else None
