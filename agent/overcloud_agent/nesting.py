"""How deep JSON may be nested. Pure: no I/O."""

from __future__ import annotations

# What is nested deeper is refused at the border: Python's own means (copy, json) fail at some hundreds of levels, each
# at another number, and one that fails half-way would end the agent, at every start anew.
DEEPEST = 100


def is_shallow(document: object, levels: int = DEEPEST) -> bool:
    """Whether JSON is nested at most so many levels deep; goes through all of it without recursion."""
    level = [document] if isinstance(document, dict | list) else []
    while level and levels:
        levels -= 1
        level = [
            child
            for entry in level
            for child in (entry.values() if isinstance(entry, dict) else entry)
            if isinstance(child, dict | list)
        ]
    return not level
