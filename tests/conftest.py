"""Fixtures shared by all tests: one local Ray a session, and a small task on it."""

import dataclasses
import json
import os
import shutil
import sys
import tracemalloc
from pathlib import Path

import pytest
import torch

# Before Ray is imported: tests never report usage, and Train restarts fast after a killed worker.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
# Where an environment forbids compiled modules, each process of Ray would compile raclib anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Every Ray and every result of a test is its own.
os.environ.pop("RAY_ADDRESS", None)
os.environ.pop("RACLIB_HOME", None)
os.environ.pop("MLFLOW_TRACKING_URI", None)
# Before any of raclib, which may import Triton: kernels run on the CPU where there is no GPU.
os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")

from raclib.ingest.config import KeyConfig
from raclib.tasks.amazon.config import (
    AmazonConfig,
    GeneratedConfig,
    ModelConfig,
    ReviewEncoderConfig,
    RuleConfig,
)
from raclib.tasks.table.config import SplitConfig, TableRetrievalConfig, TableTrainConfig


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests of a folder run in one process: what is made once a session is made for them once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFolder(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0].rpartition("/")[0]

    return ByFolder(config, log)


@pytest.fixture(scope="session")
def copy_checkout():
    """Copies what jobs are submitted with, whatever else lies in this checkout."""
    root = Path(__file__).parents[1]

    def copy(folder: Path) -> Path:
        for name in ("jobs", "raclib", "configs"):
            shutil.copytree(root / name, folder / name)
        shutil.copy(root / ".rayignore", folder)
        return folder

    return copy


@pytest.fixture(scope="session")
def ray_cluster():
    """A local Ray of four logical CPUs, shared by every test of the session that needs Ray."""
    import ray

    from raclib.run.cluster import interpreter

    ray.init(
        "local",  # whatever else runs here
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=512 * 2**20,
        log_to_driver=False,
        ignore_reinit_error=True,
        runtime_env=interpreter(),
    )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def ray_start():
    """Skips where the command `ray start` cannot work."""
    if " " in sys.prefix:
        pytest.skip(f"ray start takes no path with a space: {sys.prefix}")


@pytest.fixture(scope="session")
def bytes_per_row():
    """Gives the most memory that work takes for each row more, by Python's count; maps are none.

    The work is a function of a number of rows that returns what is to be measured.
    """

    def measure(prepare, sizes=(2**21, 2**22)) -> float:
        peaks = []
        prepare(sizes[0])()  # what is imported and kept is no row
        for num_rows in sizes:
            work = prepare(num_rows)
            tracemalloc.start()
            work()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        return (peaks[1] - peaks[0]) / (sizes[1] - sizes[0])

    return measure


@pytest.fixture(scope="session")
def pids(ray_cluster):
    """Gives the process ids of a store's servers; waits for those that restart."""

    def ask(store) -> list[int]:
        return ray_cluster.get([server.mount.remote() for server in store.routing.servers])

    return ask


@pytest.fixture(scope="session")
def new_store(tmp_path_factory):
    """Gives the URI of an MLflow store without runs in a folder.

    A copy: MLflow takes seconds to make the tables of a new one.
    """
    from mlflow.tracking import MlflowClient

    empty = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{empty}").search_experiments()

    def copy(folder: Path) -> str:
        return f"sqlite:///{shutil.copy(empty, folder)}"

    return copy


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory) -> AmazonConfig:
    """Sixteen steps of 32 examples over 2,000 generated reviews."""
    folder = tmp_path_factory.mktemp("tiny")
    return AmazonConfig(
        name="tiny",
        storage_path=str(folder / "runs"),
        corpus=str(folder / "corpus"),
        generated=GeneratedConfig(num_reviews=2000, start="2010-01-01", end="2014-01-01"),
        rule=RuleConfig(cutoff="2013-01-01"),
        encoder=ReviewEncoderConfig(dim=64),
        key=KeyConfig(kind="pca", dim=16, time_linear=True),
        rows_per_shard=500,
        split=SplitConfig(256, 800, 64, 200, window=300, num_bins=4, examples_per_bin=60),
        model=ModelConfig(16, 4, 1, 2, 4, 8.0),
        retrieval=TableRetrievalConfig(num_draws=3, max_temperature=0.1, min_temperature=0.05),
        train=TableTrainConfig(num_epochs=2, batch_size=32, checkpoint_every=4, log_every=1),
    )


@pytest.fixture(scope="session")
def write_tiny(tiny_config, new_store):
    """Writes the tiny configuration, or one like it, to a folder, which also gets the results."""

    def write(folder: Path, **changes) -> Path:
        config = dataclasses.replace(
            tiny_config,
            **changes,
            storage_path=str(folder / "runs"),
            corpus=None,
            tracking=dataclasses.replace(tiny_config.tracking, uri=new_store(folder)),
        )
        path = folder / "tiny.yaml"
        path.write_text(json.dumps(dataclasses.asdict(config)))
        return path

    return write


@pytest.fixture(scope="session")
def tiny_corpus(ray_cluster, tiny_config):
    from raclib.tasks.amazon.corpus import prepare_reviews

    return prepare_reviews(tiny_config)


@pytest.fixture
def tiny_run(tiny_config, tmp_path):
    """Gives the configuration of a run with a storage of its own."""

    def make(**changes) -> AmazonConfig:
        changes = {"storage_path": str(tmp_path / "runs"), **changes}
        return dataclasses.replace(tiny_config, **changes)

    return make


@pytest.fixture
def logger(tmp_path, new_store):
    """Logs to a store of its own; built like this it can be subclassed inside a test."""
    from raclib.run.config import TrackingConfig
    from raclib.run.tracking import track

    with track(TrackingConfig(new_store(tmp_path)), "retrieval", str(tmp_path), {}, {}) as logger:
        yield logger
