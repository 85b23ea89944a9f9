"""The one tree of exceptions; each class has the exit code that the command line ends with.

    AgentError                  1   cannot go on
    +-- BadInput                2   what somebody wrote cannot be understood
    |   +-- SettingsError       2   ... in a configuration file
    +-- JournalError            1   the journal cannot be read or written
    |   +-- JournalBlocked      1   ... now: the disk is full, or read-only
    +-- SourceError             1   a metadata source did not answer with metadata
    +-- EngineError             1   Podman refused or failed
    |   +-- EngineAway          1   ... is not there, or does not answer in time
    |   +-- EngineFailed        1   ... failed by its own account, which may pass
    +-- GateError               3   a container did not pass its gate
    +-- PackageError            1   the package manager refused or failed
    +-- Busy                   75   another agent holds the lock: try later
    +-- Interrupted           130   asked to stop; what is left resumes at the next start

A step that failed is a result (model.Result), not an exception: these are for "cannot go on".
"""

from __future__ import annotations

# What `plan --exit-code` ends with when something would change. That is an answer, not an error.
CHANGES_PENDING = 10


class AgentError(Exception):
    """Base of all; `hint` says what the reader can do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class BadInput(AgentError):
    """Input that cannot be understood; `path` is where, as a JSON path (`$.config.nova.image`)."""

    exit_code = 2

    def __init__(self, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message, hint=hint)
        self.path = path


class SettingsError(BadInput):
    """A configuration file cannot be read or holds a value that is not allowed."""


class JournalError(AgentError):
    """The journal cannot be opened, or a transition was asked for that its state does not allow."""


class JournalBlocked(JournalError):
    """The journal cannot be written now, and can be when the disk is in order again."""


class SourceError(AgentError):
    """A metadata source is unavailable, or what it served is not metadata."""


class EngineError(AgentError):
    """Podman's service refused a request, failed it, or cannot be reached."""


class EngineAway(EngineError):
    """Podman's service cannot be reached or does not answer: the same request may succeed later."""


class EngineFailed(EngineError):
    """Podman's service answered that it failed (5xx), and not that the request is wrong."""


class GateError(AgentError):
    """A container did not become (or stay) what its gate asks for."""

    exit_code = 3


class PackageError(AgentError):
    """The package manager, a repository or the package database refused or failed."""


class Busy(AgentError):
    """Another agent works with the same state directory."""

    exit_code = 75


class Interrupted(AgentError):
    """The agent was asked to stop and is at a point where stopping costs nothing."""

    exit_code = 130
