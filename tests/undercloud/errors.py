"""The one exception that callers and users of the undercloud meet."""


class UndercloudError(Exception):
    """Something a user can put right: a message, and a hint that says how ("" for none)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n  hint: {hint}" if hint else message)
        self.message = message
        self.hint = hint
