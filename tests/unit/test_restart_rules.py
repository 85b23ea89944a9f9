"""The pure parts of finding what must restart: control groups, mounts, units, languages, systemd, versions."""

from __future__ import annotations

import itertools

import pytest

from overcloud_agent.packages import boot_reasons, cgroups, languages, mounts, systemd, unit_rules

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "before", "place"),
    [
        ("0::/system.slice/nova-compute.service", "", cgroups.Place(unit="nova-compute.service")),
        ("0::/system.slice/system-getty.slice/getty@tty1.service", "", cgroups.Place(unit="getty@tty1.service")),
        ("0::/user.slice/user-0.slice/session-3.scope", "", cgroups.Place(unit="session-3.scope")),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service",
            "",
            cgroups.Place(unit="user@1000.service"),
        ),
        # The hybrid hierarchy: systemd's own is the named one, and 0 may be empty.
        (
            "9:name=systemd:/system.slice/cron.service\n4:memory:/elsewhere\n0::/",
            "",
            cgroups.Place(unit="cron.service"),
        ),
        # A service may have groups of its own below it (Delegate).
        ("1:name=systemd:/system.slice/x.service/a/b.service", "", cgroups.Place(unit="x.service")),
        ("0::/init.scope", "", cgroups.Place(unit="init.scope")),
        ("0::/", "", cgroups.Place()),
        ("", "", cgroups.Place()),
        (
            f"0::/machine.slice/libpod-{ID}.scope/container",
            "",
            cgroups.Place(unit=f"libpod-{ID}.scope", container=ID),
        ),
        (f"0::/libpod_parent/libpod-{ID}", "", cgroups.Place(container=ID)),
        (f"3:memory:/libpod_parent/libpod-{ID}\n0::/", "", cgroups.Place(container=ID)),
        (f"0::/system.slice/web.service/libpod-{ID}", "", cgroups.Place(unit="web.service", container=ID)),
        (
            f"0::/machine.slice/libpod-conmon-{ID}.scope",
            "",
            cgroups.Place(unit=f"libpod-conmon-{ID}.scope", conmon=ID),
        ),
        # In a machine within a machine, which has no control group namespace.
        ("0::/machine.slice/m.scope/payload/system.slice/a.service", "/machine.slice/m.scope/payload",
         cgroups.Place(unit="a.service")),
        ("0::/system.slice/_cgroup.service", "", cgroups.Place(unit="cgroup.service")),
    ],
)  # fmt: skip
def test_a_process_s_unit_and_container(text: str, before: str, place: cgroups.Place) -> None:
    assert cgroups.place(text, before) == place


def test_the_prefix_of_a_machine_within_a_machine() -> None:
    assert cgroups.prefix("0::/init.scope\n") == ""
    assert cgroups.prefix("0::/\n") == ""
    assert cgroups.prefix("1:name=systemd:/machine.slice/m.scope/payload/init.scope\n0::/") == (
        "/machine.slice/m.scope/payload"
    )


HERE = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 254:1 / /srv rw - ext4 /dev/vdb rw
31 22 254:0 /opt/shown /mnt rw - ext4 /dev/vda rw
90 22 0:50 / /var/lib/containers/storage/overlay/x/merged rw - overlay overlay rw
"""
THERE = """\
80 70 0:50 / / rw - overlay overlay rw
81 80 0:51 / /proc rw - proc proc rw
82 80 254:0 /usr/share/openstack-puppet /etc/puppet/mod\\040ules ro - ext4 /dev/vda rw
83 80 254:1 /data /data rw - ext4 /dev/vdb rw
84 80 254:0 /usr/libexec/podman/catatonit /run/podman-init ro - ext4 /dev/vda rw
85 80 254:9 / /foreign rw - ext4 /dev/vdz rw
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/usr/lib/libc.so.6", ""),
        ("/etc/puppet/mod ules/nova/x.so", "/usr/share/openstack-puppet/nova/x.so"),
        ("/data/x", "/srv/data/x"),
        ("/run/podman-init", "/usr/libexec/podman/catatonit"),
        ("/foreign/x", ""),
        ("/database", ""),
    ],
)
def test_what_of_a_container_is_the_host_s(path: str, found: str) -> None:
    assert mounts.on_host(path, mounts.read(THERE), mounts.read(HERE), own_root=True) == found


