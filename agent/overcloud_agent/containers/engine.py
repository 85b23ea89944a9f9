"""Podman, through its API socket. The only module that imports podman.

podman-py brings the connection and the errors; requests and their bodies are libpod's own
(https://docs.podman.io/en/latest/_static/api.html), because podman-py's wrappers decide some things for the caller:
its pull overrides registries.conf's TLS settings, its create drops keys. It is loaded for a connection only, so that a
config that cannot be understood is answered without it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Self, TypeVar
from urllib import parse

from overcloud_agent import errors, redact
from overcloud_agent.containers import described, execs, plan, podman_spec, pulls

log = logging.getLogger(__name__)

_T = TypeVar("_T")


# Seconds. A pull is measured between two of its progress lines, everything else as a whole.
TIMEOUT = 60.0
PULL_SILENCE = 300.0

# Seconds for the last words of a container: a service may be down meanwhile.
_LOGS = 10.0

# Seconds between the tries of a request that may be repeated: Podman answers 500 while its database is locked or its
# storage busy, and nothing while its service starts again.
_PAUSES = (0.2, 0.5, 1.0, 2.0)


@dataclasses.dataclass(frozen=True)
class Image:
    """An image in local storage: `id` names it there, `digest` is its manifest's (`sha256:<hex>`)."""

    id: str
    digest: str
    architecture: str = ""
    """As Go calls it (amd64, arm64); empty when it was not asked for."""


@dataclasses.dataclass(frozen=True)
class Host:
    """What Podman says of the node it works on."""

    facts: podman_spec.HostFacts
    storage: str
    """The directory with its images and containers."""


