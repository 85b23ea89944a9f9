"""The story, in four acts: an operator creates, upgrades, fails to upgrade, and upgrades while the agent dies."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from demo import checks, client, show, stage

STACK = "services"
# A stack of three services takes seconds; this long only when something is stuck.
_WITHIN = 120.0
# The gate of the last act is long enough to find the agent in it, and for a person to see it.
_LONG_GATE = 6


def tell(setting: stage.Stage, screen: show.Screen) -> list[show.Row]:
    """The whole story; returns what was replaced. Raises Wrong at the first check that does not hold."""
    story = _Story(setting, screen)
    story.register_node()
    story.create()
    return [story.upgrade_one(), story.upgrade_to_broken(), story.kill_the_agent()]


class _Story:
    def __init__(self, setting: stage.Stage, screen: show.Screen) -> None:
        self._stage = setting
        self._screen = screen
        self._check = checks.Checks(screen)
        self._operator = client.Operator(setting.cloud, screen, agent_log=setting.agent_log, logs=setting.logs)
        self._server = ""

    # The acts

    def register_node(self) -> None:
        """A node in Heat, and the resident agent on it."""
        self._screen.act("Registering a node and starting its agent")
        self._operator.ask("stack", "create", "-t", _template("node.yaml"), "--wait", "--poll", "1", "node")
        outputs = _outputs(self._operator.ask_json("stack", "show", "node", "-c", "outputs"))
        self._server = outputs["server"]
        cfn = outputs["os_collect_config"]["cfn"]
        self._screen.answer(f"server {self._server}\nmetadata {cfn['path']} at {cfn['metadata_url']}")
        self._stage.start_agent(cfn)
        self._screen.passed("the agent is ready")

    def create(self) -> None:
        """Three services, each a deployment of its own, chained."""
        self._screen.act("Act 1: a stack with three services, one after the other")
        parameters = {"server": self._server} | {
            f"{service}_image": self._stage.image(f"{service}:1") for service in stage.SERVICES
        }
        well = self._follow(
            "stack", "create", "-t", _template("stack.yaml"), *_given(parameters), "--wait", "--poll", "1"
        )
        status, outputs = self._show_stack()
        self._screen.grid(
            ("output", "changed", "containers", "stdout"), [_brief(name, outputs[name]) for name in stage.SERVICES]
        )
        self._check.equal("the stack is complete", expected=(True, "CREATE_COMPLETE"), found=(well, status))
        now = checks.containers(self._stage.podman)
        for service in stage.SERVICES:
            self._runs(service, f"{service}:1", now)
        self._check.equal("they started in the order of depends_on", expected=list(stage.SERVICES), found=list(now))
        changed = {name: outputs[name]["changed"] for name in stage.SERVICES}
        self._check.equal(
            "each deployment says that it changed", expected=dict.fromkeys(stage.SERVICES, True), found=changed
        )

    def upgrade_one(self) -> show.Row:
        """One image changes, so one container is replaced."""
        self._screen.act("Act 2: a new image for api")
        before = checks.containers(self._stage.podman)
        well = self._follow("stack", "update", "--existing", *_given(self._api("api:2")), "--wait")
        status, outputs = self._show_stack()
        after = checks.containers(self._stage.podman)
        self._check.equal("the stack is complete", expected=(True, "UPDATE_COMPLETE"), found=(well, status))
        self._runs("api", "api:2", after)
        self._check.different("api is another container", before=before["api"].id, found=after["api"].id)
        self._others_untouched(before, after)
        return self._row(outputs, old="api:1", new="api:2", result="upgraded")

    def upgrade_to_broken(self) -> show.Row:
        """A broken image: the old container comes back, and Heat says why."""
        self._screen.act("Act 3: a broken image for api")
        before = checks.containers(self._stage.podman)
        well = self._follow("stack", "update", "--existing", *_given(self._api(stage.BROKEN)), "--wait")
        status, outputs = self._show_stack()
        failures = self._operator.ask("stack", "failures", "list", STACK, "--long")
        self._screen.answer(failures)
        after = checks.containers(self._stage.podman)
        self._check.equal("the stack has failed", expected=(False, "UPDATE_FAILED"), found=(well, status))
        for words in (
            "api ended with status 7",
            "the old container is back and running",
            "cannot read /etc/service.conf",
        ):
            self._check.says(f"Heat says why: {words!r}", words=words, found=failures)
        self._runs("api", "api:2", after)
        self._check.equal("api is the old container", expected=before["api"].id, found=after["api"].id)
        self._others_untouched(before, after)
        return self._row(outputs, old="api:2", new=stage.BROKEN, result="rolled back")

    def kill_the_agent(self) -> show.Row:
        """A good image, and the agent dies in the middle of the upgrade to it."""
        self._screen.act("Act 4: a good image for api, and the agent is killed in the middle")
        before = checks.containers(self._stage.podman)
        known = checks.deployments(self._stage.node, "api")
        given = _given({**self._api("api:4"), "api_stable_for": str(_LONG_GATE)})
        with self._operator.begin("stack", "update", "--existing", *given, "--wait", STACK) as update:
            update.until(lambda: checks.in_step(self._stage.node, "api", "gate"), "the gate of api is open", _WITHIN)
            self._kill_and_look()
            self._stage.resume_agent()
            self._screen.say("The agent is started again.")
            well = update.end(_WITHIN)
        status, outputs = self._show_stack()
        after = checks.containers(self._stage.podman)
        self._check.equal("the stack is complete", expected=(True, "UPDATE_COMPLETE"), found=(well, status))
        self._runs("api", "api:4", after)
        self._others_untouched(before, after)
        self._signalled_once(known)
        return self._row(outputs, old="api:2", new="api:4", result="upgraded", remark="agent killed meanwhile")

    # The steps of the acts

    def _kill_and_look(self) -> None:
        ended = self._stage.node.stop(signal.SIGKILL)
        self._screen.say("The agent is killed with SIGKILL. This is what it leaves behind:")
        found = checks.containers(self._stage.podman)
        rows = [(entry.name, entry.status, self._version(entry.digest)) for entry in found.values()]
        self._screen.grid(("container", "status", "image"), rows)
        self._check.equal("the agent was killed", expected=-signal.SIGKILL, found=ended)
        self._check.equal(
            "it was in the middle: the old api still stands aside",
            expected=("exited", "api:2"),
            found=next(((status, image) for name, status, image in rows if name == "api.old"), None),
        )

    def _signalled_once(self, known: list[dict[str, Any]]) -> None:
        """The deployment that was interrupted is in the agent's journal once, and its result was sent once."""
        new = [row for row in checks.deployments(self._stage.node, "api") if row not in known]
        found = [(row["state"], row["ok"], checks.deliveries(self._stage.node, row["id"])) for row in new]
        self._check.equal(
            "its deployment was signalled, once",
            expected=[("signalled", True, ["delivered"])],
            found=found,
        )

    def _follow(self, *words: str) -> bool:
        with self._operator.begin(*words, STACK) as operation:
            return operation.end(_WITHIN)

    def _show_stack(self) -> tuple[str, dict[str, Any]]:
        columns = ("stack_status", "stack_status_reason", "outputs")
        shown = self._operator.ask_json("stack", "show", STACK, *(word for name in columns for word in ("-c", name)))
        self._screen.answer(f"{shown['stack_status']}: {shown['stack_status_reason']}")
        return shown["stack_status"], _outputs(shown)

    def _api(self, image: str) -> dict[str, str]:
        return {"api_image": self._stage.image(image)}

    def _runs(self, service: str, image: str, found: dict[str, checks.Container]) -> None:
        self._check.runs(service, image, self._stage.digests[image], found)

    def _others_untouched(self, before: dict[str, checks.Container], after: dict[str, checks.Container]) -> None:
        for service in stage.SERVICES:
            if service != "api":
                self._check.untouched(service, before, after)
        self._check.alone(stage.SERVICES, after)

    def _version(self, digest: str) -> str:
        return next((name for name, known in self._stage.digests.items() if known == digest), digest)

    def _row(self, outputs: dict[str, Any], *, old: str, new: str, result: str, remark: str = "") -> show.Row:
        """What Heat has of api's upgrade, checked against what the demo asked for."""
        (report,) = outputs["api"]["containers"] or [{}]
        self._check.equal(
            f"its deployment's output says: {result}, from {old} to {new}",
            expected=(result, self._stage.digests[old], self._stage.digests[new]),
            found=tuple(report.get(key) for key in ("result", "old_digest", "new_digest")),
        )
        return show.Row(
            service="api",
            old_digest=report["old_digest"],
            new_digest=report["new_digest"],
            downtime=report.get("downtime"),
            result=f"{result}; {remark}" if remark else result,
        )


def _template(name: str) -> str:
    return os.path.relpath(Path(__file__).with_name(name))


def _given(parameters: dict[str, str]) -> list[str]:
    return [word for name, value in parameters.items() for word in ("--parameter", f"{name}={value}")]


def _outputs(shown: dict[str, Any]) -> dict[str, Any]:
    """A stack's outputs by their keys."""
    outputs = shown["outputs"]
    # The client gives them as text even where JSON was asked for.
    entries = json.loads(outputs) if isinstance(outputs, str) else outputs
    return {entry["output_key"]: entry["output_value"] for entry in entries}


def _brief(name: str, output: dict[str, Any]) -> tuple[str, ...]:
    containers = ", ".join(
        f"{entry['name']} {entry['result']} to {show.digits(entry['new_digest'])}"
        for entry in output["containers"] or []
    )
    return name, str(output["changed"]), containers, (output["stdout"] or "").strip()
