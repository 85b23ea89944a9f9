"""apt's sources files, in both of their forms."""

import pytest

from nodebox import sources

STANZAS = """
Types: deb deb-src
# A comment, as images have them.
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://vendor.example/apt
Suites: bookworm
Components: stable

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""
LINES = """
# deb http://off.example/ubuntu noble main
deb http://archive.example/ubuntu/ noble main restricted universe
deb-src http://archive.example/ubuntu/ noble main
deb [arch=amd64 signed-by=/k.gpg] http://archive.example/ubuntu noble-security main
deb http://flat.example/ ./
"""
KEY_INSIDE = """
Types: deb
URIs: http://archive.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
"""


@pytest.mark.parametrize(
    ("text", "codename", "found"),
    [
        (
            STANZAS,
            "bookworm",
            [
                "deb [signed-by=/usr/share/keyrings/archive.gpg] http://archive.example/debian bookworm main",
                "deb [signed-by=/usr/share/keyrings/archive.gpg] http://archive.example/debian bookworm-updates main",
            ],
        ),
        (
            LINES,
            "noble",
            [
                "deb http://archive.example/ubuntu/ noble main universe",
                "deb [arch=amd64 signed-by=/k.gpg] http://archive.example/ubuntu noble-security main",
            ],
        ),
        (KEY_INSIDE, "bookworm", ["deb http://archive.example/debian bookworm main"]),
        ("", "bookworm", []),
    ],
)
def test_the_distribution_s_own_archives_are_found(text: str, codename: str, found: list[str]) -> None:
    assert sources.lines([text, text], codename) == found
