"""Unique identifiers of content. Pure: no I/O."""

from __future__ import annotations

import hashlib
import json


def of(content: object) -> str:
    """`sha256:<hex>` over the canonical JSON of `content`: sorted keys, no white space, UTF-8.

    Equal content has equal identifiers, on every node and in every version of the agent.
    """
    encoded = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    return "sha256:" + hashlib.sha256(encoded).hexdigest()
