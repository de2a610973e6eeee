"""Fixtures shared by all tests: one local Ray cluster a session."""

import os

import pytest

# Before Ray is imported: tests never report usage, and Train restarts fast after a killed worker.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")


@pytest.fixture(scope="session")
def ray_cluster():
    """A local Ray of four logical CPUs, shared by every test of the session that needs Ray."""
    import ray

    ray.init(
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=512 * 2**20,
        log_to_driver=False,
        ignore_reinit_error=True,
    )
    yield ray
    ray.shutdown()