class Engine:
    """A connection to one Podman service."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """`timeout` is how many seconds Podman may take to answer, beyond what a request itself takes."""
        import podman

        try:
            self._client = podman.PodmanClient(base_url=url)
        except ValueError:
            raise errors.EngineError(
                f"{url!r} is not Podman's address", hint="for example unix:///run/podman/podman.sock"
            ) from None
        self._api = self._client.api
        self._url = url
        self._timeout = timeout

    @property
    def url(self) -> str:
        """Podman's address."""
        return self._url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    def _ask(self, verb: Callable[..., Any], path: str, what: str, **arguments: Any) -> Any:
        """A request that may be repeated, because it changes nothing or the same thing; see _call for the rest."""
        return self.persistently(lambda: self._call(verb, path, what, **arguments))

    def persistently(self, ask: Callable[[], _T]) -> _T:
        """Do `ask` again a few times after what may pass: a 5xx, a connection that fails or ends without an answer.

        Silence is not repeated, for it has cost a whole timeout already.
        """
        for pause in _PAUSES:
            try:
                return ask()
            except _TimedOut:
                raise
            except (errors.EngineFailed, errors.EngineAway) as error:
                log.warning("%s; asking again", error)
                time.sleep(pause)
        return ask()

    def _call(
        self, verb: Callable[..., Any], path: str, what: str, *, timeout: float | None = None, **arguments: Any
    ) -> Any:
        """One request; raises EngineError that says `what` could not be done and why. The caller judges a 404."""
        import podman.errors
        import requests

        timeout = self._timeout if timeout is None else timeout
        try:
            answer = verb(path, timeout=timeout, **arguments)
        except podman.errors.APIError as error:
            if isinstance(error.__cause__, requests.exceptions.Timeout):
                raise _TimedOut(f"cannot {what}: Podman did not answer within {timeout:g} seconds") from None
            raise errors.EngineAway(
                f"cannot {what}: Podman does not answer at {self._url}",
                hint="is podman.socket running? see podman_url in the agent's configuration",
            ) from None
        if answer.status_code >= 500:
            raise errors.EngineFailed(f"cannot {what}: {_explanation(answer)}")
        if answer.status_code >= 400 and answer.status_code != 404:
            raise errors.EngineError(f"cannot {what}: {_explanation(answer)}")
        return answer

    def host(self) -> Host:
        """Ask Podman about itself. Raises EngineError when the service is not there."""
        document = self._ask(self._api.get, "/info", "talk to Podman").json()
        return Host(podman_spec.host_facts(document), str(document.get("store", {}).get("graphRoot") or ""))

    def pull(self, reference: str, *, alive: Callable[[], None]) -> Image:
        """Make `reference` present and return it. A tag is always asked for anew: it may have moved.

        What registries.conf and policy.json of the host say is honoured. `alive` is called with each line of
        progress, and while a pull that failed waits for its next try. Raises EngineError, and what `alive` raises.
        """
        if not reference.startswith("localhost/"):
            pulls.persistently(lambda: self._pull_once(reference, alive), alive=alive)
        return self.image(reference)

    def _pull_once(self, reference: str, alive: Callable[[], None]) -> None:
        path, arguments = pulls.request(reference)
        answer = self._call(self._api.post, path, f"pull {reference}", stream=True, timeout=PULL_SILENCE, **arguments)
        try:
            _follow_pull(answer, reference, alive)
        except errors.EngineError as error:
            if pulls.NO_SPACE not in error.message:
                raise
            raise errors.EngineError(f"{self._full_disk()} is full: {error.message}", hint=_MAKE_ROOM) from None

    def _full_disk(self) -> str:
        """The disk that images are written to, for people."""
        try:
            store = self._ask(self._api.get, "/info", "talk to Podman").json()["store"]
            return f"the disk of Podman's images ({store['graphRoot']})"
        except (errors.EngineError, LookupError, ValueError):
            return "the disk of Podman's images"

    def image(self, reference: str) -> Image:
        """The local image of that name or id. Raises EngineError when there is none."""
        answer = self._ask(self._api.get, f"/images/{parse.quote(reference, safe='')}/json", f"inspect {reference}")
        if answer.status_code == 404:
            raise errors.EngineError(f"there is no image {reference}")
        document = answer.json()
        return Image(
            id=document["Id"],
            digest=document.get("Digest") or f"sha256:{document['Id']}",
            architecture=document.get("Architecture") or "",
        )

    def local(self, references: Iterable[str]) -> dict[str, Image]:
        """Those of the images that are in local storage under exactly that name or digest, in one request."""
        images = self.images()
        return {reference: images[reference] for reference in references if reference in images}

    def images(self) -> dict[str, Image]:
        """All of local storage, by their names with tag and with digest."""
        answer = self._ask(self._api.get, "/images/json", "list images")
        return {
            name: Image(id=entry["Id"], digest=entry.get("Digest") or f"sha256:{entry['Id']}")
            for entry in answer.json() or []
            for name in [*(entry.get("RepoDigests") or []), *(entry.get("RepoTags") or [])]
        }

    def is_pod(self, name: str) -> bool:
        """Whether there is a pod of that name."""
        return bool(self._ask(self._api.get, f"/pods/{name}/exists", f"look for a pod {name}").status_code == 204)

    def kept(self, prefix: str) -> dict[str, plan.Container]:
        """The containers whose names begin with `prefix`."""
        return {name: one for name, one in self.containers().items() if name.startswith(prefix)}

    def label(self, name: str, label: str) -> str:
        """A label of a container; empty when one of them is not there."""
        document = self.document(name)
        return str((document["Config"].get("Labels") or {}).get(label, "")) if document else ""

    def containers(self, *names: str) -> dict[str, plan.Container]:
        """The containers that exist (of `names`, if any are given), by name, in one request.

        Their times are whole seconds; restarts and healthchecks are not told.
        """
        pattern = [f"^({'|'.join(re.escape(name) for name in names)})$"] if names else []
        return {
            entry["Names"][0]: described.listed(entry) for entry in self.entries({"name": pattern} if names else {})
        }

    def entries(
        self, filters: Mapping[str, list[str]] = MappingProxyType({}), *, namespaces: bool = False
    ) -> list[dict[str, Any]]:
        """The list of containers as Podman tells it; on demand with the numbers of the namespaces of those that run."""
        params = {"all": "true", "filters": json.dumps(dict(filters)), "namespace": str(namespaces).lower()}
        answer = self._ask(self._api.get, "/containers/json", "list containers", params=params)
        return list(answer.json() or [])

    def document(self, name: str) -> dict[str, Any] | None:
        """All that Podman says of the container with exactly that name; None when there is none."""
        answer = self._ask(self._api.get, f"/containers/{name}/json", f"inspect {name}")
        if answer.status_code == 404:
            return None
        document = dict(answer.json())
        # Podman also finds containers by the beginning of their id.
        return document if document["Name"] == name else None

    def inspect(self, name: str) -> plan.Container | None:
        """The container with exactly that name, its restarts and healthcheck included; None when there is none."""
        document = self.document(name)
        if document is None:
            return None
        return described.inspected(document)

    def create(self, body: dict[str, Any]) -> None:
        """Create a container from a SpecGenerator."""
        name = body["name"]
        answer = self._call(
            self._api.post,
            "/containers/create",
            f"create {name}",
            data=json.dumps(body),
            headers={"Content-Type": "application/json"},
        )
        if answer.status_code == 404:
            raise errors.EngineError(f"cannot create {name}: {_explanation(answer)}")

    def prepare(self, name: str) -> None:
        """Set up everything of a created container but its process, so that its start takes less time."""
        answer = self._call(self._api.post, f"/containers/{name}/init", f"prepare {name}")
        if answer.status_code == 404:
            raise errors.EngineError(f"cannot prepare {name}: there is no such container")

    def start(self, name: str) -> None:
        """Start a container, also one whose stop was cut short when Podman's service ended."""
        try:
            self._start(name)
        except errors.EngineFailed:
            answer = self._ask(self._api.get, f"/containers/{name}/json", f"inspect {name}")
            if answer.status_code == 404 or answer.json()["State"]["Status"] != "stopping":
                raise
            # It stays in that state, from which Podman does not start it, until a stop comes to its end.
            self.stop(name, None)
            self._start(name)

    def _start(self, name: str) -> None:
        answer = self._call(self._api.post, f"/containers/{name}/start", f"start {name}")
        if answer.status_code == 404:
            raise errors.EngineError(f"cannot start {name}: there is no such container")

    def stop(self, name: str, grace: int | None) -> None:
        """Stop a container; `grace` seconds until SIGKILL, or what the container was created with.

        One that somebody removed by hand is as good as stopped.
        """
        params = {} if grace is None else {"timeout": str(grace)}
        # Podman answers when the container has stopped, so the request may take all of the grace.
        timeout = self._timeout + (grace or 600)
        self._call(self._api.post, f"/containers/{name}/stop", f"stop {name}", timeout=timeout, params=params)

    def rename(self, name: str, new: str) -> None:
        """Rename a container. No container of that name is fine: what is there now decides what comes next.

        It was renamed by an earlier try whose answer got lost, or somebody removed it by hand.
        """
        what = f"rename {name} to {new}"
        answer = self._ask(self._api.post, f"/containers/{name}/rename", what, params={"name": new})
        if answer.status_code == 404:
            log.warning("cannot %s: there is no such container any more", what)

    def remove(self, name: str) -> None:
        """Remove a container, running or not; its named volumes stay. No container of that name is fine."""
        self._ask(self._api.delete, f"/containers/{name}", f"remove {name}", params={"force": "true", "timeout": "0"})

    def wait_exit(self, name: str, seconds: float) -> bool:
        """Wait at most `seconds` for the container to end; True when it did."""
        if seconds <= 0:
            return False
        try:
            self._call(
                self._api.post,
                f"/containers/{name}/wait",
                f"wait for {name}",
                timeout=seconds,
                params={"condition": ["exited", "stopped"]},
            )
        except _TimedOut:
            return False
        return True

    def healthcheck(self, name: str, timeout: float) -> tuple[bool, str]:
        """Run the container's healthcheck once: whether it passed, and if not, the end of what it printed."""
        try:
            answer = self._call(self._api.get, f"/containers/{name}/healthcheck", f"check {name}", timeout=timeout)
        except _TimedOut:
            return False, f"the healthcheck did not end within {timeout:g} seconds"
        if answer.status_code == 404:
            raise errors.EngineError(f"cannot check {name}: there is no such container")
        if answer.json().get("Status") == "healthy":
            return True, ""
        state = self._ask(self._api.get, f"/containers/{name}/json", f"inspect {name}").json().get("State", {})
        latest = (state.get("Health", {}).get("Log") or [{}])[-1]
        return False, (latest.get("Output") or "").strip()[-200:]

    def exec(
        self,
        name: str,
        argv: list[str],
        *,
        timeout: float,
        user: str | None = None,
        privileged: bool = False,
        env: dict[str, str] | None = None,
    ) -> tuple[int, str]:
        """Run a command in a container: its exit code and the end of its output. Raises EngineError; see execs.py."""
        return execs.Exec(self._url, name, argv, user=user, privileged=privileged, env=env).run(timeout)

    def logs(self, name: str, lines: int) -> str:
        """The last lines of a container's output, as far as its log driver keeps them and tells them soon."""
        from podman import api

        params = {"stdout": "true", "stderr": "true", "tail": str(lines)}
        try:
            answer = self._call(
                self._api.get, f"/containers/{name}/logs", f"read the log of {name}", params=params, timeout=_LOGS
            )
        except errors.EngineError:
            # The report is about something else that failed; without these lines it is still a report.
            return ""
        if answer.status_code == 404:
            return ""
        return b"".join(api.frames(answer)).decode(errors="replace").strip()


class _TimedOut(errors.EngineAway):
    """No answer in time, which some callers asked for."""


_MAKE_ROOM = "make room there, for example with `podman image prune`; what runs was not touched"


def _explanation(answer: Any) -> str:
    try:
        document = answer.json()
        return redact.text(document.get("message") or document.get("cause"))
    except ValueError:
        return f"Podman answered {answer.status_code}"


def _follow_pull(answer: Any, reference: str, alive: Callable[[], None]) -> None:
    """Read a pull's progress to its end. A failed pull is a 200 with an `error` line in it."""
    import requests

    if answer.status_code == 404:
        raise errors.EngineError(f"cannot pull {reference}: {_explanation(answer)}")
    try:
        for line in answer.iter_lines():
            alive()
            problem = json.loads(line).get("error") if line else None
            if problem:
                raise errors.EngineError(f"cannot pull {reference}: {redact.text(problem)}")
    except requests.exceptions.RequestException as error:
        words = f"Podman's answer broke off ({type(error).__name__})"
        raise errors.EngineAway(f"cannot pull {reference}: {words}") from None
    except ValueError:
        raise errors.EngineError(f"cannot pull {reference}: Podman's progress is not JSON") from None
