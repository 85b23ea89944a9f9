"""What must restart, on a node with systemd, Podman and dpkg: real packages change, and needrestart is asked, too."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import debs
import places
from nodebox import box as nodeboxes
from podmanbox import box

LIBRARY = "/usr/lib/demo/libdemo.so.1"
MODULES = "/usr/lib/python3/dist-packages"

UNIT = """[Unit]
Description=a test's {name}
StartLimitIntervalSec=0
{unit}
[Service]
ExecStart={command}
{service}
[Install]
WantedBy=multi-user.target
"""


def unit(name: str, command: str, service: str = "", more: str = "") -> dict[str, str | Path]:
    text = UNIT.format(name=name, command=command, service=service, unit=more)
    return {f"/lib/systemd/system/{name}.service": text}


@dataclasses.dataclass(frozen=True)
class Deb:
    """A package: its files by path, each a text or the file to copy."""

    name: str
    version: str
    files: Mapping[str, str | Path]

    def build(self, directory: Path) -> Path:
        files: dict[str, debs.File] = {}
        for path, content in self.files.items():
            mode = 0o755 if path.startswith(("/usr/bin/", "/usr/sbin/")) else 0o644
            files[path] = (mode, content.read_bytes() if isinstance(content, Path) else content)
        return debs.build(directory, self.name, self.version, files=files)


def packages(version: str) -> list[Deb]:
    """A library that two daemons use, Python modules of which one needs the other, and their services."""
    sleep = Path("/bin/sleep")
    preload = f"Environment=LD_PRELOAD={LIBRARY}"
    library = next(Path("/usr/lib").glob("*/libz.so.1"))
    script = "#!/usr/bin/python3\nfrom demo_api import serve\nserve.main()\n"
    serve = "import importlib, time\n\n\ndef main():\n    import demo_lib\n    time.sleep(1e6)\n"
    return [
        Deb("libdemo", version, {LIBRARY: library}),
        Deb(
            "demo-a",
            version,
            {"/usr/bin/demo-a": sleep, **unit("demo-a", "/usr/bin/demo-a inf", preload, "After=demo-b.service")},
        ),
        # Sandboxed, it has a mount namespace of its own.
        Deb(
            "demo-b",
            version,
            {"/usr/bin/demo-b": sleep, **unit("demo-b", "/usr/bin/demo-b inf", f"{preload}\nPrivateTmp=yes")},
        ),
        Deb("python3-demo-lib", version, {f"{MODULES}/demo_lib/__init__.py": f"VERSION = {version}\n"}),
        Deb("python3-demo-other", version, {f"{MODULES}/demo_other.py": f"VERSION = {version}\n"}),
        Deb(
            "demo-api",
            version,
            {
                "/usr/bin/demo-api": script,
                f"{MODULES}/demo_api/__init__.py": "",
                f"{MODULES}/demo_api/serve.py": serve,
                **unit("demo-api", "/usr/bin/demo-api"),
            },
        ),
        Deb("demo-idle", version, {"/usr/bin/demo-idle": sleep, **unit("demo-idle", "/usr/bin/demo-idle inf")}),
    ]


SERVICES = ("demo-a", "demo-b", "demo-api")


@pytest.fixture(scope="module")
def made(podman: box.PodmanBox) -> Iterator[nodeboxes.NodeBox]:
    node = nodeboxes.NodeBox(places.SCRATCH / "node-restarts", registry=podman.registry)
    with node:
        install(node, *(one.name for one in packages("1")), version="1")
        node.run(["systemctl", "daemon-reload"])
        yield node


@pytest.fixture
def node(made: nodeboxes.NodeBox) -> Iterator[nodeboxes.NodeBox]:
    made.run(["systemctl", "restart", *SERVICES])
    yield made
    made.podman("rm", "--force", "--all", "--time=0")


def install(node: nodeboxes.NodeBox, *names: str, version: str) -> None:
    """Install packages with the node's dpkg."""
    # Not below /tmp, which the node has of its own.
    there = node.root / "srv"
    wanted = [one for one in packages(version) if one.name in names]
    files = [f"/srv/{one.build(there).name}" for one in wanted]
    node.run(["dpkg", "--install", *files])


def ask(node: nodeboxes.NodeBox, verb: str, *names: str) -> dict[str, Any]:
    script = str(places.ROOT / "tests" / "affected_calls.py")
    return dict(json.loads(node.run([sys.executable, script, verb, *names]).stdout))


def actions(answer: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["action"] for one in answer["affected"]}


def reasons(answer: dict[str, Any], name: str) -> list[str]:
    return list(next(one["reasons"] for one in answer["affected"] if one["name"] == name))


def with_host_s_files(node: nodeboxes.NodeBox, podman: box.PodmanBox, name: str, *command: str) -> None:
    """Run a container with the node's programs and libraries."""
    usr = [f"--volume=/{one}:/{one}:ro" for one in ("usr", "lib", "lib64") if (node.root / one).exists()]
    image = f"{podman.registry}/service:1"
    node.podman("run", "--detach", f"--name={name}", "--net=host", *usr, image, *command)


