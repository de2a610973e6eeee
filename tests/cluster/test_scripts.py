"""The two scripts that run on hosts, with stand-ins for what they call."""

import subprocess
import threading
import time
from pathlib import Path

import pytest

DISK = "nvme-Amazon_EC2_NVMe_Instance_Storage_AWS"


@pytest.fixture
def commands(tmp_path):
    """Makes commands that write how they are called into a log; gives (folder, log)."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    log.touch()

    def make(name: str, then: str = "exit 0") -> None:
        path = folder / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {log}\n{then}\n')
        path.chmod(0o755)

    return make, folder, log


def run(script: Path, *args: object, path: Path, **kwargs) -> subprocess.CompletedProcess:
    environment = {"PATH": f"{path}:/usr/bin:/bin"}
    command = ["bash", str(script), *map(str, args)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=True, **kwargs
    )


@pytest.fixture
def proc(tmp_path):
    """Makes processes with a title, as Ray's workers have one."""

    def make(number: int, title: str) -> Path:
        file = tmp_path / "proc" / str(number) / "cmdline"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(title.encode() + b"\0\0")
        return file

    return make


def test_a_host_without_training_goes_at_once(cluster, commands, proc, tmp_path):
    make, folder, log = commands
    make("ray")
    for number, title in enumerate(["ray::IDLE", "ray::ShardServer", "ray::DashboardAgent"]):
        proc(number, title)
    run(cluster / "drain.sh", 20, tmp_path / "proc", path=folder)
    assert log.read_text() == ""


@pytest.mark.parametrize("answer", ["exit 0", "exit 1"])
def test_a_host_that_trains_is_drained_until_its_worker_is_gone(
    cluster, commands, proc, tmp_path, answer
):
    make, folder, log = commands
    make("ray", answer)
    worker = proc(1, "ray::RayTrainWorker")
    start = time.monotonic()
    threading.Timer(1.5, worker.unlink).start()
    run(cluster / "drain.sh", 20, tmp_path / "proc", path=folder)
    assert 1.5 <= time.monotonic() - start < 15
    assert "drain-node --reason DRAIN_NODE_REASON_PREEMPTION" in log.read_text()
    assert "--deadline-remaining-seconds 20" in log.read_text()


def test_waiting_for_training_ends(cluster, commands, proc, tmp_path):
    make, folder, _ = commands
    make("ray")
    proc(1, "ray::RayTrainWorker")
    start = time.monotonic()
    run(cluster / "drain.sh", 2, tmp_path / "proc", path=folder)
    assert 1 <= time.monotonic() - start < 15


def test_ray_has_the_command_and_the_class_that_draining_names(cluster):
    from ray.scripts.scripts import drain_node
    from ray.train.v2._internal.execution.worker_group.worker import RayTrainWorker

    text = (cluster / "drain.sh").read_text()
    assert f"^ray::{RayTrainWorker.__name__}'" in text
    options = {option for parameter in drain_node.params for option in parameter.opts}
    assert {"--reason", "--reason-message", "--deadline-remaining-seconds"} <= options
    [reason] = [p for p in drain_node.params if p.name == "reason"]
    assert "DRAIN_NODE_REASON_PREEMPTION" in reason.type.choices


@pytest.fixture
def mount(cluster, commands, tmp_path):
    """Runs mount_nvme.sh with some disks and mount points; gives what it did."""
    make, folder, log = commands
    devices = tmp_path / "by-id"
    devices.mkdir()

    def act(disks: int = 0, mounted: tuple[str, ...] = ()) -> list[str]:
        for number in range(disks):
            disk = tmp_path / f"nvme{number}"
            disk.touch()
            # Two names of the same disk, as udev gives them.
            for name in (f"{DISK}{number}", f"{DISK}{number}-ns-1"):
                (devices / name).symlink_to(disk)
        (devices / "nvme-Amazon_Elastic_Block_Store_vol0").symlink_to(tmp_path / "root")
        make("sudo")
        make("mountpoint", f'[[ " {" ".join(mounted)} " == *" ${{@: -1}} "* ]]')
        run(cluster / "mount_nvme.sh", "/mnt/nvme", devices, path=folder)
        return [line for line in log.read_text().splitlines() if line.startswith("sudo")]

    return act


def test_one_disk_is_formatted_and_mounted(mount, tmp_path):
    made, formatted, mounted, owned = mount(disks=1)
    assert made == "sudo mkdir -p /mnt/nvme"
    assert formatted == f"sudo mkfs.ext4 -q -E nodiscard {tmp_path}/nvme0"
    assert mounted == f"sudo mount -o noatime {tmp_path}/nvme0 /mnt/nvme"
    assert owned.endswith("/mnt/nvme")


def test_several_disks_become_one(mount, tmp_path):
    _, striped, formatted, *_ = mount(disks=8)
    disks = " ".join(f"{tmp_path}/nvme{number}" for number in range(8))
    assert striped == f"sudo mdadm --create /dev/md0 --run --level=0 --raid-devices=8 {disks}"
    assert formatted.endswith(" /dev/md0")


def test_what_is_mounted_is_never_formatted(mount):
    assert mount(disks=2, mounted=("/mnt/nvme",)) == ["sudo mkdir -p /mnt/nvme"]


def test_disks_that_the_image_has_mounted_are_taken_over(mount):
    steps = mount(disks=2, mounted=("/opt/dlami/nvme",))
    assert steps[1] == "sudo mount --bind /opt/dlami/nvme /mnt/nvme"
    assert not any("mkfs" in step or "mdadm" in step for step in steps)


def test_a_host_without_such_disks_uses_its_root_disk(mount):
    steps = mount()
    assert len(steps) == 2
    assert "chown" in steps[1]
