"""The keys of the container format: for each, values, and what the container that Podman makes of them has to show."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Case:
    """One form of one key. In texts and keys, {base}, {dir}, {pid} and {ns[KIND]} are what the test fills in.

    base: a running container with the volume `kept`; dir: a directory of the host with the file `seccomp.json`;
    pid: of base; ns: the host's namespaces.
    """

    key: str
    form: str
    keys: dict[str, Any]
    where: str = ""
    """Path into `podman inspect`; empty where it does not show the key."""
    value: Any = None
    """What is there, or (as a set) what is in there."""
    command: str = ""
    """A command in the running container, where inspect does not show all."""
    says: str = ""

    @property
    def id(self) -> str:
        return f"{self.key}-{self.form}"


def _case(key: str, form: str, given: Any, where: str = "", value: Any = None, **more: Any) -> Case:
    beside = more.pop("beside", {})
    return Case(key, form, {key: given, **beside}, where, value, **more)


_HEALTH = {"Test": ["CMD-SHELL", "true"], "Interval": 30_000_000_000, "Timeout": 30_000_000_000, "Retries": 3}
_CHECKED = {"healthcheck": {"test": "true"}}
_MOUNT = "Mounts./b"
_NETWORKS = "NetworkSettings.Networks"
_HOSTS = "test -s /etc/hosts && echo there || echo none"
_FORWARD = "cat /proc/sys/net/ipv4/ip_forward"
_CORE = "grep '^Max core' /proc/1/limits | tr -s ' ' | cut -d ' ' -f 5,6"
_OWN_IPC = "test $(readlink /proc/self/ns/ipc) != {ns[ipc]} && echo own"
_UNMASKED = "grep -c /proc/timer_list /proc/self/mounts || true"
_HIDDEN_PROC = "cat /proc/self/mounts | grep '^proc /proc ' | grep -o hidepid=[a-z0-9]*"

CASES = [
    _case("image", "tag", "{base_image}", "ImageName", {"service"}),
    _case("annotation", "map", {"io.example.a": 1}, "Config.Annotations", {"io.example.a": "1"}),
    _case("annotation", "list", ["io.example.a=1=2"], "Config.Annotations", {"io.example.a": "1=2"}),
    _case("cap_add", "list", ["NET_ADMIN", "cap_sys_time"], "EffectiveCaps", {"CAP_NET_ADMIN", "CAP_SYS_TIME"}),
    _case("cap_add", "all", ["ALL"], "EffectiveCaps", {"CAP_SYS_ADMIN"}),
    _case("cap_drop", "list", ["CHOWN"], "HostConfig.CapDrop", {"CAP_CHOWN"}),
    _case("cap_drop", "all", ["ALL"], "EffectiveCaps", []),
    _case("check_interval", "number", 11, "Config.Healthcheck.Interval", 11_000_000_000, beside=_CHECKED),
    _case("check_interval", "text", "2m", "Config.Healthcheck.Interval", 120_000_000_000, beside=_CHECKED),
    _case("command", "list", ["sh", "-c", "a  b", ""], "Config.Cmd", ["sh", "-c", "a  b", ""]),
    _case("command", "text", "sh -c 'a  b'", "Config.Cmd", ["sh", "-c", "a  b"]),
    _case("cpu_shares", "number", 512, "HostConfig.CpuShares", 512),
    _case("cpuset_cpus", "text", "0-1", "HostConfig.CpusetCpus", "0-1"),
    _case("cpuset_cpus", "number", 0, "HostConfig.CpusetCpus", "0"),
    _case("cpuset_cpus", "all", "all", "HostConfig.CpusetCpus", ""),
    _case("device", "host", ["/dev/fuse"], "HostConfig.Devices.0.PathInContainer", "/dev/fuse"),
    _case("device", "container", ["/dev/null:/dev/nothing"], "HostConfig.Devices.0.PathInContainer", "/dev/nothing"),
    _case(
        "device",
        "permissions",
        ["/dev/fuse:/dev/nothing:r"],
        "HostConfig.Devices.0.PathOnHost",
        "/dev/fuse",
        command="(echo x > /dev/nothing) 2>/dev/null && echo wrote || echo refused",
        says="refused",
    ),
    _case("entrypoint", "list", ["/bin/busybox", "env"], "Config.Entrypoint", "/bin/busybox env"),
    _case("entrypoint", "text", "/bin/busybox env", "Config.Entrypoint", "/bin/busybox env"),
    _case(
        "environment", "map", {"A": "x=y", "N": 1, "B": True, "E": None}, "Config.Env", {"A=x=y", "N=1", "B=true", "E="}
    ),
    _case("environment", "list", ["A=x=y", None, "", ["N=1"]], "Config.Env", {"A=x=y", "N=1"}),
    _case("etc_hosts", "false", False, command=_HOSTS, says="none"),
    _case("etc_hosts", "true", "true", command=_HOSTS, says="there"),
    _case("etc_hosts", "map", {"db": "10.9.8.7"}, "HostConfig.ExtraHosts", ["db:10.9.8.7"]),
    _case(
        "extra_hosts",
        "list",
        ["db:10.9.8.7", "v6:2001:db8::1"],
        "HostConfig.ExtraHosts",
        ["db:10.9.8.7", "v6:2001:db8::1"],
    ),
    _case("extra_hosts", "map", {"db": "10.9.8.7"}, "HostConfig.ExtraHosts", ["db:10.9.8.7"]),
    _case("group_add", "list", [1042, "43"], "HostConfig.GroupAdd", ["1042", "43"]),
    _case("healthcheck", "text", {"test": "true"}, "Config.Healthcheck", _HEALTH),
    _case("healthcheck", "list", {"test": ["true", "a b"]}, "Config.Healthcheck.Test", ["CMD", "true", "a b"]),
    _case("healthcheck", "json", {"test": '["true", "a b"]'}, "Config.Healthcheck.Test", ["CMD", "true", "a b"]),
    _case("healthcheck", "none", {"test": "none"}, "Config.Healthcheck.Test", ["NONE"]),
    _case(
        "healthcheck",
        "durations",
        {"test": "true", "interval": "1m30s", "timeout": "5", "retries": "2", "start_period": 7},
        "Config.Healthcheck",
        {**_HEALTH, "Interval": 90_000_000_000, "Timeout": 5_000_000_000, "Retries": 2, "StartPeriod": 7_000_000_000},
    ),
    _case("healthcheck", "disable", {"test": "true", "interval": "disable"}, "Config.Healthcheck.Interval", None),
    _case("hostname", "text", "a-name", "Config.Hostname", "a-name"),
    _case("interactive", "true", True, "Config.OpenStdin", True),
    _case("ipc", "host", "host", command="readlink /proc/self/ns/ipc", says="{ns[ipc]}"),
    _case(
        "ipc",
        "none",
        "none",
        "HostConfig.IpcMode",
        command="test -e /dev/shm/. && echo shm || echo no shm",
        says="no shm",
    ),
    _case("ipc", "private", "private", command=_OWN_IPC, says="own"),
    _case("ipc", "shareable", "shareable", "HostConfig.IpcMode", "shareable", command=_OWN_IPC, says="own"),
    _case("ipc", "container", "container:{base}", "HostConfig.IpcMode", {"container:"}),
    _case("log_tag", "text", "nova", "HostConfig.LogConfig.Tag", "nova"),
    _case("mem_limit", "text", "64m", "HostConfig.Memory", 64 << 20),
    _case("mem_limit", "number", 67108864, "HostConfig.Memory", 64 << 20),
    _case("mem_swappiness", "number", 10, "HostConfig.MemorySwappiness", 10),
    _case("memswap_limit", "text", "128m", "HostConfig.MemorySwap", 128 << 20, beside={"mem_limit": "64m"}),
    _case("net", "host", "host", "HostConfig.NetworkMode", "host"),
    _case("net", "none", "none", "HostConfig.NetworkMode", "none"),
    _case("net", "bridge", "bridge", "HostConfig.NetworkMode", "bridge"),
    _case("net", "bridge-address", "bridge:mac=92:d0:c6:0a:29:33", "HostConfig.NetworkMode", "bridge"),
    _case("net", "container", "container:{base}", "HostConfig.NetworkMode", {"container:"}),
    _case("net", "path", "ns:/proc/{pid}/ns/net", "HostConfig.NetworkMode", {"ns:/proc/"}),
    _case("net", "network", "one", _NETWORKS, {"one"}),
    _case("net", "networks", ["one", "two"], _NETWORKS, {"one", "two"}),
    _case("net", "text-networks", "one,two", _NETWORKS, {"one", "two"}),
    _case("net", "address", ["one:ip=10.77.1.9,alias=db"], f"{_NETWORKS}.one.Aliases", {"db"}),
    _case("pid", "host", "host", "HostConfig.PidMode", "host"),
    _case("pid", "container", "container:{base}", "HostConfig.PidMode", {"container:"}),
    _case("pids_limit", "number", 77, "HostConfig.PidsLimit", 77),
    _case("pids_limit", "text", "77", "HostConfig.PidsLimit", 77),
    _case("privileged", "true", True, "HostConfig.Privileged", True),
    _case("privileged", "text", "true", "HostConfig.Privileged", True),
    _case("remove", "true", True, "HostConfig.AutoRemove", True),
    _case("restart", "always", "always", "HostConfig.RestartPolicy.Name", "always"),
    _case("restart", "unless-stopped", "unless-stopped", "HostConfig.RestartPolicy.Name", "unless-stopped"),
    _case(
        "restart",
        "on-failure",
        "on-failure:3",
        "HostConfig.RestartPolicy",
        {"Name": "on-failure", "MaximumRetryCount": 3},
    ),
    _case("restart", "no", False, "HostConfig.RestartPolicy.Name", "no"),
    _case("security_opt", "text", "label=disable", "HostConfig.SecurityOpt", ["label=disable"]),
    _case(
        "security_opt",
        "labels",
        ["label=level:s0", "label:type:x"],
        "HostConfig.SecurityOpt",
        ["label=level:s0,label=type:x"],
    ),
    _case(
        "security_opt",
        "seccomp",
        ["seccomp=unconfined"],
        "HostConfig.SecurityOpt",
        ["seccomp=unconfined"],
        command="grep ^Seccomp: /proc/1/status",
        says="Seccomp:\t0",
    ),
    _case(
        "security_opt",
        "seccomp-profile",
        ["seccomp={dir}/seccomp.json"],
        "HostConfig.SecurityOpt",
        ["seccomp={dir}/seccomp.json"],
        command="mkdir /tmp-made 2>&1 | grep -o 'not permitted'",
        says="not permitted",
    ),
    _case("security_opt", "apparmor", ["apparmor=unconfined"], "HostConfig.SecurityOpt", ["apparmor=unconfined"]),
    _case(
        "security_opt",
        "no-new-privileges",
        ["no-new-privileges"],
        "HostConfig.SecurityOpt",
        ["no-new-privileges"],
        command="grep ^NoNewPrivs: /proc/1/status",
        says="NoNewPrivs:\t1",
    ),
    _case("security_opt", "mask", ["mask=/proc/version"], command="wc -c < /proc/version", says="0"),
    _case("security_opt", "unmask", ["unmask=/proc/timer_list"], command=_UNMASKED, says="0"),
    _case("security_opt", "systempaths", ["systempaths=unconfined"], command=_UNMASKED, says="0"),
    _case("security_opt", "proc-opts", ["proc-opts=hidepid=2"], command=_HIDDEN_PROC, says="hidepid=invisible"),
    _case("stop_grace_period", "number", 7, "Config.StopTimeout", 7),
    _case("stop_grace_period", "text", "1m30s", "Config.StopTimeout", 90),
    _case("stop_signal", "text", "SIGUSR1", "Config.StopSignal", 10),
    _case("stop_signal", "number", 15, "Config.StopSignal", 15),
    _case("stop_signal", "realtime", "SIGRTMIN+3", "Config.StopSignal", 37),
    _case("sysctl", "map", {"net.ipv4.ip_forward": 1}, command=_FORWARD, says="1"),
    _case("sysctl", "list", ["net.ipv4.ip_forward=1"], command=_FORWARD, says="1"),
    _case("tty", "true", True, "Config.Tty", True),
    _case(
        "ulimit",
        "list",
        ["nofile=100:200"],
        "HostConfig.Ulimits.0",
        {"Name": "RLIMIT_NOFILE", "Soft": 100, "Hard": 200},
    ),
    _case("ulimit", "text", "nofile=100", "HostConfig.Ulimits.0", {"Name": "RLIMIT_NOFILE", "Soft": 100, "Hard": 100}),
    _case("ulimit", "unlimited", ["core=-1"], command=_CORE, says="unlimited unlimited"),
    _case("user", "text", "root", "Config.User", "root"),
    _case("user", "number", 42, "Config.User", "42"),
    _case("user", "group", "42:43", "Config.User", "42:43", command="echo $(id -u) $(id -g)", says="42 43"),
    _case("uts", "host", "host", "HostConfig.UTSMode", "host"),
    _case("uts", "container", "container:{base}", command="hostname", says="base"),
    _case("volumes", "bind", ["{dir}:/b"], f"{_MOUNT}.Source", "{dir}"),
    _case("volumes", "ro", ["{dir}:/b/:ro,z"], f"{_MOUNT}.RW", False),
    _case("volumes", "rw", ["{dir}:/b:rw,Z"], f"{_MOUNT}.RW", True),
    _case("volumes", "shared", ["{dir}:/b:shared,z"], f"{_MOUNT}.Propagation", "shared"),
    _case("volumes", "rslave", ["{dir}:/b:rslave"], f"{_MOUNT}.Propagation", "rslave"),
    _case(
        "volumes", "options", ["{dir}:/b:noexec,nosuid,nodev,rbind"], f"{_MOUNT}.Options", {"noexec", "nosuid", "nodev"}
    ),
    _case(
        "volumes", "chown", ["{dir}/owned:/b:U"], _MOUNT, None, command="stat -c %u /b", says="42", beside={"user": 42}
    ),
    _case("volumes", "overlay", ["{dir}:/b:O"], command="touch /b/new && ls /b/new", says="/b/new"),
    _case("volumes", "named", ["data:/b"], f"{_MOUNT}.Name", "data"),
    _case("volumes", "named-nocopy", ["empty:/b:nocopy,ro"], f"{_MOUNT}.Options", {"nocopy"}),
    _case("volumes", "anonymous", ["/b"], f"{_MOUNT}.Type", "volume"),
    _case("volumes", "nested", [["{dir}:/b"], None, "", [["{dir}:/b"]]], f"{_MOUNT}.Source", "{dir}"),
    _case("volumes_from", "name", ["{base}"], "Mounts./kept.Name", "kept"),
    _case("volumes_from", "ro", ["{base}:ro"], "Mounts./kept.RW", False),
]
