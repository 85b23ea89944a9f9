"""What a box decides from facts alone."""

import dataclasses
import pathlib

import pytest

from podmanbox import config, errors, image, layout, machine, processes, runtime_wrapper, traces

KIND = machine.Machine(
    nofile_hard=machine.PODMAN_NOFILE,
    effective_caps=1 << machine.CAP_SYS_RESOURCE,
    unified_cgroups=True,
    systemd_is_init=True,
    journald=True,
    filesystem="ext4",
    crun=pathlib.Path("/usr/bin/crun"),
    runc=pathlib.Path("/usr/sbin/runc"),
)
HARSH = dataclasses.replace(
    KIND,
    nofile_hard=20000,
    effective_caps=0,
    unified_cgroups=False,
    systemd_is_init=False,
    journald=False,
)
PATHS = layout.Layout(pathlib.Path("/scratch/box"))


def test_a_kind_machine_gets_no_workaround() -> None:
    text = config.containers_conf(PATHS, KIND, "net")
    for setting in ("runtime =", "cgroup_manager", "log_driver", "events_logger"):
        assert setting not in text


def test_a_harsh_machine_gets_all_of_them() -> None:
    text = config.containers_conf(PATHS, HARSH, "net")
    assert 'runtime = "runc"\n' in text
    assert 'runc = ["/scratch/box/lib/runtime-wrapper"]' in text
    assert 'cgroup_manager = "cgroupfs"' in text
    assert 'log_driver = "k8s-file"' in text
    assert 'events_logger = "file"' in text


def test_static_dir_is_never_configured() -> None:
    # Podman 4.3 would not find its database when it cleans up after a container.
    assert "static_dir" not in config.containers_conf(PATHS, HARSH, "net")


@pytest.mark.parametrize(
    ("hard", "caps", "lowered"),
    [
        (20000, 0, True),
        (20000, 1 << machine.CAP_SYS_RESOURCE, False),
        (machine.PODMAN_NOFILE, 0, False),
        (-1, 0, False),
    ],
)
def test_limits_are_lowered_only_where_runtimes_would_fail(hard: int, caps: int, lowered: bool) -> None:
    facts = dataclasses.replace(KIND, nofile_hard=hard, effective_caps=caps)
    assert machine.limits_must_be_lowered(facts) is lowered


def test_the_wrapper_stands_before_the_runtime_that_podman_would_take() -> None:
    facts = dataclasses.replace(KIND, nofile_hard=20000, effective_caps=0)
    assert machine.runtime(facts) == KIND.crun
    assert machine.runtime(dataclasses.replace(facts, crun=None)) == KIND.runc
    assert machine.runtime(KIND) is None


@pytest.mark.parametrize(
    ("unified", "systemd", "needed"),
    [(True, True, False), (False, True, True), (True, False, True)],
)
def test_runc_serves_where_crun_cannot(unified: bool, systemd: bool, needed: bool) -> None:
    facts = dataclasses.replace(KIND, unified_cgroups=unified, systemd_is_init=systemd)
    assert machine.runc_is_needed(facts) is needed


def test_overlay_is_not_put_on_overlay() -> None:
    assert machine.storage_driver(KIND) == "overlay"
    assert machine.storage_driver(dataclasses.replace(KIND, filesystem="overlay")) == "vfs"


def test_the_last_and_deepest_mount_holds_a_path() -> None:
    mounts = (
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:2 / /scratch rw shared:1 - tmpfs none rw\n"
        "3 1 0:3 / /scratch rw shared:2 - overlay none rw\n"
        "4 1 0:4 / /scratchpad rw - xfs none rw\n"
    )
    assert machine.filesystem_of(pathlib.Path("/scratch/box"), mounts) == "overlay"
    assert machine.filesystem_of(pathlib.Path("/var"), mounts) == "ext4"


def test_capabilities_are_read_as_a_mask() -> None:
    assert machine.effective_caps("Name:\tx\nCapEff:\t0000000001000000\n") == 1 << 24
    assert machine.effective_caps("Name:\tx\n") == 0


def test_a_socket_path_has_107_bytes() -> None:
    assert machine.socket_path_fits(pathlib.Path("/" + "a" * 106))
    assert not machine.socket_path_fits(pathlib.Path("/" + "a" * 107))


