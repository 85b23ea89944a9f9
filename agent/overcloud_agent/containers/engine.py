"""Podman, through its API socket. The only module that imports podman.

podman-py brings the connection and the errors; requests and their bodies are libpod's own
(https://docs.podman.io/en/latest/_static/api.html), because podman-py's wrappers decide some things for the caller:
its pull overrides registries.conf's TLS settings, its create drops keys. It is loaded for a connection only, so that a
config that cannot be understood is answered without it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib import parse

from overcloud_agent import errors, redact
from overcloud_agent.containers import plan

LABEL_FINGERPRINT = "overcloud-agent.fingerprint"
LABEL_DIGEST = "overcloud-agent.digest"
LABEL_DEPLOYMENT = "overcloud-agent.deployment"
LABEL_REPLACES = "overcloud-agent.replaces"

# Seconds. A pull is measured between two of its progress lines, everything else as a whole.
TIMEOUT = 60.0
PULL_SILENCE = 300.0

_FRACTION = re.compile(r"\.(\d{6})\d*")


@dataclasses.dataclass(frozen=True)
class Image:
    """An image in local storage: `id` names it there, `digest` is its manifest's (`sha256:<hex>`)."""

    id: str
    digest: str


class Engine:
    """A connection to one Podman service."""

    def __init__(self, url: str) -> None:
        import podman

        try:
            self._client = podman.PodmanClient(base_url=url)
        except ValueError:
            raise errors.EngineError(
                f"{url!r} is not Podman's address", hint="for example unix:///run/podman/podman.sock"
            ) from None
        self._api = self._client.api
        self._url = url

    def close(self) -> None:
        self._client.close()

    def _call(
        self, verb: Callable[..., Any], path: str, what: str, *, timeout: float = TIMEOUT, **arguments: Any
    ) -> Any:
        """One request; raises EngineError that says `what` could not be done and why."""
        import podman.errors
        import requests

        try:
            answer = verb(path, timeout=timeout, **arguments)
        except podman.errors.APIError as error:
            if isinstance(error.__cause__, requests.exceptions.Timeout):
                raise _TimedOut(f"cannot {what}: Podman did not answer within {timeout:g} seconds") from None
            raise errors.EngineAway(
                f"cannot {what}: Podman does not answer at {self._url}",
                hint="is podman.socket running? see podman_url in the agent's configuration",
            ) from None
        if answer.status_code >= 400 and answer.status_code != 404:
            raise errors.EngineError(f"cannot {what}: {_explanation(answer)}")
        return answer

    def ping(self) -> None:
        """Raises EngineError when the service is not there."""
        self._call(self._api.get, "/info", "talk to Podman")

    def pull(self, reference: str, *, alive: Callable[[], None]) -> Image:
        """Make `reference` present and return it. A tag is always asked for anew: it may have moved.

        What registries.conf and policy.json of the host say is honoured. `alive` is called with each line of
        progress. Raises EngineError, and what `alive` raises.
        """
        if not reference.startswith("localhost/"):
            policy = "missing" if "@sha256:" in reference else "always"
            answer = self._call(
                self._api.post,
                "/images/pull",
                f"pull {reference}",
                params={"reference": reference, "policy": policy},
                stream=True,
                timeout=PULL_SILENCE,
            )
            _follow_pull(answer, reference, alive)
        return self.image(reference)

    def image(self, reference: str) -> Image:
        """The local image of that name or id. Raises EngineError when there is none."""
        answer = self._call(self._api.get, f"/images/{parse.quote(reference, safe='')}/json", f"inspect {reference}")
        if answer.status_code == 404:
            raise errors.EngineError(f"there is no image {reference}")
        document = answer.json()
        return Image(id=document["Id"], digest=document.get("Digest") or f"sha256:{document['Id']}")

    def inspect(self, name: str) -> plan.Container | None:
        """The container with exactly that name; None when there is none."""
        answer = self._call(self._api.get, f"/containers/{name}/json", f"inspect {name}")
        if answer.status_code == 404:
            return None
        document = answer.json()
        # Podman also finds containers by the beginning of their id.
        if document["Name"] != name:
            return None
        labels = document["Config"].get("Labels") or {}
        state = document["State"]
        return plan.Container(
            id=document["Id"],
            image=document["Image"],
            digest=labels.get(LABEL_DIGEST, ""),
            fingerprint=labels.get(LABEL_FINGERPRINT, ""),
            deployment=labels.get(LABEL_DEPLOYMENT, ""),
            replaces=bool(labels.get(LABEL_REPLACES)),
            running=bool(state["Running"]),
            exit_code=int(state.get("ExitCode") or 0),
            restarts=int(document.get("RestartCount") or 0),
            check_timeout=_check_timeout(document["Config"].get("Healthcheck")),
            started_at=_epoch(state.get("StartedAt")),
            finished_at=_epoch(state.get("FinishedAt")),
        )

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

    def start(self, name: str) -> None:
        self._container(name, "start", "start")

    def stop(self, name: str, grace: int | None) -> None:
        """Stop a container; `grace` seconds until SIGKILL, or what the container was created with."""
        params = {} if grace is None else {"timeout": str(grace)}
        # Podman answers when the container has stopped, so the request may take all of the grace.
        self._container(name, "stop", "stop", timeout=TIMEOUT + (grace or 600), params=params)

    def rename(self, name: str, new: str) -> None:
        self._container(name, "rename", f"rename to {new}", params={"name": new})

    def remove(self, name: str) -> None:
        """Remove a container, running or not; its named volumes stay. No container of that name is fine."""
        self._call(self._api.delete, f"/containers/{name}", f"remove {name}", params={"force": "true", "timeout": "0"})

    def _container(
        self, name: str, action: str, words: str, *, timeout: float = TIMEOUT, params: dict[str, str] | None = None
    ) -> None:
        answer = self._call(
            self._api.post, f"/containers/{name}/{action}", f"{words} {name}", timeout=timeout, params=params or {}
        )
        if answer.status_code == 404:
            raise errors.EngineError(f"cannot {words} {name}: there is no such container")

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
        state = self._call(self._api.get, f"/containers/{name}/json", f"inspect {name}").json().get("State", {})
        latest = (state.get("Health", {}).get("Log") or [{}])[-1]
        return False, (latest.get("Output") or "").strip()[-200:]

    def logs(self, name: str, lines: int) -> str:
        """The last lines of a container's output, as far as its log driver keeps them."""
        import podman.errors
        import requests

        try:
            raw = self._client.containers.get(name).logs(stdout=True, stderr=True, tail=lines)
        except (podman.errors.PodmanError, podman.errors.APIError, requests.exceptions.RequestException):
            # The report is about something else that failed; without these lines it is still a report.
            return ""
        joined = raw if isinstance(raw, bytes) else b"".join(raw)
        return joined.decode(errors="replace").strip()


class _TimedOut(errors.EngineAway):
    """No answer in time, which some callers asked for."""


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
    except (requests.exceptions.RequestException, ValueError) as error:
        raise errors.EngineError(f"cannot pull {reference}: {type(error).__name__} while Podman pulled") from None


def _check_timeout(healthcheck: dict[str, Any] | None) -> float | None:
    if not healthcheck or healthcheck.get("Test") in (None, [], ["NONE"]):
        return None
    # Podman's own default, which it does not write down.
    return (healthcheck.get("Timeout") or 30_000_000_000) / 1e9


def _epoch(text: str | None) -> float:
    """Podman's RFC 3339 time, with up to nine digits of fraction, as seconds since the epoch; 0 for never."""
    if not text or text.startswith("0001"):
        return 0.0
    return datetime.fromisoformat(_FRACTION.sub(r".\1", text)).timestamp()
