"""What a full disk or a crash leaves of a training, and what the next start makes of it."""

import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from raclib.corpus.faults import DamagedError
from raclib.errors import UserError
from raclib.run.arrow_storage import RECORD, arrow_storage
from raclib.training.checkpoint import STATE_FILE
from raclib.training.leftovers import last_checkpoint
from raclib.training.state_file import load_state, save_state

DAMAGE = "not whole, as a full disk or a crash leaves it"


@pytest.fixture
def run(tmp_path):
    """A folder of a run with two checkpoints, as Ray Train leaves it."""
    for step in (4, 8):
        save_state(f"{tmp_path}/{name_of(step)}/{STATE_FILE}", {"next_step": step})
    (tmp_path / RECORD).write_text("{}")
    return tmp_path


def name_of(step: int) -> str:
    return f"checkpoint_step_{step:08d}"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_checkpoint_is_kept_alone(run, capsys):
    assert last_checkpoint(str(run)) == name_of(8)
    assert names_in(run) == [name_of(8)]
    assert capsys.readouterr().err == ""


def test_nothing_was_written(tmp_path):
    assert last_checkpoint(str(tmp_path / "new")) is None


def test_an_unreadable_newest_checkpoint_is_passed_over_and_said(run, capsys):
    cut(run / name_of(8) / STATE_FILE)
    assert last_checkpoint(str(run)) == name_of(4)
    assert names_in(run) == [name_of(4)]
    assert capsys.readouterr().err == (
        f"{run}/{name_of(8)}/{STATE_FILE}: {DAMAGE}; training goes on from {name_of(4)}\n"
    )


def test_an_empty_record_of_checkpoints_is_passed_over_and_said(run, capsys):
    (run / RECORD).write_bytes(b"")
    assert last_checkpoint(str(run)) == name_of(8)
    assert names_in(run) == [name_of(8)]
    assert (
        capsys.readouterr().err == f"{run}/{RECORD}: {DAMAGE}; training goes on from {name_of(8)}\n"
    )


def test_where_no_checkpoint_is_whole_the_newest_and_the_remedy_are_named(run):
    for step in (4, 8):
        cut(run / name_of(step) / STATE_FILE)
    with pytest.raises(UserError) as error:
        last_checkpoint(str(run))
    assert str(error.value) == (
        f"{run}/{name_of(8)}/{STATE_FILE}: {DAMAGE}, and no older checkpoint is left; remove {run} "
        "to train it again"
    )


def test_half_checkpoints_and_half_files_go(run, capsys):
    shutil.rmtree(run / name_of(4))
    (run / name_of(8) / STATE_FILE).rename(run / name_of(8) / f".{STATE_FILE}.1.tmp")
    (run / name_of(12)).mkdir()
    (run / f".{RECORD}.1.tmp").touch()
    assert last_checkpoint(str(run)) is None
    assert names_in(run) == []


def test_every_cut_and_every_changed_byte_of_a_state_is_seen(tmp_path):
    file = tmp_path / STATE_FILE
    save_state(str(file), {"weights": torch.arange(9.0), "next_step": 1})
    whole = file.read_bytes()
    for place in range(0, len(whole), 5):
        changed = bytes([whole[place] ^ 4])
        for damaged in (whole[:place], whole[:place] + changed + whole[place + 1 :]):
            file.write_bytes(damaged)
            try:
                state = load_state(str(file))
            except DamagedError:
                continue
            torch.testing.assert_close(state["weights"], torch.arange(9.0), rtol=0, atol=0)
            assert state["next_step"] == 1


@pytest.fixture(scope="module")
def ended(fit_needle, tmp_path_factory):
    """A training that nothing disturbed: the folder of its storage, and what it came to."""
    folder = tmp_path_factory.mktemp("ended")
    return folder, fit_needle(str(folder))


@pytest.mark.slow
def test_a_training_goes_on_from_its_last_whole_checkpoint(ended, fit_needle, tmp_path, capsys):
    run = shutil.copytree(ended[0] / "needle", tmp_path / "needle") / "run"
    assert names_in(run)[-3:] == [name_of(3), name_of(4), "fitted.pt"]
    cut(run / "fitted.pt")
    cut(run / name_of(4) / STATE_FILE)
    (run / RECORD).write_bytes(b"")
    found = fit_needle(str(tmp_path))
    np.testing.assert_array_equal(found.test.probability, ended[1].test.probability)
    assert names_in(run)[-3:] == [name_of(3), name_of(4), "fitted.pt"]
    said = capsys.readouterr().err
    assert f"{run}/fitted.pt: {DAMAGE}; it is made again from the last checkpoint\n" in said
    for file in (f"{name_of(4)}/{STATE_FILE}", RECORD):
        assert f"{run}/{file}: {DAMAGE}; training goes on from {name_of(3)}\n" in said


@pytest.fixture
def small_disk(tmp_path):
    """Gives a disk of some kilobytes; called again, the same with more."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def size(kilobytes: int) -> Path:
        options = f"size={kilobytes}k" + (",remount" if folder.is_mount() else "")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        return folder

    yield size
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)


def test_a_state_that_finds_no_room_is_one_line_and_leaves_nothing(small_disk):
    file = small_disk(64) / name_of(4) / STATE_FILE
    with pytest.raises(UserError, match=f"^{file}: .*No space left on device") as error:
        save_state(str(file), {"weights": torch.zeros(64_000)})
    assert "\n" not in str(error.value)
    assert list(file.parent.iterdir()) == []


def test_a_record_that_finds_no_room_is_one_line_and_ends_no_training(small_disk, capsys):
    disk = small_disk(4)
    (disk / "full").write_bytes(bytes(4096))
    filesystem, path = arrow_storage(str(disk))
    with filesystem.open_output_stream(f"{path}/{RECORD}") as file:
        file.write(b"{}")
    assert capsys.readouterr().err == (
        f"{disk}/{RECORD}: [Errno 28] No space left on device on {socket.gethostname()}; make room "
        "there; training goes on without it\n"
    )
    assert names_in(disk) == ["full"]
    with (
        pytest.raises(UserError, match=r"other: .* No space left"),
        filesystem.open_output_stream(f"{path}/other") as file,
    ):
        file.write(b"{}")


@pytest.mark.slow
@pytest.mark.parametrize("has_room_for_a_record", [True, False])
def test_a_full_disk_is_one_line_and_leaves_no_half_checkpoint(
    ended, fit_needle, small_disk, has_room_for_a_record
):
    state = ended[0] / "needle" / "run" / name_of(4) / STATE_FILE
    pages = -(-state.stat().st_size // 4096)
    disk = small_disk(4 * (pages * 3 // 2 if has_room_for_a_record else pages))
    run = disk / "needle" / "run"
    with pytest.raises(UserError) as error:
        fit_needle(str(disk))
    assert str(error.value).startswith(f"{run}/{name_of(2)}/{STATE_FILE}: ")
    assert "No space left on device" in str(error.value) and "\n" not in str(error.value)
    assert [path.name for path in run.rglob("checkpoint_step*")] == [name_of(1)]
    assert not list(run.rglob("*.tmp"))
    load_state(f"{run}/{name_of(1)}/{STATE_FILE}")
    small_disk(10_000)
    found = fit_needle(str(disk))
    np.testing.assert_array_equal(found.test.probability, ended[1].test.probability)
    assert not (run / name_of(1)).exists()
