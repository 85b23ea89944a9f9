"""Create Heat's tables with keys that are never used twice; runs inside the undercloud venv.

    heat_db_sync.py CONFIG

SQLite gives a new row the highest row id plus one, so it reuses the id of a row that was deleted
last.  Heat deletes rows of resource_properties_data by an id it remembers; elsewhere such a late
delete hits nothing, on SQLite it can hit a newer row ("ResourcePropertiesData with id ... not
found", and a stack IN_PROGRESS for ever).  AUTOINCREMENT makes SQLite remember the ids it gave.
"""

import sys

import sqlalchemy
import sqlalchemy.event
from heat.cmd import manage


def main(config: str) -> None:
    """Run ``heat-manage db_sync`` with every integer key made AUTOINCREMENT."""
    sqlalchemy.event.listen(sqlalchemy.Table, "before_create", _never_reuse_ids)
    sys.argv = ["heat-manage", "--config-file", config, "db_sync"]
    manage.main()


def _never_reuse_ids(table: sqlalchemy.Table, _connection: object, **_options: object) -> None:
    # SQLite knows AUTOINCREMENT for a key of one column only.
    if len(table.primary_key.columns) == 1:
        table.dialect_options["sqlite"]["autoincrement"] = True


if __name__ == "__main__":
    main(sys.argv[1])
