"""ZAQAR_SIGNAL: a message in a queue of Zaqar's, with a token. Heat takes it from there."""

from __future__ import annotations

import uuid
from urllib import parse

from overcloud_agent import keystone, model
from overcloud_agent.signals import heat, verdict

# Seconds that the message lives in the queue; Heat looks there all the time while the deployment is in progress.
_TTL = 600

_VERSIONS = ("v2", "v1.1")


def send(session: keystone.Session, target: model.Target, body: bytes) -> verdict.Verdict:
    """Put `body` (JSON) into the queue as the user of `session` and judge the answer."""
    # The body is JSON already; decoding a large one only to encode it again would cost memory.
    message = b'{"messages": [{"ttl": %d, "body": %s}]}' % (_TTL, body)
    answer = verdict.refused("")
    for version in _VERSIONS:
        path = f"/{version}/queues/{parse.quote(target.queue_id, safe='')}/messages"
        # Zaqar wants a UUID, by which it tells a client's own messages from others'; nobody reads them back here.
        answer = heat.post(session, "messaging", path, message, {"Client-ID": str(uuid.uuid4())})
        # Zaqar makes queues that do not exist, so it is the version that is not there.
        if answer.status != 404:
            return answer
    return verdict.refused(answer.error.partition(": ")[0] + ": it serves neither version 2 nor version 1.1 of Zaqar")
