"""What the demo prints: headings, commands, news while it waits, checks, and the table at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import time
from collections.abc import Iterator, Sequence

from rich import box, console, markup, status, table

# Where the output is no terminal there is no spinner, but whoever reads a log wants a sign of life, too.
_SIGN_OF_LIFE = 10.0
_WIDE = 200
# A command that is longer goes on in the next line, before each of its parameters.
_LONG = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What happened to one container, for the table at the end."""

    service: str
    old_digest: str
    new_digest: str
    downtime: float | None
    result: str


class Screen:
    """Standard output, on a terminal with colours and a spinner, elsewhere as plain lines."""

    def __init__(self) -> None:
        self._out = console.Console(highlight=False, soft_wrap=True)
        if not self._out.is_terminal:
            # A file has no width that a table would have to fit into.
            self._out.width = _WIDE
        self._began = time.monotonic()
        self._last_line = self._began

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def act(self, title: str) -> None:
        """Begin a part of the story."""
        self._print(f"\n[bold]── {markup.escape(title)} ──[/bold]  [dim]{self.elapsed:.0f} s[/dim]")

    def say(self, text: str) -> None:
        """Print one line of the story."""
        self._print(markup.escape(text))

    def command(self, argv: Sequence[str]) -> None:
        """Show a command as an operator would type it."""
        line = shlex.join(argv)
        if len(line) > _LONG:
            line = line.replace(" --parameter ", " \\\n      --parameter ").replace(" --wait", " \\\n      --wait")
        self._print(f"[bold cyan]$ {markup.escape(line)}[/bold cyan]")

    def answer(self, text: str) -> None:
        """Show what a command answered, or the part of it that matters."""
        for line in text.splitlines():
            self._print(f"    {markup.escape(line)}")

    def news(self, who: str, text: str) -> None:
        """Show what somebody else did while the demo waits."""
        self._print(f"  [dim]{self.elapsed:5.1f} s  {who:5}  {markup.escape(text)}[/dim]")

    def passed(self, what: str) -> None:
        """Show a check that held."""
        self._print(f"  [green]✓[/green] {markup.escape(what)}")

    def failed(self, message: str, hint: str = "") -> None:
        """Show what ended the demo."""
        self._print(f"[bold red]✗ {markup.escape(message)}[/bold red]")
        if hint:
            self._print(f"  hint: {markup.escape(hint)}")

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[Waiting]:
        """Show, as long as the context lasts, that the demo waits for `what`."""
        with self._out.status(what) as spinner:
            yield Waiting(self, spinner, what)

    def grid(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table. Columns whose name begins with `>` are aligned to the right."""
        grid = table.Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            grid.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
        for row in rows:
            grid.add_row(*map(markup.escape, row))
        self._print(grid)

    def results(self, rows: Sequence[Row]) -> None:
        """Print the table at the end: one line for each container that was replaced."""
        cells = [
            (row.service, digits(row.old_digest), digits(row.new_digest), seconds(row.downtime), row.result)
            for row in rows
        ]
        self._print("")
        self.grid(("service", "old digest", "new digest", ">downtime", "result"), cells)

    def sign_of_life(self, text: str) -> None:
        """Print `text` if nothing was printed for a while and there is no spinner to look at."""
        if not self._out.is_terminal and time.monotonic() - self._last_line > _SIGN_OF_LIFE:
            self.news("demo", text)

    def _print(self, what: str | table.Table) -> None:
        self._last_line = time.monotonic()
        self._out.print(what)


class Waiting:
    """The spinner of one wait."""

    def __init__(self, screen: Screen, spinner: status.Status, what: str) -> None:
        self._screen = screen
        self._spinner = spinner
        self._what = what
        self._began = time.monotonic()

    def tick(self, within: float) -> None:
        """Show how long the wait lasts and may last."""
        text = f"{self._what}: {time.monotonic() - self._began:.0f} s of at most {within:.0f} s"
        self._spinner.update(text)
        self._screen.sign_of_life(text)


def digits(digest: str) -> str:
    """The twelve hex digits by which people tell a digest."""
    return digest.removeprefix("sha256:")[:12] or "-"


def seconds(duration: float | None) -> str:
    """A duration for people; a service that was never stopped has none."""
    return "-" if duration is None else f"{duration:.2f} s"
