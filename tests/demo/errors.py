"""What ends the demo early, said so that a person can act on it."""

from __future__ import annotations


class DemoError(Exception):
    """Something went wrong: a message, and a hint that says where to look ("" for none)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Wrong(DemoError):
    """A check did not hold."""

    def __init__(self, what: str, expected: object, found: object) -> None:
        super().__init__(f"wrong: {what}\n  expected: {expected}\n  found:    {found}")
