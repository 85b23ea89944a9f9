"""Print what the agent needs, directly and indirectly, as it is installed here: ``NAME==VERSION``, and pip's."""

from __future__ import annotations

import importlib.metadata
import re

from packaging import requirements

# It installs the others in the image, whose Python may be newer than this one, and does not stay there.
PIP = "25.3"


def needed(name: str) -> dict[str, str]:
    """Versions by name of all that the distribution `name` needs, itself included."""
    found: dict[str, str] = {}
    left = [name]
    while left:
        distribution = importlib.metadata.distribution(left.pop())
        plain = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if plain not in found:
            found[plain] = distribution.version
            wanted = [requirements.Requirement(line) for line in distribution.requires or []]
            left += [one.name for one in wanted if not one.marker or one.marker.evaluate({"extra": ""})]
    return found


def main() -> None:
    """Print the pins."""
    pins = needed("overcloud-agent") | {"pip": PIP}
    del pins["overcloud-agent"]
    print("\n".join(f"{name}=={version}" for name, version in sorted(pins.items())))


if __name__ == "__main__":
    main()
