"""Print what the agent needs, directly and indirectly, as it is installed here: ``NAME==VERSION``, and pip's."""

from __future__ import annotations

import importlib.metadata
import re

from packaging import requirements

# Those of the images that the elements know. What one of them needs has to be installed here, too, to have its version.
PYTHONS = ("3.11", "3.12", "3.13")

# It installs the others in the image, whose Python may be newer than this one, and does not stay there.
PIP = "25.3"


def needed(name: str) -> dict[str, str]:
    """Versions by name of all that the distribution `name` needs, itself included."""
    found: dict[str, str] = {}
    left = [name]
    while left:
        distribution = importlib.metadata.distribution(left.pop())
        plain = normal(distribution.metadata["Name"])
        if plain not in found:
            found[plain] = distribution.version
            left += [one.name for one in required(distribution)]
    return found


def required(distribution: importlib.metadata.Distribution) -> list[requirements.Requirement]:
    """What a distribution needs without extras, with any Python of the images."""
    wanted = [requirements.Requirement(line) for line in distribution.requires or []]
    environments = [{"extra": "", "python_version": one, "python_full_version": f"{one}.0"} for one in PYTHONS]
    return [one for one in wanted if not one.marker or any(one.marker.evaluate(each) for each in environments)]


def normal(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Print the pins."""
    pins = needed("overcloud-agent") | {"pip": PIP}
    del pins["overcloud-agent"]
    print("\n".join(f"{name}=={version}" for name, version in sorted(pins.items())))


if __name__ == "__main__":
    main()
