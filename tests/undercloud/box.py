"""One undercloud, from Python: ``box.Undercloud(directory).up()``."""

import dataclasses
from collections.abc import Collection
from pathlib import Path

from undercloud import configs, databases, errors, install, optional, processes, progress, services
from undercloud import layout as layouts
from undercloud import state as states


class Undercloud:
    """A real Keystone and a real Heat, with all that they have in ``directory``.

    They listen on ``address``: loopback, or one of this machine's that nodes with a network of their own reach.
    ``auth_ttl`` is how many minutes a node's signed request counts as fresh; None leaves what
    the directory has (Keystone's own default, 15, when nothing was ever said).  ``services``
    are those of states.OPTIONAL that it shall have too; what it has already it keeps, until
    ``down(wipe=True)``.  The services outlive the process that starts them.  All methods raise
    errors.UndercloudError.
    """

    def __init__(
        self,
        directory: Path,
        auth_ttl: int | None = None,
        services: Collection[str] = (),
        address: str = layouts.ADDRESS,
    ) -> None:
        unknown = sorted(set(services) - set(states.OPTIONAL))
        if unknown:
            raise errors.UndercloudError(
                f"There is no optional service {unknown[0]!r}.", f"there are {', '.join(states.OPTIONAL)}."
            )
        self.layout = layouts.of(Path(directory))
        self._auth_ttl = auth_ttl
        self._services = tuple(services)
        if services and address != layouts.ADDRESS:
            raise errors.UndercloudError("The optional services listen on loopback only.", "leave out the address.")
        self._address = address

    def install(self) -> None:
        """Install the pinned packages into the venv; nothing to do when they are there."""
        layouts.make_directories(self.layout)
        install.install(self.layout.venv, self.layout.logs / "install.log")

    def up(self) -> None:
        """Install, create and start whatever is missing; return when all services answer."""
        self.install()
        with layouts.exclusive(self.layout):
            state = self._settle()
            table = services.table(self.layout, state)
            if all(processes.alive(service.pid_file) for service in table):
                progress.say("The undercloud is running already.")
                return
            self._start(table, state)
        progress.say("The undercloud is up.")

    def down(self, wipe: bool = False) -> None:
        """Stop the services; with ``wipe`` drop databases, ports and passwords too."""
        if not self.layout.root.is_dir():
            return
        with layouts.exclusive(self.layout):
            stopped = processes.stop_all(sorted(self.layout.run.glob("*.pid")))
            progress.say("Stopped the services." if stopped else "Nothing was running.")
            if wipe:
                layouts.wipe(self.layout)
                progress.say(f"Dropped the state in {self.layout.root}; the venv stays.")

    def running(self) -> bool:
        """Tell whether all services have a living process."""
        state = states.load(self.layout)
        return state is not None and all(
            processes.alive(service.pid_file) for service in services.table(self.layout, state)
        )

    @property
    def state(self) -> states.State:
        """Ports, passwords and settings; UndercloudError before the first ``up``."""
        state = states.load(self.layout)
        if state is None:
            raise errors.UndercloudError(f"There is no undercloud in {self.layout.root} yet.", "bring it up first.")
        return state

    @property
    def openrc(self) -> dict[str, str]:
        """OS_* and no_proxy variables for the ordinary user ``demo`` of project ``demo``."""
        return configs.openrc(self.state)

    @property
    def openstack(self) -> Path:
        """The ``openstack`` client, which knows Heat's commands."""
        return self.layout.venv / "bin" / "openstack"

    @property
    def keystone_url(self) -> str:
        """Keystone's API, with /v3."""
        return self.state.keystone_url

    @property
    def heat_url(self) -> str:
        """Heat's API, with /v1; requests append the project id, as the catalogue's URL does."""
        return f"{self.state.heat_root}/v1"

    @property
    def cfn_url(self) -> str:
        """Heat's CloudFormation API, with /v1: what nodes poll."""
        return f"{self.state.cfn_root}/v1"

    @property
    def urls(self) -> dict[str, str]:
        """The root addresses of the optional services: of "Swift", "Zaqar" and "Websocket" (Zaqar's)."""
        return self.state.urls

    @property
    def logs(self) -> Path:
        """The directory of the log files."""
        return self.layout.logs

    def _settle(self) -> states.State:
        """Return the state to run with, stored; stop services that run with other settings."""
        stored = states.load(self.layout)
        wanted = states.create(self._auth_ttl, self._address) if stored is None else stored
        if self._auth_ttl is not None:
            wanted = dataclasses.replace(wanted, auth_ttl=self._auth_ttl)
        wanted = states.with_services(wanted, self._services)
        if wanted != stored:
            if services.stop(services.table(self.layout, wanted)):
                progress.say("The settings differ; the undercloud starts again with the new ones.")
            states.store(self.layout, wanted)
        return wanted

    def _start(self, table: tuple[services.Service, ...], state: states.State) -> None:
        """Start the services and wait for them; leave none behind if one fails."""
        services.require_programs(table)
        configs.write(self.layout, state)
        optional.write(self.layout, state)
        databases.create_missing(self.layout, state)
        try:
            services.start(table, self.layout.venv)
            for service in table:
                services.wait_until_answering(service)
                if service.name == "keystone":
                    databases.seed(self.layout, state)
        except BaseException:
            services.stop(table)
            raise

    def restart(self, name: str) -> None:
        """Stop one service, ``keystone`` or ``heat``, and start it again; return when it answers."""
        with layouts.exclusive(self.layout):
            table = [service for service in services.table(self.layout, self.state) if service.name == name]
            services.stop(table)
            services.start(table, self.layout.venv)
            for service in table:
                services.wait_until_answering(service)
