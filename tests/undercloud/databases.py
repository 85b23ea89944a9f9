"""Create the databases of Keystone and Heat, once, both at the same time.

A marker file beside each database says that it is complete; one without is made again.
"""

import sqlite3
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

from undercloud import configs, progress, tools
from undercloud import layout as layouts
from undercloud import state as states


def create_missing(layout: layouts.Layout, state: states.State) -> None:
    """Create what is missing; some ten seconds for both together."""
    steps: dict[str, Callable[[layouts.Layout, states.State], None]] = {
        "keystone": _create_keystone,
        "heat": _create_heat,
    }
    missing = [name for name in steps if not _marker(layout, name).exists()]
    if not missing:
        return
    progress.say("Creating the databases (about ten seconds, once) ...")
    with futures.ThreadPoolExecutor() as pool:
        jobs = [pool.submit(_create, layout, state, name, steps[name]) for name in missing]
        for job in jobs:
            job.result()


def seed(layout: layouts.Layout, state: states.State) -> None:
    """Give Keystone, which must be running, the services' users and endpoints, unless it has them."""
    names = ("seed", *(f"seed-{name}" for name in state.services))
    markers = [_marker(layout, name) for name in names]
    if all(marker.exists() for marker in markers):
        return
    progress.say("Giving Keystone the users and endpoints ...")
    script = [str(layout.python), str(layouts.INSIDE / "seed.py"), str(layout.state_file)]
    tools.run("seed.py", script, _log(layout, "seed"), tools.clean_environment(layout.venv))
    for marker in markers:
        marker.touch(mode=0o600)


def _create(
    layout: layouts.Layout,
    state: states.State,
    name: str,
    fill: Callable[[layouts.Layout, states.State], None],
) -> None:
    database = layout.database(name)
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
    # SQLite would create the file readable for all.
    database.touch(mode=0o600)
    fill(layout, state)
    _use_write_ahead_log(database)
    _marker(layout, name).touch(mode=0o600)


def _create_keystone(layout: layouts.Layout, state: states.State) -> None:
    manage = str(layout.venv / "bin" / "keystone-manage")
    command = [manage, "--config-file", str(layout.config("keystone"))]
    log = _log(layout, "keystone")
    environment = tools.clean_environment(layout.venv)
    tools.run("keystone-manage db_sync", [*command, "db_sync"], log, environment)
    # The bootstrap reads all that it needs from OS_BOOTSTRAP_* variables, so that the password
    # is not among its arguments.
    bootstrap = {
        "OS_BOOTSTRAP_PASSWORD": state.secrets.admin,
        "OS_BOOTSTRAP_REGION_ID": configs.REGION,
        "OS_BOOTSTRAP_ADMIN_URL": state.keystone_root,
        "OS_BOOTSTRAP_PUBLIC_URL": state.keystone_root,
        "OS_BOOTSTRAP_INTERNAL_URL": state.keystone_root,
    }
    tools.run("keystone-manage bootstrap", [*command, "bootstrap"], log, environment | bootstrap)


def _create_heat(layout: layouts.Layout, _state: states.State) -> None:
    script = str(layouts.INSIDE / "heat_db_sync.py")
    command = [str(layout.python), script, str(layout.config("heat"))]
    environment = tools.clean_environment(layout.venv)
    tools.run("heat-manage db_sync", command, _log(layout, "heat"), environment)


def _use_write_ahead_log(database: Path) -> None:
    """Let readers go on while one writes; the mode stays with the file."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def _marker(layout: layouts.Layout, name: str) -> Path:
    return layout.data / f"{name}.complete"


def _log(layout: layouts.Layout, name: str) -> Path:
    return layout.logs / f"{name}-setup.log"