def test_a_sandbox_has_the_host_s_files_but_for_what_is_mounted_there() -> None:
    there = mounts.read("80 70 254:0 / / rw - ext4 x rw\n81 80 254:0 /opt/lib /usr/lib/x ro - ext4 x rw\n")
    here = mounts.read(HERE)
    assert mounts.on_host("/usr/lib/libc.so.6", there, here, own_root=False) == "/usr/lib/libc.so.6"
    assert mounts.on_host("/usr/lib/x/a.so", there, here, own_root=False) == "/opt/lib/a.so"
    assert mounts.on_host("/mnt/a.so", there, here, own_root=False) == "", "another is mounted over it here"


def decide(unit: str, **facts: str) -> str:
    return unit_rules.decide(unit, facts, own="agent.service", reload=["nginx.service"], report=["ceph-*"])


def test_units_that_are_restarted_and_units_that_are_left_alone() -> None:
    assert decide("nova-compute.service", Type="simple") == "restart"
    assert decide("neutron-l3@2.service") == "restart"
    assert decide("nginx.service", CanReload="yes") == "reload"
    assert decide("nginx.service", CanReload="no") == "restart"
    assert decide("httpd.service", CanReload="yes") == "restart", "a reload does not load new code by itself"
    for unit in ("agent.service", "dbus.service", "session-3.scope", "user@0.service", "getty@tty1.service"):
        assert decide(unit) == "report", unit
    for unit in ("x.scope", "x.socket", "init.scope", "ceph-osd@1.service", "serial-getty@ttyS0.service"):
        assert decide(unit) == "report", unit
    assert decide("x.service", Type="oneshot") == "report"
    assert decide("auditd.service", RefuseManualStop="yes") == "report"
    assert decide("run-r12.service", Transient="yes") == "report"


def test_the_command_line_of_a_unit() -> None:
    shown = "{ path=/usr/bin/x ; argv[]=/usr/bin/x -a b ; ignore_errors=no ; start_time=[n/a] ; pid=0 }"
    assert unit_rules.command({"ExecStart": f"{shown}\n{{ path=/bin/second ; argv[]=second ; ignore_errors=no }}"}) == [
        "/usr/bin/x",
        "-a",
        "b",
    ]
    assert unit_rules.command({}) == []


@pytest.mark.parametrize(
    ("kind", "arguments", "entry"),
    [
        (languages.PYTHON, "python3 /usr/bin/nova-compute --config x", languages.Entry(script="/usr/bin/nova-compute")),
        (languages.PYTHON, "python3 -Es -W ignore /x.py -c", languages.Entry(script="/x.py")),
        (languages.PYTHON, "python3 -m gunicorn nova:app", languages.Entry(module="gunicorn")),
        (languages.PYTHON, "python3 -c pass", languages.Entry()),
        (languages.PERL, "perl -w -I /lib /usr/sbin/x", languages.Entry(script="/usr/sbin/x")),
        (languages.PERL, "perl -e 1", languages.Entry()),
        (languages.RUBY, "ruby -r json x.rb", languages.Entry(script="x.rb")),
        (languages.NODE, "node", languages.Entry()),
    ],
)
def test_what_a_command_line_runs(kind: languages.Language, arguments: str, entry: languages.Entry) -> None:
    assert languages.entry(kind, arguments.split()) == entry


