"""The operator: the openstack client, with the commands a person would type, shown as they are typed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from demo import errors, show
from undercloud import box

# One command answers within seconds; this long it takes only when something is stuck.
_ANSWER_WITHIN = 60.0
_LOOK_EVERY = 0.2

# What `--wait` prints for each event of the stack: time, id, resource, what became of it.
_EVENT = re.compile(r"\S+ \S+ \S+ \[(?P<resource>[^]]+)\]: (?P<status>[A-Z_]+)\s*(?P<reason>.*)")
# What a line of the agent's log begins with, and the ids in it, of which eight digits are enough for people.
_LOG_PREFIX = re.compile(r"^(\d\d:\d\d:\d\d \w+ +|<\d>)")
_UUID = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


class Operator:
    """Types `openstack` commands; `agent_log` is what it looks at while it waits for Heat."""

    def __init__(self, cloud: box.Undercloud, screen: show.Screen, *, agent_log: Path, logs: Path) -> None:
        self._program = str(cloud.openstack)
        # Lines have to arrive while the client waits, not when it ends.
        self._env = {**os.environ, **cloud.openrc, "PYTHONUNBUFFERED": "1"}
        self._screen = screen
        self._agent_log = agent_log
        self._logs = logs
        self._count = 0

    def ask(self, *words: str) -> str:
        """Run a command to its end and return what it printed. Raises DemoError when it fails."""
        self._screen.command(("openstack", *words))
        argv = [self._program, *words]
        with self._screen.waiting(" ".join(("openstack", *words[:2]))):
            try:
                done = subprocess.run(argv, env=self._env, capture_output=True, text=True, timeout=_ANSWER_WITHIN)
            except subprocess.TimeoutExpired:
                raise errors.DemoError(
                    f"openstack {' '.join(words[:2])} did not answer within {_ANSWER_WITHIN:.0f} s"
                ) from None
        if done.returncode:
            raise errors.DemoError(f"openstack {' '.join(words[:2])} failed: {done.stderr.strip()[-1000:]}")
        return done.stdout

    def ask_json(self, *words: str) -> Any:
        """The same, with the answer as JSON."""
        return json.loads(self.ask(*words, "-f", "json"))

    @contextlib.contextmanager
    def begin(self, *words: str) -> Iterator[Operation]:
        """Start a command that waits for Heat (`--wait`), to be followed; it is ended with the context."""
        self._screen.command(("openstack", *words))
        self._count += 1
        said = self._logs / f"openstack-{self._count}-{'-'.join(words[:2])}.log"
        with said.open("w") as out:
            process = subprocess.Popen(
                [self._program, *words], env=self._env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        operation = Operation(process, " ".join(words[:2]), said, self._agent_log, self._screen)
        try:
            yield operation
        finally:
            process.kill()
            process.wait()


class Operation:
    """A command under way, whose events and the agent's doings are shown while something waits for it."""

    def __init__(
        self, process: subprocess.Popen[bytes], name: str, said: Path, agent_log: Path, screen: show.Screen
    ) -> None:
        self._process = process
        self._name = name
        self._said = said
        self._screen = screen
        self._events = _Tail(said)
        self._agent = _Tail(agent_log, skip=True)

    def end(self, within: float) -> bool:
        """Wait until Heat is done; whether the command says that all went well."""
        self._follow(lambda: self._process.poll() is not None, f"waiting for Heat ({self._name})", within)
        return self._process.returncode == 0

    def until(self, reached: Callable[[], bool], what: str, within: float) -> None:
        """Wait for something that happens before Heat is done. Raises DemoError when Heat is done without it."""
        self._follow(lambda: self._process.poll() is not None or reached(), f"waiting until {what}", within)
        if self._process.poll() is not None:
            raise errors.DemoError(f"{self._name} was done before {what}", f"its words are in {self._said}")

    def _follow(self, done: Callable[[], bool], what: str, within: float) -> None:
        deadline = time.monotonic() + within
        with self._screen.waiting(what) as waiting:
            while not done():
                self._show_news()
                waiting.tick(within)
                if time.monotonic() > deadline:
                    raise errors.DemoError(f"gave up after {within:.0f} s of {what}", f"its words: {self._said}")
                time.sleep(_LOOK_EVERY)
        self._show_news()

    def _show_news(self) -> None:
        for line in self._agent.lines():
            self._news("agent", _LOG_PREFIX.sub("", line))
        for line in self._events.lines():
            event = _EVENT.match(line)
            # Configs and the server come and go in no time; deployments and the stack are what it is about.
            if event and not event["resource"].endswith(("_config", ".server")):
                reason = "" if event["reason"] in ("", "state changed") else f": {event['reason']}"
                self._news("heat", f"{event['resource']} {event['status']}{reason}")

    def _news(self, who: str, text: str) -> None:
        self._screen.news(who, _UUID.sub(r"\1", text))


class _Tail:
    """The lines that are added to a file."""

    def __init__(self, path: Path, *, skip: bool = False) -> None:
        self._path = path
        self._position = path.stat().st_size if skip and path.exists() else 0

    def lines(self) -> list[str]:
        """The complete lines since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._position += len(whole)
        return whole.decode(errors="replace").splitlines()