def test_a_library_affects_those_that_map_it(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    env = ["/usr/bin/env", f"LD_PRELOAD={LIBRARY}", "/usr/bin/sleep", "1000"]
    with_host_s_files(node, podman, "shared", *env)
    node.podman("run", "--detach", "--name=own", "--net=host", f"{podman.registry}/service:1")
    before = ask(node, "before", "libdemo")
    expected = {"demo-a.service": "restart", "demo-b.service": "restart", "shared": "restart"}
    assert actions(before) == expected
    assert reasons(before, "demo-a.service") == [f"maps {LIBRARY}"]
    assert all(one["packages"] == ["libdemo"] for one in before["affected"])
    assert before["reboot"] == []
    assert actions(ask(node, "after")) == {}

    install(node, "libdemo", version="2")
    after = ask(node, "after")
    assert actions(after) == expected
    assert reasons(after, "demo-b.service") == [f"maps {LIBRARY}, which was deleted"]
    table = ask(node, "running", "libdemo")["running"]
    assert {(line["unit"] or line["container"], line["state"]) for line in table if not line["container"]} == {
        ("demo-a.service", "old code"),
        ("demo-b.service", "old code"),
    }
    assert {line["container"] for line in table} == {"", "shared"}
    assert all(line["packages"] == ["libdemo"] for line in table)

    node.run(["systemctl", "restart", "demo-a"])
    assert "demo-a.service" not in actions(ask(node, "after"))
    table = ask(node, "running", "libdemo")["running"]
    assert {line["unit"]: line["state"] for line in table if not line["container"]} == {
        "demo-a.service": "new code",
        "demo-b.service": "old code",
    }


def test_modules_affect_those_that_import_them(node: nodeboxes.NodeBox) -> None:
    before = ask(node, "before", "python3-demo-lib", "python3-demo-other")
    assert actions(before) == {"demo-api.service": "restart"}
    assert reasons(before, "demo-api.service") == [f"loads demo_lib from {MODULES}"]
    assert before["affected"][0]["packages"] == ["python3-demo-lib"]
    install(node, "python3-demo-other", version="2")
    assert actions(ask(node, "after")) == {}
    install(node, "python3-demo-lib", version="2")
    after = ask(node, "after")
    assert actions(after) == {"demo-api.service": "restart"}
    assert reasons(after, "demo-api.service") == [f"loads {MODULES}/demo_lib/__init__.py, which is newer"]
    node.run(["systemctl", "restart", "demo-api"])
    assert actions(ask(node, "after")) == {}


def test_a_service_s_own_package_affects_it(node: nodeboxes.NodeBox) -> None:
    before = ask(node, "before", "demo-api", "demo-idle")
    assert actions(before) == {"demo-api.service": "restart"}, "what does not run does not restart"
    assert reasons(before, "demo-api.service") == [
        "its unit file is in demo-api",
        f"loads demo_api from {MODULES}",
        "runs /usr/bin/demo-api",
        "starts /usr/bin/demo-api",
    ]
    gone = ask(node, "removed", "demo-a")
    assert actions(gone) == {"demo-a.service": "report"}
    assert "left alone: its package is removed" in reasons(gone, "demo-a.service")
    install(node, "demo-a", version="2")
    after = ask(node, "after")
    assert "/lib/systemd/system/demo-a.service is newer" in str(reasons(after, "demo-a.service"))


def test_units_are_ordered_as_systemd_orders_them(node: nodeboxes.NodeBox) -> None:
    units = ["demo-a.service", "demo-b.service", "systemd-journald.service"]
    assert ask(node, "order", *units)["order"] == [
        ["demo-b.service", "demo-a.service"],
        ["systemd-journald.service", "demo-a.service"],
        ["systemd-journald.service", "demo-b.service"],
    ]


def test_a_drop_in_counts(node: nodeboxes.NodeBox) -> None:
    drop_in = node.root / "usr/lib/systemd/system/demo-a.service.d/more.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nNice=1\n")
    node.run(["systemctl", "daemon-reload"])
    assert actions(ask(node, "after")) == {"demo-a.service": "restart"}
    drop_in.unlink()
    node.run(["systemctl", "daemon-reload"])