@pytest.mark.parametrize(
    ("kind", "text", "names"),
    [
        (languages.PYTHON, "import a.b as c, d\nfrom e.f import g\n    import h  # why\nfrom . import no", "a d e h"),
        (languages.PYTHON, "import a; import b\nx = 'import no'", "a"),
        (languages.PERL, "use strict;\nuse parent 'A::B';\nuse base qw(C);\nrequire D::E;\nuse F::G qw(x);", ""),
        (languages.RUBY, "require 'a/b'\nrequire_relative 'no'\ngem \"c\"\nautoload :X, 'd/x'", "a c d"),
        (languages.NODE, "const a = require('a/b'); import b from 'b'; import '@c/d'; require('./no')", "a b @c"),
    ],
)
def test_what_a_source_file_loads(kind: languages.Language, text: str, names: str) -> None:
    found = list(languages.names(kind, text.encode()))
    if kind is languages.PERL:
        assert found == ["strict", "A", "C", "D", "F"]
    else:
        assert found == names.split()


def test_the_tops_of_modules() -> None:
    assert languages.top(languages.PYTHON, "nova/cmd/compute.py") == "nova"
    assert languages.top(languages.PYTHON, "six.py") == "six"
    assert languages.top(languages.PYTHON, "_cffi.cpython-311-x86_64-linux-gnu.so") == "_cffi"
    assert languages.top(languages.PYTHON, "__pycache__/six.cpython-311.pyc") == "six"
    assert languages.top(languages.PYTHON, "nova-1.dist-info/METADATA") == ""
    assert languages.top(languages.PYTHON, "dist-packages/nova/x.py") == ""


SHOWN = """\
Id=a.service
Names=a.service alias.service
After=network-online.target basic.target
ExecStart={ path=/one }
ExecStart={ path=/two }

Id=n.service
Names=n.service
Before=network-online.target

Id=network-online.target
Names=network-online.target
After=network.target

Id=network.target
Names=network.target
After=first.service

Id=first.service
Names=first.service
After=a.service.wants
"""


def test_what_systemctl_shows_is_read() -> None:
    shown = systemd.parse(SHOWN, ["alias.service", "n.service"])
    assert shown["alias.service"] is shown["a.service"]
    assert shown["a.service"]["ExecStart"] == "{ path=/one }\n{ path=/two }"


def test_units_are_in_systemd_s_order_also_through_targets() -> None:
    units = ["alias.service", "n.service", "first.service", "other.service"]
    assert systemd.edges(units, systemd.parse(SHOWN, units)) == {
        ("n.service", "alias.service"),
        ("first.service", "alias.service"),
    }
    assert systemd.edges([], {}) == set()


def test_kernels_are_compared_by_their_numbers() -> None:
    ordered = ["5.10.0-9-amd64", "5.10.0-30-amd64", "6.1.0-rc1", "6.1.0-1-amd64", "6.1.0-10-amd64", "6.10.0-1-amd64"]
    keys = [boot_reasons.version_key(release) for release in ordered]
    assert all(one < other for one, other in itertools.pairwise(keys))
    assert all(boot_reasons.is_newer(newer, older) for older, newer in itertools.pairwise(ordered))
    assert boot_reasons.version_key("5.14.0-70.el9.x86_64") < boot_reasons.version_key("5.14.0-503.1.el9.x86_64")


@pytest.mark.parametrize(
    ("running", "other"),
    [
        ("6.1.0-25-amd64", "6.1.0-25-rt-amd64"),
        ("6.1.0-25-amd64", "6.1.0-25-amd64.bak"),
        ("5.15.0-101-generic", "5.15.0-101-lowlatency"),
        ("5.14.0-427.13.1.el9_4.x86_64", "5.14.0-427.13.1.el9_4.x86_64+debug"),
    ],
)
def test_another_flavour_of_a_kernel_is_not_newer(running: str, other: str) -> None:
    assert not boot_reasons.is_newer(other, running)
    assert not boot_reasons.is_newer(running, other)


def test_a_newer_kernel_of_another_flavour_is() -> None:
    assert boot_reasons.is_newer("6.1.0-26-cloud-amd64", "6.1.0-25-amd64")
    assert boot_reasons.is_newer("6.5.0-0.deb12.4-amd64", "6.5.0-0.deb12.1-amd64")
    assert boot_reasons.is_newer("6.12.48+deb13-amd64", "6.12.43+deb13-amd64")
    assert boot_reasons.is_newer("6.1.0-1-amd64", "6.1.0-rc3")
