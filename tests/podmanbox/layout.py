"""Where in its directory a box keeps what."""

import dataclasses
import hashlib
import pathlib

# Podman before 5.1 refuses a longer one as an option, and gives it as an option
# to the cleanup that it runs when a container ends. It looks through symbolic
# links, so none can help.
RUNROOT_PATH_MAX = 50


@dataclasses.dataclass(frozen=True)
class Layout:
    """The paths of a box: below ``directory``, which is absolute, but for a long runroot."""

    directory: pathlib.Path

    @property
    def socket(self) -> pathlib.Path:
        """The socket of the Podman API service."""
        return self.directory / "podman.sock"

    @property
    def state(self) -> pathlib.Path:
        """What must outlive the process: see ``state.State``."""
        return self.directory / "podmanbox.json"

    @property
    def storage(self) -> pathlib.Path:
        """Images, containers and Podman's database (its graph root)."""
        return self.directory / "storage"

    @property
    def runroot(self) -> pathlib.Path:
        """Podman's run-time files: in the box, or in /run if the path there is too long."""
        inside = self.directory / "runroot"
        fits = len(bytes(inside)) <= RUNROOT_PATH_MAX
        return inside if fits else pathlib.Path("/run", self.name)

    @property
    def tmp(self) -> pathlib.Path:
        """Podman's locks, events and half-copied images."""
        return self.directory / "tmp"

    @property
    def volumes(self) -> pathlib.Path:
        """Named volumes."""
        return self.directory / "volumes"

    @property
    def networks(self) -> pathlib.Path:
        """Definitions of networks."""
        return self.directory / "networks"

    @property
    def registry(self) -> pathlib.Path:
        """The registry's blobs and manifests."""
        return self.directory / "registry"

    @property
    def conf(self) -> pathlib.Path:
        """Configuration files, written anew at every start."""
        return self.directory / "conf"

    @property
    def lib(self) -> pathlib.Path:
        """The runtime wrapper, where one is needed."""
        return self.directory / "lib"

    @property
    def log(self) -> pathlib.Path:
        """What service and registry have to say."""
        return self.directory / "log"

    def directories(self) -> tuple[pathlib.Path, ...]:
        """Return all directories, the box's own first."""
        return (
            self.directory,
            self.storage,
            self.runroot,
            self.tmp,
            self.volumes,
            self.networks,
            self.registry,
            self.conf,
            self.lib,
            self.log,
        )

    @property
    def name(self) -> str:
        """A short name that no box in another directory has: "pbox" and eight hex digits."""
        return "pbox" + hashlib.sha256(bytes(self.directory)).hexdigest()[:8]

    @property
    def env(self) -> dict[str, str]:
        """The environment variables that point Podman's command line at the box."""
        return {
            "CONTAINERS_CONF": str(self.conf / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.conf / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.conf / "registries.conf"),
        }
