"""Serve Keystone, or all of Heat, from one process; runs inside the undercloud venv.

    serve.py keystone CONFIG DATABASE ADDRESS PORT
    serve.py heat CONFIG DATABASE ADDRESS API_PORT CFN_PORT

Modules of Keystone and Heat are imported where they are used: one process holds one of the two,
and oslo.service must be told its backend before anything else of Heat is imported.
"""

import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy.engine
import sqlalchemy.event
import waitress

THREADS = 8
CONNECTIONS = 10_000
STOP_SECONDS = 1.0

Application = Callable[..., Any]


def main(argv: Sequence[str]) -> None:
    """Serve until SIGTERM or SIGINT, then leave within STOP_SECONDS."""
    service, config, database, address, *ports = argv
    begin_transactions_immediately()
    held = hold_open(database)
    applications, stop = load_keystone(config) if service == "keystone" else load_heat(config)
    for port, application in zip(ports, applications, strict=True):
        serve(application, address, int(port))
    wait_for_signal()
    leave(held, stop)


def begin_transactions_immediately() -> None:
    """Make every SQLite transaction take the write lock when it begins.

    oslo.db begins transactions with a plain (deferred) BEGIN.  When one that began by reading
    wants to write after another has committed, SQLite answers "database is locked" at once,
    whatever the timeout; Heat does not retry all of its calls, and stacks with many deployments
    never complete.  With BEGIN IMMEDIATE the transaction waits for its turn instead.
    """
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", _immediate, retval=True)


def _immediate(
    _connection: object,
    _cursor: object,
    statement: str,
    parameters: object,
    _context: object,
    _many: bool,
) -> tuple[str, object]:
    return ("BEGIN IMMEDIATE" if statement == "BEGIN" else statement), parameters


def hold_open(database: str) -> sqlite3.Connection:
    """Keep one connection open for as long as the process lives.

    oslo.db opens and closes an SQLite file for every query, and closing the last connection of
    a WAL database checkpoints and removes its log, which is slow.
    """
    connection = sqlite3.connect(database, check_same_thread=False)
    connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    return connection


def load_keystone(config: str) -> tuple[list[Application], Callable[[], None]]:
    """Return Keystone's application, and what stops it (nothing needs to)."""
    # Keystone hands the command line of whatever process it is in to oslo.config, which refuses
    # arguments that it does not know; so it gets an empty one, and its file in a variable.
    sys.argv = sys.argv[:1]
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = config
    from keystone.server import wsgi

    return [wsgi.initialize_public_application()], lambda: None


def load_heat(config: str) -> tuple[list[Application], Callable[[], None]]:
    """Start Heat's engine; return its API and its CFN API, and what stops the engine.

    Heat has no all-in-one server since version 25.  The three parts share this process because
    oslo.messaging's fake:// transport, which spares us a message broker, works only within one.
    """
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
    from heat.common import config as heat_config
    from heat.engine import service
    from heat.rpc import api
    from oslo_config import cfg

    _configure_heat(config)
    engine = service.EngineService(cfg.CONF.host, api.ENGINE_TOPIC)
    engine.start()
    names = ("heat-api", "heat-api-cfn")
    return [heat_config.load_paste_app(name) for name in names], engine.stop


def _configure_heat(config: str) -> None:
    """Do what heat.cmd.engine does before it starts the engine."""
    import oslo_i18n
    from heat import version
    from heat.common import config as heat_config
    from heat.common import messaging, profiler
    from heat.engine import template
    from oslo_config import cfg
    from oslo_log import log

    oslo_i18n.enable_lazy()
    log.register_options(cfg.CONF)
    cfg.CONF(
        ["--config-file", config],
        project="heat",
        prog="heat-engine",
        version=version.version_info.version_string(),
    )
    log.setup(cfg.CONF, "heat-engine")
    heat_config.set_config_defaults()
    messaging.setup()
    heat_config.startup_sanity_check()
    # Heat loads its template classes lazily and without a lock; loading them before the first
    # request keeps two threads from doing so at once.
    template._get_template_extension_manager()
    profiler.setup("heat-engine", cfg.CONF.host)


def serve(application: Application, address: str, port: int) -> None:
    """Listen on the port now, and answer from THREADS threads.

    Heat's threads leave connections to Keystone open. At its hundredth waitress accepts no more, unless told otherwise,
    and all of Heat stands still until some are two minutes old, which is when it closes them.
    """
    server = waitress.create_server(
        application,
        host=address,
        port=port,
        threads=THREADS,
        connection_limit=CONNECTIONS,
        # The other way, select, ends at the file descriptor 1024.
        asyncore_use_poll=True,
    )
    threading.Thread(target=server.run, daemon=True).start()


def wait_for_signal() -> None:
    """Return when the process is asked to stop."""
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    asked.wait()


def leave(held: sqlite3.Connection, stop: Callable[[], None]) -> None:
    """End the process, whatever threads still do.

    A graceful stop of Heat's engine waits for its stack threads, which wait for deployments, for
    up to hours; and Python would wait for the threads too.
    """
    stopping = threading.Thread(target=stop, daemon=True)
    stopping.start()
    stopping.join(STOP_SECONDS)
    held.close()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
