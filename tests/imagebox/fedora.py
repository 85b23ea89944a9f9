"""What Fedora's packages are called, and which of Debian's files stand in for theirs.

A package's files are Debian's, in Fedora's places. All that is in no package of this table is in `basesystem`, which
is there before anything else. Many of those that diskimage-builder's own elements ask for are empty here: a kernel,
say, or NetworkManager, has nothing to do in a container.
"""

from __future__ import annotations

import dataclasses
import platform

RELEASE = "42"
# dnf 4 and Python 3.13; Fedora 42 itself has dnf5 beside the former, and the latter.
SUITE = "trixie"


@dataclasses.dataclass(frozen=True)
class Package:
    """A package: files of Debian's packages, and those at `paths` or below, whosever they are."""

    debian: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


REST = "basesystem"
PACKAGES = {
    REST: Package(provides=("/bin/sh",)),
    "filesystem": Package(paths=("/bin", "/lib", "/lib64", "/sbin", "/usr/sbin", "/var/lock", "/var/run")),
    "setup": Package(paths=("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid")),
    "fedora-release-common": Package(
        paths=(
            "/etc/os-release",
            "/usr/lib/os-release",
            "/usr/lib/systemd/system-preset/90-default.preset",
            "/usr/lib/systemd/system-preset/99-default-disable.preset",
        ),
        provides=(f"system-release = {RELEASE}", f"system-release({RELEASE})"),
    ),
    # dnf's configuration is there before dnf is, for the building machine's dnf, which takes it.
    "fedora-repos": Package(paths=("/etc/dnf/dnf.conf", "/etc/yum.repos.d")),
    "ca-certificates": Package(debian=("ca-certificates",), paths=("/etc/ssl/certs", "/etc/ca-certificates.conf")),
    "python3": Package(
        debian=(
            "libpython3-stdlib",
            "libpython3.13-minimal",
            "libpython3.13-stdlib",
            "python3",
            "python3-minimal",
            "python3.13",
            "python3.13-minimal",
        ),
    ),
    "python3-pyyaml": Package(debian=("python3-yaml",), requires=("python3",)),
    "rpm": Package(debian=("rpm", "rpm-common", "rpm2cpio"), paths=("/usr/lib/rpm/macros.d/macros.dbpath",)),
    "rpm-build": Package(paths=("/usr/bin/rpmbuild", "/usr/bin/rpmspec"), requires=("rpm",)),
    "rpm-sign": Package(paths=("/usr/bin/rpmsign",), requires=("rpm",)),
    "createrepo_c": Package(debian=("createrepo-c",)),
    "gnupg2": Package(debian=("gpg", "gpg-agent", "gpgconf")),
    # Of its own there, too, and not installed.
    "rpm-plugin-unshare": Package(paths=(f"/usr/lib/{platform.machine()}-linux-gnu/rpm-plugins/unshare.so",)),
    "python3-rpm": Package(debian=("python3-rpm",), requires=("python3", "rpm")),
    "python3-dnf": Package(
        debian=("python3-dnf", "python3-hawkey", "python3-libcomps", "python3-libdnf"),
        requires=("python3", "python3-rpm"),
    ),
    "dnf": Package(debian=("dnf", "dnf-data"), requires=("python3-dnf",)),
    "sudo": Package(debian=("sudo",)),
    "systemd": Package(debian=("systemd", "systemd-sysv")),
    # Not installed; its presets would have it take the node's network.
    "systemd-networkd": Package(
        paths=tuple(
            f"/usr/lib/systemd/system/systemd-network{name}"
            for name in (
                "-generator.service",
                "d-persistent-storage.service",
                "d-wait-online.service",
                "d-wait-online@.service",
                "d.service",
                "d.socket",
            )
        ),
    ),
    "util-linux": Package(debian=("util-linux", "mount"), provides=("util-linux-ng",)),
    "selinux-policy": Package(paths=("/etc/selinux/config",)),
    "selinux-policy-targeted": Package(
        debian=("selinux-policy-default",), paths=("/etc/selinux/targeted",), requires=("policycoreutils",)
    ),
    "policycoreutils": Package(debian=("policycoreutils",), requires=("selinux-policy",)),
    "aardvark-dns": Package(debian=("aardvark-dns",)),
    "catatonit": Package(debian=("catatonit",)),
    "conmon": Package(debian=("conmon",)),
    "containers-common": Package(debian=("golang-github-containers-common", "golang-github-containers-image")),
    "crun": Package(debian=("crun",)),
    "netavark": Package(debian=("netavark",)),
    "nftables": Package(debian=("nftables", "libnftables1")),
    "podman": Package(debian=("podman",), requires=("conmon", "containers-common")),
    "runc": Package(debian=("runc",)),
    "busybox": Package(debian=("busybox-static",)),
    "docker-distribution": Package(debian=("docker-registry",)),
}
# What the elements of diskimage-builder ask for besides.
EMPTY = (
    "NetworkManager",
    "audit",
    "coreutils",
    "curl",
    "dhcp-client",
    "dnf-plugins-core",
    "dracut",
    "dracut-config-generic",
    "fedora-gpg-keys",
    "fedora-release-cloud",
    "findutils",
    "gawk",
    "gettext",
    "glibc-langpack-en",
    "glibc-minimal-langpack",
    "grubby",
    "initscripts",
    "iscsi-initiator-utils",
    "kernel",
    "linux-firmware",
    "linux-firmware-whence",
    "lsof",
    "man-pages",
    "passwd",
    "policycoreutils-python-utils",
    "python3-libselinux",
    "python3-policycoreutils",
    "redhat-lsb-core",
    "redhat-rpm-config",
    "rng-tools",
    "systemd-udev",
    "tar",
    "tcpdump",
    "traceroute",
    "which",
)
# In no package: a system of the CentOS family has neither, and what they left elsewhere would tell.
LEFT_OUT = ("adduser", "apt", "debconf", "dpkg", "init-system-helpers")
LEFT_OUT_PATHS = (
    "/boot",
    "/dev",
    "/etc/alternatives/README",
    "/etc/apt",
    "/etc/debian_version",
    "/etc/dpkg",
    "/etc/init.d",
    "/etc/machine-id",
    "/etc/rc0.d",
    "/etc/rc1.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc4.d",
    "/etc/rc5.d",
    "/etc/rc6.d",
    "/etc/rcS.d",
    "/etc/resolv.conf",
    # Fedora's units are enabled by presets, and not when they are installed.
    "/etc/systemd/system",
    "/proc",
    "/run",
    "/sys",
    "/usr/share/doc",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/lib/systemd",
    "/var/log",
)
# Debian's places and Fedora's: what is a directory ends with a slash. Texts of units have them, too.
MOVED = {
    "/usr/sbin/": "/usr/bin/",
    "/usr/lib/podman/": "/usr/libexec/podman/",
    "/usr/bin/catatonit": "/usr/libexec/podman/catatonit",
    "/usr/bin/docker-registry": "/usr/bin/registry",
    "/etc/docker/registry/": "/etc/docker-distribution/registry/",
    "/usr/lib/systemd/system/docker-registry.service": "/usr/lib/systemd/system/docker-distribution.service",
    "/etc/selinux/default/": "/etc/selinux/targeted/",
}
# Files that are Fedora's own, in short.
WRITTEN = {
    "/usr/lib/os-release": f"""\
NAME="Fedora Linux"
VERSION="{RELEASE}"
ID=fedora
VERSION_ID={RELEASE}
PRETTY_NAME="Fedora Linux {RELEASE}, made of Debian's files for a test"
""",
    "/usr/lib/systemd/system-preset/90-default.preset": "enable dbus.socket\nenable dbus-daemon.service\n",
    "/usr/lib/systemd/system-preset/99-default-disable.preset": "disable *\n",
    # The building machine has plugins that have nothing to do with a root, and there are none in it.
    "/etc/dnf/dnf.conf": """\
[main]
gpgcheck=0
installonly_limit=3
clean_requirements_on_remove=True
best=False
plugins=0
""",
    "/etc/yum.repos.d/fedora.repo": "[fedora]\nname=Fedora\nbaseurl=file:///nowhere\nenabled=0\ngpgcheck=0\n",
    "/usr/lib/rpm/macros.d/macros.dbpath": "%_dbpath /usr/lib/sysimage/rpm\n",
    "/etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
}
DIRECTORIES = ("/etc/rpm", "/etc/sysconfig", "/etc/pki/rpm-gpg", "/usr/lib/sysimage/rpm")
LINKS = {
    "/usr/sbin": "bin",
    "/usr/bin/sh": "bash",
    "/var/lock": "../run/lock",
    "/var/run": "../run",
}


def moved(path: str) -> str:
    """Where Fedora has what Debian has at `path`."""
    for old, new in MOVED.items():
        if path == old or (old.endswith("/") and path.startswith(old)):
            path = new + path.removeprefix(old)
    return path


def debian_packages() -> tuple[str, ...]:
    """The packages to begin with; Debian's dependencies bring more."""
    wanted = {name for package in PACKAGES.values() for name in package.debian}
    return tuple(sorted(wanted | {"dbus", "iproute2", "passwd", "procps"}))
