#!/usr/bin/env bash
# Install the distribution packages that overcloud-agent's tests and demo need.
#
# A need is a command (or a file, with /), not a package: what is there already, from whatever
# source, is left alone. What is missing is named before anything is done.
# Debian, Ubuntu (apt-get) and Fedora, CentOS Stream (dnf) are served; on
# anything else the script lists the missing commands and fails.
set -euo pipefail

# Debian keeps Podman's helpers outside PATH, and a plain user's PATH has no sbin.
readonly LOOK_IN="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/podman:/usr/libexec/podman"

# command (or alternatives with |) ; Debian package ; Fedora package ; why
# A package called "-" is never asked for on that family.
readonly NEEDS='
podman;podman;podman;containers are what the agent manages
netavark;netavark;netavark;bridge networks for containers
aardvark-dns;aardvark-dns;aardvark-dns;names of containers in bridge networks
iptables;iptables;-;netavark 1.4 writes its rules with it (Debian 12)
nft;nftables;nftables;later netavarks write their rules with it
catatonit;catatonit;catatonit;containers that run with an init process
docker-registry|registry;docker-registry;docker-distribution;a private image registry
redis-server|valkey-server;redis-server;valkey;Zaqar keeps its messages in it
skopeo;skopeo;skopeo;plans ask registries for digests and sizes with it
busybox;busybox-static;busybox;the content of the test images, statically linked
shellcheck;shellcheck;ShellCheck;the lint target checks shell scripts
ip;iproute2;iproute;tests look at addresses and bridges
strace;strace;strace;the benchmark counts processes with it
mmdebstrap;mmdebstrap;-;the system of a test node with systemd is made with it
systemd-nspawn;systemd-container;systemd-container;a test node with systemd runs in it
nsenter;util-linux;util-linux;commands are run on a test node with it
rsync;rsync;rsync;trees of files come to nodes by it
needrestart;needrestart;-;restart detection is compared with it, on the machine and on a node
faketime;faketime;libfaketime;the clock jumps in a test
sudo;sudo;sudo;diskimage-builder calls it, also as root
debootstrap;debootstrap;-;diskimage-builder looks for it
mkfs.ext4;e2fsprogs;e2fsprogs;diskimage-builder makes a file system of the image
file;file;file;dib-lint asks it what is Python
apt-ftparchive;apt-utils;-;package repositories are made with it for tests
dpkg-architecture;dpkg-dev;-;packages are made for tests, where their architecture has its libraries
gpg;gpg;gnupg2;repositories are signed with it for tests
rpmbuild;rpm;rpm-build;the packages of the tests are built with it
rpmsign;rpm;rpm-sign;they are signed with it
dnf;dnf;dnf;updates of packages on rpm systems are tested with it
createrepo_c;createrepo-c;createrepo_c;repositories of the tests are made with it
/usr/lib/python3*/*-packages/dnf-plugins/versionlock.py;dnf-plugins-core;python3-dnf-plugin-versionlock;versionlocked packages are left alone in a test
umount;mount;util-linux;what a private Podman leaves mounted is unmounted
'

die() {
    printf 'packages.sh: %s\n' "$1" >&2
    printf 'hint: %s\n' "$2" >&2
    exit 1
}

have() { # have "a|b": is one of the commands there? Or a file, by a pattern
    local name
    for name in ${1//|/ }; do
        if [[ "$name" == /* && -e "$name" ]]; then return 0; fi
        if PATH="$LOOK_IN" command -v "$name" >/dev/null; then return 0; fi
    done
    return 1
}

# crun refuses hybrid and v1 cgroups, and its systemd driver needs systemd as
# PID 1. Elsewhere either runtime serves, and crun is what distributions choose.
runtime_need() {
    if [[ -e /sys/fs/cgroup/cgroup.controllers && "$(</proc/1/comm)" == systemd ]]; then
        echo 'crun|runc;crun;crun;runs the containers'
    else
        echo 'runc;runc;runc;runs the containers where cgroups are not plain v2 under systemd'
    fi
}

# Debian's own python3 comes without ensurepip; a python3 from elsewhere has it.
python_need() {
    if ! PATH="$LOOK_IN" command -v python3 >/dev/null; then
        echo 'python3;python3;python3;the agent is written in it'
    fi
    if ! python3 -c 'import ensurepip' 2>/dev/null; then
        echo 'python3 with ensurepip;python3-venv;python3-pip;tests run in a virtual environment'
    fi
}

missing() { # one "command;deb;rpm;why" line for each need that is not met
    local line
    while IFS= read -r line; do
        if [[ -n "$line" ]] && ! have "${line%%;*}"; then echo "$line"; fi
    done <<<"$NEEDS$(runtime_need)"
    python_need
}

column() { # column N <<< lines: the N-th field, without the "-" placeholders
    cut -d ';' -f "$1" | grep -vx -e '-' -e '' || true
}

name_them() { # name_them N LINES
    echo "overcloud-agent's tests and demo need these packages:"
    while IFS=';' read -r command deb rpm why; do
        local names=("$command" "$deb" "$rpm")
        if [[ "${names[$1 - 1]}" != - ]]; then
            printf '  %-20s %s\n' "${names[$1 - 1]}" "$why"
        fi
    done <<<"$2"
}

# Debian starts a service when one of these is installed. Nobody asked for it,
# so it is masked (for this boot, in /run) while the package is installed, then
# disabled and unmasked. This touches only a service that did not exist before;
# what was installed already is not in the list and is left as it is.
readonly STARTED_BY_DEBIAN='docker-registry redis-server'

keep_services_quiet() { # keep_services_quiet before|after PACKAGES...
    local when=$1 package
    shift
    if [[ ! -d /run/systemd/system ]]; then return 0; fi
    # Package and unit have the same name.
    for package in $STARTED_BY_DEBIAN; do
        if [[ " $* " != *" $package "* ]]; then continue; fi
        if [[ "$when" == before ]]; then
            systemctl --quiet mask --runtime "$package.service"
        else
            systemctl --quiet unmask --runtime "$package.service"
            # After a failed installation there may be no such unit.
            systemctl --quiet disable "$package.service" || true
        fi
    done
}

apt_install() {
    local options=(-qq -y -o DPkg::Lock::Timeout=600 -o APT::Update::Error-Mode=any)
    export DEBIAN_FRONTEND=noninteractive
    # The lists may never have been fetched, or may name versions that are gone.
    apt-get "${options[@]}" update ||
        echo 'packages.sh: apt-get update failed; trying with the lists at hand' >&2
    keep_services_quiet before "$@"
    # A failed installation must not leave the mask behind.
    local status=0
    apt-get "${options[@]}" install --no-install-recommends "$@" >/dev/null || status=$?
    keep_services_quiet after "$@"
    if ((status != 0)); then
        die "apt-get could not install: $*" "read apt-get's message above; a mirror may be out of reach"
    fi
}

dnf_install() {
    dnf --quiet --assumeyes --setopt=install_weak_deps=False install "$@" ||
        die "dnf could not install: $*" \
            'on CentOS Stream some of them are in EPEL (dnf install epel-release) or must be supplied by you'
}

main() {
    local lines packages
    lines=$(missing)
    if [[ -z "$lines" ]]; then
        echo 'packages: all that tests and demo need is installed'
        return 0
    fi
    local field installer
    if command -v apt-get >/dev/null; then
        field=2 installer=apt-get
    elif command -v dnf >/dev/null; then
        field=3 installer=dnf
    else
        die "missing commands: $(column 1 <<<"$lines" | paste -sd ' ')" \
            'this system has neither apt-get nor dnf: install what provides them and run this again'
    fi
    mapfile -t packages < <(column "$field" <<<"$lines")
    # What only the other family asks for is no need here.
    if ((${#packages[@]} == 0)); then
        echo 'packages: all that tests and demo need is installed'
        return 0
    fi
    name_them "$field" "$lines"
    if ((EUID != 0)); then
        die 'installing packages needs root' "run: sudo $installer install ${packages[*]}"
    fi
    echo "installing with $installer"
    "${installer%-get}_install" "${packages[@]}"
}

main
