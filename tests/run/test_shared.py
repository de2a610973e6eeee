"""Places that every machine must see, as one machine can tell; `cluster/test_hosts.py` has more."""

import pytest

from raclib.errors import UserError
from raclib.run import shared
from raclib.run.config import TrackingConfig


@pytest.fixture
def second_machine(ray_cluster, monkeypatch):
    """This node under another address: a machine that sees all that this one sees."""
    node = ray_cluster.get_runtime_context().get_node_id()
    monkeypatch.setattr(shared, "_other_machines", lambda: {"192.0.2.7": node})


def test_one_machine_may_keep_everything_on_its_disk(ray_cluster, tmp_path):
    shared.check_tracking(TrackingConfig("sqlite:///mlflow.db"))
    shared.check_shared(storage_path=str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_file_does_not_track_runs_of_several_machines(second_machine):
    with pytest.raises(UserError, match=r"tracking.uri: sqlite.* has 2: start `mlflow server`"):
        shared.check_tracking(TrackingConfig("sqlite:///mlflow.db"))
    shared.check_tracking(TrackingConfig("http://mlflow:5000"))


def test_a_folder_that_all_see_is_fine(second_machine, tmp_path):
    shared.check_shared(storage_path=str(tmp_path / "runs"), corpus="memory://corpus")
    assert not list((tmp_path / "runs").iterdir())


def test_a_folder_that_another_machine_does_not_see_is_named(
    second_machine, tmp_path, monkeypatch, ray_cluster
):
    blind = ray_cluster.remote(lambda path: False)
    monkeypatch.setattr(shared, "_sees", blind)
    with pytest.raises(UserError, match=r"storage_path: .*/runs .* not seen by 192.0.2.7"):
        shared.check_shared(storage_path=str(tmp_path / "runs"))
    assert not list((tmp_path / "runs").iterdir())
