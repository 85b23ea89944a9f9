"""What every hook executable of ours does with stdin, stdout and stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from overcloud_agent import errors, fit, model


def answer(carry_out: Callable[[model.Deployment], model.Result]) -> int:
    """Be a hook: a deployment as JSON on stdin, the result as JSON on stdout.

    Returns the exit status: 0 whenever a result was printed, as heat-config hooks do it. Whether the deployment failed
    is in deploy_status_code.
    """
    reasons: list[str] = []
    try:
        deployment = model.parse_deployment(_read(sys.stdin.buffer.read()))
        reasons = [output.name for output in deployment.outputs if output.error_output]
        result = carry_out(deployment)
    except errors.AgentError as error:
        result = model.failed_by(error)
    # Others that call this hook send on whatever it prints, also what Heat refuses for its length.
    sys.stdout.write(json.dumps(fit.fitted(result, reasons=reasons).body) + "\n")
    return 0


def _read(stdin: bytes) -> object:
    try:
        return json.loads(stdin)
    # The parser goes as deep as the document does.
    except (ValueError, RecursionError) as error:
        raise errors.BadInput(f"stdin is not JSON: {error}", hint="expected one deployment as an object") from None
