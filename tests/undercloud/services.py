"""The services of an undercloud: what to run for each, and when it answers.

Another service (an object store, a message queue) is one more entry in ``table``, plus its
ports in state.py, its configuration in configs.py and its endpoint in inside/seed.py.
"""

import dataclasses
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
    """One process that serves HTTP on one or more loopback ports."""

    name: str
    title: str
    argv: tuple[str, ...]
    ports: tuple[int, ...]
    log: Path
    pid_file: Path

    @property
    def urls(self) -> tuple[str, ...]:
        """The root address of each port."""
        return tuple(f"http://{layouts.ADDRESS}:{port}/" for port in self.ports)


def table(layout: layouts.Layout, state: states.State) -> tuple[Service, ...]:
    """Return all services, in the order in which they start."""
    ports = state.ports
    return (
        _service(layout, "keystone", "Keystone", (ports.keystone,)),
        _service(layout, "heat", "Heat", (ports.heat, ports.cfn)),
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


def wait_until_answering(service: Service) -> None:
    """Return when all its ports answer; raise UndercloudError when it ends or takes a minute."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    for url in service.urls:
        while not _answers(url):
            if processes.alive(service.pid_file) is None:
                raise _failure(service, "ended while starting")
            if time.monotonic() > deadline:
                raise _failure(service, f"did not answer on {url} in {_ANSWER_SECONDS:.0f} s")
            time.sleep(0.1)


def stop(services: Sequence[Service]) -> int:
    """Stop all that run; return how many did."""
    return processes.stop_all([service.pid_file for service in services])


def _service(layout: layouts.Layout, name: str, title: str, ports: tuple[int, ...]) -> Service:
    script = str(layouts.INSIDE / "serve.py")
    files = (str(layout.config(name)), str(layout.database(name)))
    return Service(
        name=name,
        title=title,
        argv=(str(layout.python), script, name, *files, *map(str, ports)),
        ports=ports,
        log=layout.logs / f"{name}.log",
        pid_file=layout.run / f"{name}.pid",
    )


def _require_free_ports(service: Service) -> None:
    for port in service.ports:
        if not states.port_is_free(port):
            raise errors.UndercloudError(
                f"Port {port}, which {service.title} had before, is taken by another program.",
                "stop that program, or drop this undercloud's state with 'down --wipe'.",
            )


def _answers(url: str) -> bool:
    # Any answer will do: Heat's root answers 300, its CFN API wants credentials.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _failure(service: Service, what: str) -> errors.UndercloudError:
    return errors.UndercloudError(
        f"{service.title} {what}. Its log ends with:\n{tools.tail(service.log)}",
        f"the whole log is {service.log}",
    )
