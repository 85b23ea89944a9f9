"""What a box must remember from its first start to its last stop."""

import dataclasses
import json
import pathlib
import random
import socket

from podmanbox import errors

# Below the kernel's range for outgoing connections, which could take the port
# while the registry is stopped for a test.
PORTS = range(20000, 32000)


@dataclasses.dataclass(frozen=True)
class State:
    """The content of podmanbox.json."""

    registry_port: int
    # What containers with a bridge network leave behind belongs to the machine,
    # not to the box, if it was there before the box was.
    netavark_was_here: bool
    netns_was_mounted: bool


def load(path: pathlib.Path) -> State | None:
    """Read the state, None if the box was never up; raise BoxError if it is unreadable."""
    try:
        return State(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as problem:
        raise errors.BoxError(
            f"{path} is not a box's state: {problem}",
            "remove its directory, or name another one",
        ) from None


def save(path: pathlib.Path, state: State) -> None:
    """Write the state; a reader sees the old or the new one, never half of it."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(dataclasses.asdict(state), indent=1) + "\n")
    new.replace(path)


def free_port() -> int:
    """Return a port that nobody listens on at 127.0.0.1; raise BoxError if there is none."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise errors.BoxError("found no free port for the registry", "is something using them all?")
