"""The services of an undercloud: what to run for each, and when it answers.

Another service is one more entry in ``table``, plus its ports in state.py, its configuration in
optional.py and its endpoint in inside/seed.py.
"""

import dataclasses
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from undercloud import errors, processes, progress, tools
from undercloud import layout as layouts
from undercloud import state as states

_ANSWER_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Service:
    """One process that serves HTTP on one or more ports of an address.

    One with ``http`` False only has to listen, and does so before the next service starts.
    """

    name: str
    title: str
    argv: tuple[str, ...]
    ports: tuple[int, ...]
    log: Path
    pid_file: Path
    http: bool = True
    address: str = layouts.ADDRESS


def table(layout: layouts.Layout, state: states.State) -> tuple[Service, ...]:
    """Return all services of this undercloud, in the order in which they start."""
    ports = state.ports
    table = [
        _database_service(layout, state, "keystone", "Keystone", (ports.keystone,)),
        _database_service(layout, state, "heat", "Heat", (ports.heat, ports.cfn)),
    ]
    if state.swift:
        table.append(_swift(layout, state.swift))
    if state.zaqar:
        table += _zaqar(layout, state.zaqar)
    return tuple(table)


def require_programs(services: Sequence[Service]) -> None:
    """Raise UndercloudError when a program of the distribution is missing."""
    for service in services:
        if shutil.which(service.argv[0]) is None:
            raise errors.UndercloudError(
                f"{service.argv[0]}, the program for {service.title}, is not installed.",
                "run tests/packages.sh as root.",
            )


def start(services: Sequence[Service], venv: Path) -> None:
    """Start those that do not run yet; return without waiting for them to answer."""
    waiting = [service for service in services if processes.alive(service.pid_file) is None]
    for service in waiting:
        _require_free_ports(service)
    for service in waiting:
        progress.say(f"Starting {service.title} ...")
        environment = tools.clean_environment(venv)
        processes.start(service.argv, service.log, service.pid_file, environment)
        if not service.http:
            wait_until_answering(service)


def wait_until_answering(service: Service) -> None:
    """Return when all its ports answer; raise UndercloudError when it ends or takes a minute."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    for port in service.ports:
        while not (_answers if service.http else _listens)(service.address, port):
            if processes.alive(service.pid_file) is None:
                raise _failure(service, "ended while starting")
            if time.monotonic() > deadline:
                raise _failure(service, f"did not answer on port {port} in {_ANSWER_SECONDS:.0f} s")
            time.sleep(0.1)


def stop(services: Sequence[Service]) -> int:
    """Stop all that run; return how many did."""
    return processes.stop_all([service.pid_file for service in services])


def _database_service(
    layout: layouts.Layout, state: states.State, name: str, title: str, ports: tuple[int, ...]
) -> Service:
    script = str(layouts.INSIDE / "serve.py")
    files = (str(layout.config(name)), str(layout.database(name)))
    argv = (str(layout.python), script, name, *files, state.address, *map(str, ports))
    return dataclasses.replace(_service(layout, name, title, argv, ports), address=state.address)


def _swift(layout: layouts.Layout, swift: states.Swift) -> Service:
    script = str(layouts.INSIDE / "serve_swift.py")
    behind = (swift.object_port, swift.container_port, swift.account_port)
    argv = (str(layout.python), script, str(layout.swift), *map(str, behind))
    return _service(layout, "swift", "Swift", argv, (*behind, swift.port))


def _zaqar(layout: layouts.Layout, zaqar: states.Zaqar) -> list[Service]:
    redis_argv = (_first_program("redis-server", "valkey-server"), str(layout.config("redis")))
    redis = _service(layout, "redis", "Redis", redis_argv, (zaqar.redis_port,))
    argv = (str(layout.python), str(layouts.INSIDE / "serve_zaqar.py"), str(layout.config("zaqar")))
    # The one notifies the clients of the other through the notification port.
    http_argv = (*argv, "wsgi", str(zaqar.port))
    websocket_ports = (zaqar.websocket_port, zaqar.notification_port)
    return [
        dataclasses.replace(redis, http=False),
        _service(layout, "zaqar", "Zaqar", http_argv, (zaqar.port,)),
        _service(layout, "zaqar-websocket", "Zaqar's websockets", (*argv, "websocket"), websocket_ports),
    ]


def _service(layout: layouts.Layout, name: str, title: str, argv: tuple[str, ...], ports: tuple[int, ...]) -> Service:
    log, pid_file = layout.logs / f"{name}.log", layout.run / f"{name}.pid"
    return Service(name, title, argv, ports, log, pid_file)


def _first_program(*names: str) -> str:
    """Return the first that is installed, else the first."""
    found = (shutil.which(name, path=tools.PROGRAMS) for name in names)
    return next((path for path in found if path), names[0])


def _require_free_ports(service: Service) -> None:
    for port in service.ports:
        if not states.port_is_free(port, service.address):
            raise errors.UndercloudError(
                f"Port {port}, which {service.title} had before, is taken by another program.",
                "stop that program, or drop this undercloud's state with 'down --wipe'.",
            )


def _answers(address: str, port: int) -> bool:
    # Any answer will do: Heat's root answers 300, its CFN API wants credentials.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://{address}:{port}/", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True


def _failure(service: Service, what: str) -> errors.UndercloudError:
    return errors.UndercloudError(
        f"{service.title} {what}. Its log ends with:\n{tools.tail(service.log)}",
        f"the whole log is {service.log}",
    )
