"""Serve one of Zaqar's two transports; runs inside the undercloud venv.

    serve_zaqar.py CONFIG wsgi PORT
    serve_zaqar.py CONFIG websocket

Zaqar's own server answers HTTP one request at a time, and a process of it has one transport.
"""

import asyncio
import sys
from typing import Any

import waitress
from oslo_config import cfg
from oslo_log import log
from zaqar import bootstrap

ADDRESS = "127.0.0.1"
THREADS = 8


def main(config: str, transport: str, *ports: str) -> None:
    """Serve until a signal ends the process; nothing is lost then, Redis has it all."""
    driver = load(config, transport)
    if transport == "wsgi":
        waitress.serve(driver.app, host=ADDRESS, port=int(ports[0]), threads=THREADS)
    else:
        # Zaqar asks for the thread's event loop, which later Pythons do not make unasked.
        asyncio.set_event_loop(asyncio.new_event_loop())
        driver.listen()


def load(config: str, transport: str) -> Any:
    """Do what zaqar-server does before it listens; return the driver of the transport."""
    log.register_options(cfg.CONF)
    cfg.CONF(["--config-file", config], project="zaqar", prog="zaqar-server")
    log.setup(cfg.CONF, "zaqar")
    made = bootstrap.Bootstrap(cfg.CONF)
    cfg.CONF.set_override("transport", transport, group="drivers")
    return made.transport


if __name__ == "__main__":
    main(*sys.argv[1:])
