"""The two directories of the group script: where scripts are written to, and where they leave their outputs."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from overcloud_agent import errors

_ODD = "is not a regular file"


class Directory:
    """A directory that is ours alone, opened once: what its path leads to later does not matter."""

    def __init__(self, path: str) -> None:
        """Make `path` with mode 0700 where it is missing. Raises AgentError unless only we can write there."""
        self.path = path
        with _told(f"cannot make the directory {path}"):
            # Group and others may pass through what is above, as they may in /var/lib and /run.
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            os.makedirs(path, mode=0o700, exist_ok=True)
        with _told(f"cannot open the directory {path}"):
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        status = os.fstat(self._fd)
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            os.close(self._fd)
            raise errors.AgentError(
                f"{path} (owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}) can be written to by others",
                hint=f"scripts run with all rights: chown {os.geteuid()} {path}; chmod go-w {path}",
            )

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)

    def write_script(self, name: str, content: bytes) -> None:
        """Put a fresh executable file in the place of `name`. Raises AgentError."""
        # No deployment's id begins with a dot. Dying before the rename leaves a file that the next run removes.
        temporary = f".{name}"[:255]
        with _told(f"cannot write the script {self.path}/{name}"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=self._fd)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o700, dir_fd=self._fd)
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o700)
                file.write(content)
            os.rename(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def clear(self, prefix: str) -> None:
        """Remove the files whose names begin with `prefix`; directories stay. Raises AgentError."""
        with _told(f"cannot remove what an earlier run left in {self.path}"), os.scandir(self._fd) as entries:
            for entry in entries:
                if entry.name.startswith(prefix) and not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=self._fd)

    def read(self, name: bytes, most: int) -> str | None:
        """The text of the file `name`, None when there is none. Raises AgentError, also past `most` bytes."""
        # Without O_NONBLOCK, opening a FIFO waits for its writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, dir_fd=self._fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            # A symbolic link is not followed, and a socket cannot be opened.
            odd = error.errno in (errno.ELOOP, errno.ENXIO)
            raise errors.AgentError(_ODD if odd else f"cannot be opened: {error.strerror}") from None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise errors.AgentError(_ODD)
            content = _read(descriptor, most + 1)
        except OSError as error:
            raise errors.AgentError(f"cannot be read: {error.strerror}") from None
        finally:
            os.close(descriptor)
        if len(content) > most:
            raise errors.AgentError(f"has more than {most} bytes, which is more than Heat takes")
        return content.decode(errors="replace")


def _read(descriptor: int, most: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read(most)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.AgentError(f"{what}: {error.strerror}") from None
