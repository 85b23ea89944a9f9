"""Results in the size that Heat takes. Pure: no I/O."""

from __future__ import annotations

import json
from collections.abc import Collection

from overcloud_agent import model

# heat/common/wsgi.py refuses a JSON body of more than 1 MiB; what remains is room for what a proxy may add.
MAX_BODY = 1_000_000

# Zaqar refuses a message of more than 256 KiB ([transport] max_messages_post_size), its envelope included.
MAX_MESSAGE = 250_000

# Heat makes its reason for a failure of the outputs with `error_output`, for a TEXT of MySQL, which has 65,535 bytes.
# Where it does not fit, the result is lost when Heat has accepted it already.
MAX_REASON = 60_000


def max_body(target: model.Target | None) -> int:
    """How many bytes of JSON a result may have on its way to `target`."""
    return MAX_MESSAGE if target and target.transport == "ZAQAR_SIGNAL" else MAX_BODY


def fitted(result: model.Result, *, limit: int = MAX_BODY, reasons: Collection[str] = ()) -> model.Result:
    """The result with a body that Heat takes: at most `limit` bytes as JSON.

    The middle of deploy_stdout and deploy_stderr is cut, and the cut is named, until it fits; so is that of `reasons`,
    which are the outputs that Heat makes its reason of. Other outputs are never cut: if they alone are too long, the
    result is a failure that names the longest.
    """
    result = _with_short_reasons(result, [name for name in reasons if _is_text(result.body.get(name))])
    length = len(json.dumps(result.body))
    if length <= limit:
        return result
    streams = {key: result.body[key] for key in ("deploy_stdout", "deploy_stderr") if _is_text(result.body.get(key))}
    rest = {key: value for key, value in result.body.items() if key not in streams}
    room = limit - len(json.dumps({**rest, **dict.fromkeys(streams, "")}))
    if room < 1000:
        longest = max(rest, key=lambda key: len(json.dumps({key: rest[key]})))
        return model.failed(f"the result is too long for Heat ({length} bytes); the longest output is {longest[:80]!r}")
    each = room // max(len(streams), 1)
    body = {**rest, **{key: cut(value, each) for key, value in streams.items()}}
    return model.Result(body=body, ok=result.ok, reason=result.reason)


def _with_short_reasons(result: model.Result, names: Collection[str]) -> model.Result:
    each = MAX_REASON // max(len(names), 1)
    short = {name: cut(result.body[name], each - len(name)) for name in names}
    return model.Result(body={**result.body, **short}, ok=result.ok, reason=result.reason) if short else result


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def cut(text: str, limit: int) -> str:
    """`text` with its middle cut so that its JSON form has at most `limit` bytes; the cut is named."""
    if len(json.dumps(text)) <= limit:
        return text
    keep = len(text)
    while True:
        # JSON escapes make a character 1 to 12 bytes long, so the right length is found by shrinking in proportion.
        keep = keep * max(limit - 120, 1) // max(len(json.dumps(text[: keep // 2] + text[-(keep // 2) :])), limit)
        note = f"\n[... {len(text) - 2 * (keep // 2)} characters cut here by overcloud-agent ...]\n"
        shorter = text[: keep // 2] + note + text[len(text) - keep // 2 :]
        if keep < 2 or len(json.dumps(shorter)) <= limit:
            return shorter
