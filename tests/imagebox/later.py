"""What makes a later version of the agent out of its source tree: a journal of another schema."""

from __future__ import annotations

import re
from pathlib import Path

# As any migration: it only adds.
_MIGRATION = """\
ALTER TABLE deployments ADD COLUMN note TEXT NOT NULL DEFAULT 'none';
CREATE TABLE notes (deployment TEXT PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE INDEX deployments_by_note ON deployments (note)
"""


def add_migration(tree: Path) -> None:
    """Let the agent in `tree` have the next schema, with a new column, table and index."""
    path = tree / "agent" / "overcloud_agent" / "database.py"
    text = path.read_text()
    (current,) = re.findall(r"^SCHEMA_VERSION = (\d+)$", text, re.MULTILINE)
    text = text.replace(f"SCHEMA_VERSION = {current}\n", f"SCHEMA_VERSION = {int(current) + 1}\n")
    more = f'_MIGRATIONS[{current}] = """{_MIGRATION}"""\n_SCHEMA += ";" + _MIGRATIONS[{current}]\n'
    begin = text.index("\n\ndef ")
    path.write_text(f"{text[:begin]}\n{more}{text[begin:]}")
