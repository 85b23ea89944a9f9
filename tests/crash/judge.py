"""What has to hold after a crash and a new start; each thing that does not is a violation, in words."""

from __future__ import annotations

import collections
import datetime
import json
from collections.abc import Iterator
from typing import Any

from crash import scene

_LABEL = "overcloud-agent."

# The steps of which the journal has to know when a service was replaced, and when it was put back.
_UPGRADED = ("create", "prepare", "drain", "stop", "migrate", "set aside", "swap", "start", "gate", "commit", "retire")
_BACK = ("create", "roll back", "rolled back")
_RAN = ("create", "swap", "start", "gate")
# What is left out where nothing serves that has passed its gate.
_OF_SERVING = ("prepare", "drain", "stop", "set aside")


def violations(stage: scene.Scene, asked: scene.Asked, bodies: list[Any], *, kills: int, repeats: int = 0) -> list[str]:
    """Everything that is wrong after a deployment whose agent was killed so often.

    `repeats` is how often the result may have been sent again: a process that dies between Heat's answer and the
    journal cannot know that Heat has it.
    """
    found = [*_of_signals(bodies, repeats)]
    if bodies:
        found += _of_result(stage, asked, bodies[0])
        found += _of_journal(stage, asked, bodies[0]["containers"][0]["result"])
    return found + list(_of_traces(stage, asked, kills))


def _of_signals(bodies: list[Any], repeats: int) -> Iterator[str]:
    if not 1 <= len(bodies) <= 1 + repeats:
        yield f"{len(bodies)} signals"
    if len({json.dumps(body, sort_keys=True) for body in bodies}) > 1:
        yield "the signals differ"


def _of_result(stage: scene.Scene, asked: scene.Asked, body: dict[str, Any]) -> Iterator[str]:
    """The result, and whether what it says is what Podman has."""
    (report,) = body["containers"]
    good = "ran" if asked.container == scene.JOB else "upgraded"
    if report["result"] != (good if asked.good else "rolled back"):
        yield f"the result is {report['result']}: {body['deploy_stderr'][:500]}"
    if body["deploy_status_code"] != (0 if report["result"] == good else 3):
        yield f"the status is {body['deploy_status_code']}"
    kept = stage.kept(asked.container)
    expected = asked.kept_before if report["result"] != good else min(asked.keep, asked.kept_before + 1)
    if len(kept) != expected:
        yield f"{len(kept)} are kept, of {expected}"
    left = set(stage.containers()) - {asked.container, *kept}
    if left:
        yield f"left behind: {', '.join(sorted(left))}"
    yield from _of_container(stage, asked, report, replaced=report["result"] == good)


def _of_container(stage: scene.Scene, asked: scene.Asked, report: dict[str, Any], *, replaced: bool) -> Iterator[str]:
    one = stage.inspect(asked.container)
    if one is None or asked.removed:
        if (one is None) != asked.removed:
            yield f"{asked.container} is {'not there' if one is None else 'still there'}"
        return
    if (one["Id"] != asked.before) != replaced:
        yield f"it says {report['result']}, but {'the old' if one['Id'] == asked.before else 'another'} one is there"
    labels = one["Config"]["Labels"]
    if labels[_LABEL + "digest"] != report["new_digest" if replaced else "old_digest"]:
        yield f"the digest is {labels[_LABEL + 'digest']}, but the result says {report}"
    if (labels[_LABEL + "fingerprint"] == report["fingerprint"]) != replaced:
        yield f"the fingerprint is {labels[_LABEL + 'fingerprint']}, but the result says {report}"
    if asked.container == scene.JOB:
        if one["State"]["Running"] or one["State"]["ExitCode"]:
            yield f"the one-shot is {one['State']['Status']} with {one['State']['ExitCode']}"
    elif not one["State"]["Running"] or not stage.passes_its_gate():
        yield f"{asked.container} is {one['State']['Status']}, or does not pass its gate"
    if replaced and asked.serves and not 0 < report.get("downtime", 0) < 60:
        yield f"the downtime is {report.get('downtime')}"


def _of_journal(stage: scene.Scene, asked: scene.Asked, result: str) -> Iterator[str]:
    status = stage.node.status()
    states = {row["id"]: row["state"] for row in status["deployments"]}
    # No agent has heard of what the executable does by itself; its steps are put away under another name.
    if states.get(asked.key, "signalled") != "signalled":
        yield f"the journal says {states[asked.key]}"
    pending = [one for one in status["signals"] if one["deployment"] == asked.key and one["state"] != "delivered"]
    if pending:
        yield f"signals still wait: {pending}"
    steps = [one for one in status["steps"] if one["deployment"].partition(" until ")[0] == asked.key]
    if asked.key not in states and any(one["deployment"] == asked.key for one in steps):
        yield "the executable has answered, and would still go on from its steps"
    wanted = set(_UPGRADED if result == "upgraded" else _BACK if result == "rolled back" else _RAN)
    if not asked.serves:
        wanted -= set(_OF_SERVING)
    missing = wanted - {one["step"] for one in steps}
    if missing:
        yield f"the journal lacks {', '.join(sorted(missing))}"
    # A step that was cut off stays without an end; in the process that came to its own end each has one.
    endless = [one["step"] for one in steps if one["ended_at"] is None and _time(one["started_at"]) > stage.last_start]
    if endless:
        yield f"the journal has no end of {', '.join(endless)}"
    if result in ("upgraded", "ran") and not any(one["step"] == "gate" and one["ok"] for one in steps):
        yield "the journal does not say that the gate was passed"


def _time(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def _of_traces(stage: scene.Scene, asked: scene.Asked, kills: int) -> Iterator[str]:
    if asked.container == scene.JOB:
        ran = len(stage.trace("ran"))
        if ran != 1:
            yield f"the one-shot ran {ran} times"
        return
    migrated = collections.Counter(stage.trace("migrated"))
    if set(migrated) != {asked.key}:
        yield f"migrated: {dict(migrated)}"
    elif migrated[asked.key] != 1:
        # It goes on without the agent, and is waited for by the next one; so dying is no reason to do it again.
        yield f"migrated {migrated[asked.key]} times"
    for name in ("exec", "local") if asked.serves else ():
        asked_for = len(stage.trace(name))
        if not 1 <= asked_for <= 1 + kills:
            yield f"drained ({name}) {asked_for} times"