def test_run_time_files_have_a_short_path() -> None:
    short = layout.Layout(pathlib.Path("/" + "a" * 41))
    assert short.runroot == short.directory / "runroot"
    long = layout.Layout(pathlib.Path("/" + "a" * 42))
    assert long.runroot == pathlib.Path("/run", long.name)


def test_the_wrapper_lowers_what_is_beyond_the_hard_limit() -> None:
    process: dict[str, object] = {
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "hard": 1048576, "soft": 100},
            {"type": "RLIMIT_NPROC", "hard": -1, "soft": -1},
            {"type": "RLIMIT_CORE", "hard": -1, "soft": -1},
        ]
    }
    limits = {"RLIMIT_NOFILE": 20000, "RLIMIT_NPROC": 30, "RLIMIT_CORE": -1}
    assert runtime_wrapper.lower_limits(process, limits)
    assert process["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "hard": 20000, "soft": 100},
        {"type": "RLIMIT_NPROC", "hard": 30, "soft": 30},
        {"type": "RLIMIT_CORE", "hard": -1, "soft": -1},
    ]
    assert not runtime_wrapper.lower_limits(process, limits)


def test_the_wrapper_never_lowers_an_oom_score() -> None:
    process: dict[str, object] = {"oomScoreAdj": -500}
    assert runtime_wrapper.raise_oom_score(process, 0)
    assert process == {"oomScoreAdj": 0}
    assert not runtime_wrapper.raise_oom_score({"oomScoreAdj": 300}, 0)
    assert not runtime_wrapper.raise_oom_score({}, 0)


def test_the_wrapper_finds_the_file_of_a_process() -> None:
    create = ["--log", "/x", "create", "--bundle", "/b", "id"]
    assert runtime_wrapper.process_file(create) == "/b/config.json"
    assert runtime_wrapper.process_file(["exec", "--process=/p", "id"]) == "/p"
    assert runtime_wrapper.process_file(["state", "id"]) is None


def test_only_programs_with_a_path_of_the_box_belong_to_it() -> None:
    box = pathlib.Path("/scratch/box")
    conmon = ("/usr/bin/conmon", "-b", "/scratch/box/storage/x")
    assert processes.belongs_to(box, conmon)
    assert processes.belongs_to(box, ("podman", "system", "service", "unix:///scratch/box/s"))
    assert not processes.belongs_to(pathlib.Path("/scratch/bo"), conmon)
    assert not processes.belongs_to(box, ("vi", "/scratch/box/conf/storage.conf"))
    assert not processes.belongs_to(box, ())


IDLE = """-P FORWARD ACCEPT
-N NETAVARK_FORWARD
-A FORWARD -s 10.0.0.0/8 -j ACCEPT
-A FORWARD -m comment --comment "netavark firewall plugin rules" -j NETAVARK_FORWARD
"""


def test_idle_chains_are_removed_and_foreign_rules_left() -> None:
    comment = "netavark firewall plugin rules"
    assert traces.removal("filter", IDLE) == [
        ["-D", "FORWARD", "-m", "comment", "--comment", comment, "-j", "NETAVARK_FORWARD"],
        ["-F", "NETAVARK_FORWARD"],
        ["-X", "NETAVARK_FORWARD"],
    ]


def test_chains_in_use_are_not_touched() -> None:
    used = IDLE + "-A NETAVARK_FORWARD -s 10.88.0.0/16 -j ACCEPT\n"
    assert traces.removal("filter", used) is None


def test_a_dockerfile_takes_values_literally() -> None:
    assert image.quoted('a "$b" \\') == '"a \\"\\$b\\" \\\\"'
    with pytest.raises(errors.BoxError, match="line break"):
        image.quoted("a\nb")


def test_a_healthcheck_is_written_with_its_times() -> None:
    check = image.Healthcheck("test -e /ok", interval_s=5, timeout_s=2, retries=1)
    text = image.dockerfile(image.ImageConfig(command=("sleep", "9"), healthcheck=check))
    assert "HEALTHCHECK --interval=5s --timeout=2s --retries=1 CMD" in text
    assert 'CMD ["sleep", "9"]\n' in text


def test_files_stay_inside_the_image(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.BoxError, match="inside the image"):
        image.write_context(tmp_path, {"../x": ""}, image.ImageConfig())