def test_what_must_not_restart_is_reported(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    node.podman("run", "--detach", "--name=own", "--net=host", f"{podman.registry}/service:1")
    sessions(node)
    before = ask(node, "before", "libc6")
    found = actions(before)
    assert found["demo-a.service"] == "restart"
    assert found["demo-b.service"] == "restart"
    assert found["demo-api.service"] == "restart"
    for name in ("dbus.service", "user@0.service", "session-c7.scope", "init.scope", "own (conmon)"):
        assert found[name] == "report", name
    assert "own" not in found, "a container has its own C library"
    assert before["reboot"] == ["libc6 (the C library): upgrade 1 to 2"]
    node.run(["systemctl", "stop", "user@0.service", "session-c7.scope"])


LEAVER = f"""[Service]
ExecStart=/bin/sh -c 'LD_PRELOAD={LIBRARY} sleep 1000 & echo $! > /run/leaver.child; exec sleep 1000'
KillMode=process
"""


def test_what_a_restart_does_not_end_is_no_reason_for_another(node: nodeboxes.NodeBox) -> None:
    """Neutron's agents leave their dnsmasq and haproxy running, so that no network is lost."""
    (node.root / "etc/systemd/system/leaver.service").write_text(LEAVER)
    node.run(["systemctl", "daemon-reload"])
    node.run(["systemctl", "start", "leaver.service"])
    child = node.run(
        ["sh", "-c", "while [ ! -s /run/leaver.child ]; do sleep 0.1; done; cat /run/leaver.child"]
    ).stdout.strip()
    # Nearer to each other, they could be of the same start.
    node.run(["sleep", "1.2"])
    replace(node, LIBRARY)
    assert actions(ask(node, "after"))["leaver.service"] == "restart"
    node.run(["systemctl", "restart", "leaver.service"])
    answer = ask(node, "after")
    assert "leaver.service" not in actions(answer)
    assert actions(answer)[f"sleep (pid {child})"] == "report"
    assert (
        "a restart of leaver.service leaves it running (KillMode=process)"
        in reasons(answer, f"sleep (pid {child})")[-1]
    )
    node.run(["systemctl", "stop", "leaver.service"])
    # Of each start one is left.
    node.run(["sh", "-c", f"kill {child} $(cat /run/leaver.child)"])


def sessions(node: nodeboxes.NodeBox) -> None:
    """Start a user's systemd and a session. Without PAM's module of systemd, which a small system has not."""
    drop_in = node.root / "etc/systemd/system/user@0.service.d/plain.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/0\n")
    node.run(["mkdir", "-p", "/run/user/0"])
    node.run(["systemctl", "daemon-reload"])
    node.run(["systemctl", "start", "user@0.service"])
    session = ["systemd-run", "--scope", "--unit=session-c7", "--slice=user-0.slice"]
    node.run([*session, "sh", "-c", "sleep 1000 >/dev/null 2>&1 &"])


def replace(node: nodeboxes.NodeBox, path: str) -> None:
    """Put a copy of a file in its place, as a package manager does."""
    node.run(["cp", "--preserve", path, f"{path}.new"])
    node.run(["mv", f"{path}.new", path])


def needrestart(node: nodeboxes.NodeBox) -> tuple[set[str], set[str]]:
    """The services that needrestart names, and the pids it looks into."""
    done = node.run(["needrestart", "-b", "-v", "-r", "l"], env={"NEEDRESTART_SUSPEND": ""}, check=False)
    pids = re.findall(r"#(\d+) (?:uses (?:obsolete|deleted|non-existing))", done.stderr)
    return set(re.findall(r"^NEEDRESTART-SVC: (\S+)$", done.stdout, re.MULTILINE)), set(pids)


@pytest.fixture
def with_needrestart(node: nodeboxes.NodeBox) -> nodeboxes.NodeBox:
    """The node with the machine's needrestart: its packages, fetched for the node, are the same distribution's."""
    archives = node.root / "srv/archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    argv = ["apt-get", "-qq", "-y", "--no-install-recommends", "--download-only", "install", "needrestart"]
    options = [f"Dir::State::status={node.root}/var/lib/dpkg/status", f"Dir::Cache::archives={archives}"]
    with_options = [*argv, *(f"-o{option}" for option in [*options, "Debug::NoLocking=1", "APT::Sandbox::User=root"])]
    subprocess.run(with_options, check=True, capture_output=True, text=True)
    files = [f"/srv/archives/{path.name}" for path in archives.glob("*.deb")]
    assert files
    # It would look at the node by itself after each dpkg.
    node.run(["dpkg", "--install", *files], env={"NEEDRESTART_SUSPEND": "1"})
    return node


def test_no_process_is_missed_that_needrestart_finds(with_needrestart: nodeboxes.NodeBox) -> None:
    node = with_needrestart
    node.run(["systemctl", "restart", *SERVICES])
    install(node, "libdemo", "python3-demo-lib", "demo-a", version="3")
    libc = next((node.root / "usr/lib").glob("*/libc.so.6"))
    replace(node, f"/{libc.relative_to(node.root)}")
    replace(node, "/usr/bin/demo-b")
    services, pids = needrestart(node)
    assert {"demo-a.service", "demo-b.service", "demo-api.service", "dbus.service"} <= services
    after = ask(node, "after")
    assert services - {"systemd-manager"} <= set(actions(after))
    ours = {str(line["pid"]) for line in ask(node, "running")["running"]}
    living = {pid for pid in pids if (Path(f"/proc/{node.leader}/root/proc") / pid).exists()}
    assert living
    assert living <= ours
    assert after["reboot"] == ["PID 1 runs what was replaced", "dbus.service runs what was replaced"]
