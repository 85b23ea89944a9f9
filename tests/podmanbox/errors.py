"""What can go wrong with a box, said so that a person can act on it."""

from collections.abc import Sequence


class BoxError(Exception):
    """A box could not do what was asked: a message and, where there is one, a hint."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\nhint: {hint}" if hint else message)
        self.message = message
        self.hint = hint


class CommandError(BoxError):
    """A command that the box ran failed; ``returncode`` is None if it ran out of time."""

    def __init__(self, argv: Sequence[str], returncode: int | None, stderr: str) -> None:
        end = "ran out of time" if returncode is None else f"exited with {returncode}"
        super().__init__(f"{' '.join(argv)} {end}: {stderr.strip()}")
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stderr = stderr
