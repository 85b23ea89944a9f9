"""Serve all of Swift from one process; runs inside the undercloud venv.

    serve_swift.py DIRECTORY OBJECT_PORT CONTAINER_PORT ACCOUNT_PORT

DIRECTORY holds swift.conf and the configuration of the four servers, and gets the rings.  One
process starts in half the time and memory of four; Swift's own executables would also want
a user to become.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import eventlet
import eventlet.wsgi
from swift.common import ring, utils, wsgi

ADDRESS = "127.0.0.1"


def main(argv: Sequence[str]) -> None:
    """Serve until a signal ends the process; what was answered is on the disk."""
    directory = Path(argv[0])
    os.umask(0o077)
    for name, port in zip(("object", "container", "account"), argv[1:], strict=True):
        write_ring(directory / f"{name}.ring.gz", int(port))
    utils.set_swift_dir(str(directory))
    # Any logger that was made with a console makes all later ones have one.
    utils.get_logger({"log_udp_host": ADDRESS, "log_udp_port": "9"}, log_to_console=True)
    servers = [serve(directory, name) for name in ("object", "container", "account", "proxy")]
    for server in servers:
        server.wait()


def write_ring(path: Path, port: int) -> None:
    """Write a ring that says: everything is on the one disk (a directory of that name), behind this port."""
    builder = ring.RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    place = {"ip": ADDRESS, "port": port, "replication_ip": ADDRESS, "replication_port": port}
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "device": "swift", "weight": 1, "meta": "", **place})
    builder.rebalance()
    builder.get_ring().save(str(path))


def serve(directory: Path, name: str) -> eventlet.greenthread.GreenThread:
    """Listen now, and serve in a green thread of its own."""
    config = str(directory / f"{name}.conf")
    settings, _, shared, _ = wsgi.check_config(config, f"{name}-server")
    application = wsgi.loadapp(config, global_conf=shared)
    return eventlet.spawn(
        eventlet.wsgi.server,
        wsgi.get_socket(settings),
        application,
        # Swift logs its requests itself.
        log=utils.NullLogger(),
        log_output=False,
        protocol=wsgi.SwiftHttpProtocol,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
