"""How long a deployment may take, and what becomes of one that takes longer. Pure: no I/O."""

from __future__ import annotations

from overcloud_agent import errors, model

# A month: longer than any deployment, and short enough for every clock that has to count it.
MOST_SECONDS = 31 * 86400.0

# The status by which timeout(1) says that it ended a command.
STATUS = 124


def timeout(deployment: model.Deployment, default: float) -> float:
    """Seconds that `deployment` may take: its option `timeout`, else `default`. Raises BadInput."""
    value: object = (deployment.options or {}).get("timeout")
    if value is None or value == "":
        return default
    try:
        seconds = float(value) if isinstance(value, str | int | float) else 0
    except (ValueError, OverflowError):
        seconds = 0
    # Written so that "not a number" fails it as well.
    if not 0 < seconds <= MOST_SECONDS:
        raise errors.BadInput(
            f"{value!r} is not a timeout",
            path="$.options.timeout",
            hint=f"seconds, {MOST_SECONDS:.0f} at most",
        )
    return seconds


def overdue(what: str, seconds: float, *, stdout: str, stderr: str) -> model.Result:
    """The result of `what` (a hook, a script) that was ended because it ran longer than `seconds`."""
    reason = f"the {what} was ended: it ran longer than its deadline of {round(seconds, 1):g} seconds"
    return model.failed(reason, status=STATUS, stdout=stdout, stderr=stderr)
